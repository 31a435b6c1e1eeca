//! How a flag may be spelled beside the way that help shows.

use clap::{Arg, ArgAction};

/// Lets a flag be typed in kebab-case, and a switch with a value: `--debug=false`.
pub(super) fn flexible(arg: Arg) -> Arg {
    let kebab = arg.get_long().map(kebab).filter(|kebab| Some(kebab.as_str()) != arg.get_long());
    let arg = match kebab {
        Some(kebab) => arg.alias(kebab),
        None => arg,
    };
    match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(clap::value_parser!(bool))
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL"),
        _ => arg,
    }
}

fn kebab(camel: &str) -> String {
    camel.chars().fold(String::new(), |mut text, letter| {
        if letter.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
        text
    })
}
