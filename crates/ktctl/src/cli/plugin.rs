//! kubectl plugins: under the name `kubectl-VERB` the program is that verb, with the flags that the
//! plugins of old had. `kubectl-kt` is plain `ktctl`.

use std::ffi::OsString;
use std::path::Path;

/// Short flags of a plugin that mean something else to `ktctl`, or nothing. Without a long name they
/// have no effect any more.
const SHORT: &[(&str, &str, &str)] = &[
    ("connect", "m", "--method"),
    ("connect", "p", "--proxyPort"),
    ("connect", "c", "--cidr"),
    ("connect", "g", ""),
    ("provide", "e", "--external"),
    ("run", "p", "--port"),
    ("run", "e", "--expose"),
];

/// What a plugin takes when none of these flags is typed; the last of them is today's.
const DEFAULTS: &[(&str, &[&str], &str)] = &[
    ("exchange", &["expose"], "80"),
    ("mesh", &["expose"], "80"),
    ("mesh", &["version-label", "version-mark", "versionMark"], "0.0.1"),
    ("provide", &["expose"], "80"),
    ("run", &["port"], "80"),
];

/// The command line of `ktctl` that a plugin's stands for; any other line as it is.
pub(super) fn as_command(arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(verb) = arguments.first().and_then(verb).filter(|verb| verb != "kt") else { return arguments };
    let mut arguments = arguments.into_iter();
    let mut command: Vec<OsString> = arguments.next().into_iter().chain([OsString::from(&verb)]).collect();
    let typed: Vec<OsString> = arguments.collect();
    let own = typed.iter().position(|word| word == "--").unwrap_or(typed.len());
    command.extend(typed[..own].iter().filter_map(|word| flag(&verb, word)));
    command.extend(defaults(&verb, &typed[..own]));
    command.extend(typed[own..].iter().cloned());
    command
}

/// `mesh` of `/usr/bin/kubectl-mesh` and `kubectl-mesh.exe`.
fn verb(program: &OsString) -> Option<String> {
    let name = Path::new(program).file_name()?.to_str()?;
    Some(name.strip_suffix(".exe").unwrap_or(name).strip_prefix("kubectl-")?.to_owned())
}

/// The flag in words that `ktctl` has, `-x` and `-x=value`.
fn flag(verb: &str, word: &OsString) -> Option<OsString> {
    let Some(text) = word.to_str().and_then(|text| text.strip_prefix('-')) else { return Some(word.clone()) };
    let letter = text.split('=').next().unwrap_or(text);
    match SHORT.iter().find(|(of, short, _)| (*of, *short) == (verb, letter)) {
        Some((_, _, "")) => None,
        Some((_, short, long)) => Some(text.replacen(short, long, 1).into()),
        None => Some(word.clone()),
    }
}

fn defaults(verb: &str, typed: &[OsString]) -> impl Iterator<Item = OsString> {
    let names: Vec<&str> = typed.iter().filter_map(|word| word.to_str()).filter_map(name).collect();
    let short = |name: &str| {
        SHORT.iter().any(|(of, letter, long)| {
            *of == verb && long.strip_prefix("--") == Some(name) && names.contains(letter)
        })
    };
    let missing = |flags: &[&str]| !flags.iter().any(|flag| names.contains(flag) || short(flag));
    let of_verb = DEFAULTS.iter().filter(|(of, flags, _)| *of == verb && missing(flags));
    let lines = of_verb.filter_map(|(_, flags, value)| Some(format!("--{}={value}", flags.last()?).into()));
    lines.collect::<Vec<_>>().into_iter()
}

/// `expose` of `--expose`, `-expose` and `--expose=80`.
fn name(word: &str) -> Option<&str> {
    word.strip_prefix('-').map(|word| word.trim_start_matches('-')).and_then(|word| word.split('=').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(typed: &str) -> String {
        let words = as_command(typed.split_whitespace().map(OsString::from).collect());
        words.into_iter().map(|word| word.into_string().expect("text")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_name_of_the_program_is_the_command() {
        assert_eq!(
            line("/usr/bin/kubectl-exchange tomcat --expose 8080"),
            "/usr/bin/kubectl-exchange exchange tomcat --expose 8080"
        );
        assert_eq!(line("kubectl-recover.exe tomcat"), "kubectl-recover.exe recover tomcat");
        assert_eq!(line("kubectl-kt connect"), "kubectl-kt connect");
        assert_eq!(line("ktctl connect -c file"), "ktctl connect -c file");
    }

    #[test]
    fn flags_of_a_plugin_have_their_old_meaning() {
        assert_eq!(
            line("kubectl-connect -m socks5 -p=2223 -c 10.0.0.0/8 -g -d"),
            "kubectl-connect connect --method socks5 --proxyPort=2223 --cidr 10.0.0.0/8 -d"
        );
        assert_eq!(
            line("kubectl-provide x -e --expose 80"),
            "kubectl-provide provide x --external --expose 80"
        );
        assert_eq!(
            line("kubectl-mesh x -c file --expose=1 --version-label=v"),
            "kubectl-mesh mesh x -c file --expose=1 --version-label=v"
        );
    }

    #[test]
    fn a_plugin_has_defaults_where_ktctl_has_none() {
        assert_eq!(line("kubectl-exchange x"), "kubectl-exchange exchange x --expose=80");
        assert_eq!(
            line("kubectl-mesh x -expose 8080"),
            "kubectl-mesh mesh x -expose 8080 --versionMark=0.0.1"
        );
        assert_eq!(line("kubectl-run x -e"), "kubectl-run run x --expose --port=80");
        assert_eq!(line("kubectl-run x -p 8080"), "kubectl-run run x --port 8080");
        assert_eq!(line("kubectl-exchange x -- y"), "kubectl-exchange exchange x --expose=80 -- y");
    }
}
