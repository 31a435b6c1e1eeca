//! The mark by which requests come to the laptop: `--versionMark` and `--match`.

use kt_cluster::names;
use kt_wire::rules::MatchRule;
use tracing::warn;

use crate::failure::Usage;

/// The key where none is given, or none that can be used.
const KEY: &str = "version";

/// A key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Nobody chose the value.
    pub(crate) is_random: bool,
}

impl Mark {
    /// Reads `value`, `key:` or `key:value`; what is left out is made up.
    pub(crate) fn parse(text: &str) -> Result<Mark, Usage> {
        let (key, value) = match text.split_once(':') {
            None => (KEY, text),
            Some((_, value)) if value.contains(':') => {
                return Err(Usage(format!("version mark '{text}' has more than one colon, use key:value")));
            }
            Some((key, value)) => (key, value),
        };
        let key = if is_key(key) {
            key
        } else {
            warn!("'{key}' can not be the key of a version mark, '{KEY}' is used");
            KEY
        };
        let is_random = value.is_empty();
        let value = if is_random { names::random_letters(5) } else { value.to_owned() };
        Ok(Mark { key: key.to_owned(), value, is_random })
    }

    /// The rule of a request that has the mark.
    pub(crate) fn rule(&self) -> MatchRule {
        MatchRule::mark(&self.key, &self.value)
    }

    /// As a header.
    pub(crate) fn header(&self) -> String {
        format!("{}: {}", self.key.to_uppercase(), self.value)
    }

    /// As it stands in annotations.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.key, self.value)
    }
}

/// `^[a-z][a-z0-9_-]*$`
fn is_key(key: &str) -> bool {
    let legal =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '_' | '-');
    key.starts_with(|first: char| first.is_ascii_lowercase()) && key.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, bool) {
        let mark = Mark::parse(text).expect("a mark");
        (mark.key, mark.value, mark.is_random)
    }

    #[test]
    fn a_value_alone_is_a_version() {
        assert_eq!(parsed("debug-version"), ("version".into(), "debug-version".into(), false));
    }

    #[test]
    fn a_key_may_come_before_it() {
        assert_eq!(parsed("kt-mark:demo"), ("kt-mark".into(), "demo".into(), false));
        assert_eq!(Mark::parse("kt-mark:demo").expect("mark").header(), "KT-MARK: demo");
    }

    #[test]
    fn what_is_left_out_is_made_up() {
        for text in ["", "kt-mark:"] {
            let (_, value, is_random) = parsed(text);

            assert!(is_random && value.len() == 5, "{value}");
        }
        assert_eq!(parsed("kt-mark:").0, "kt-mark");
    }

    #[test]
    fn a_key_that_no_label_can_have_is_replaced() {
        assert_eq!(parsed("Bad Key:x"), ("version".into(), "x".into(), false));
    }

    #[test]
    fn two_colons_are_refused() {
        assert!(Mark::parse("a:b:c").is_err());
    }
}
