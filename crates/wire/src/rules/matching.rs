//! Whether a request has what a rule wants.

use super::{MatchRule, Value};

/// What a rule can look at.
pub trait Request {
    /// The path, without what follows a `?`.
    fn path(&self) -> &str;

    /// Whether a header whose name fits has a value which `wanted` accepts; a header may stand
    /// there several times.
    fn any_header(&self, name: impl Fn(&str) -> bool, wanted: impl Fn(&str) -> bool) -> bool;
}

impl MatchRule {
    /// Whether the request has it.
    pub fn matches(&self, request: &impl Request) -> bool {
        let listed = |header: &str, end, key: &str, value: &str| {
            request.any_header(|name| name == header, |text| has_entry(text, end, key, value))
        };
        match self {
            MatchRule::Header(name, value) => {
                request.any_header(|present| same_header(present, name), |text| value.accepts(text))
            }
            MatchRule::Cookie(name, value) => listed("cookie", ';', name, value),
            MatchRule::Path(prefix) => lies_below(request.path(), prefix),
            MatchRule::Baggage(key, value) => listed("baggage", ',', key, value),
            MatchRule::Tracestate(key, value) => listed("tracestate", ',', key, value),
        }
    }
}

impl Value {
    /// Whether the text is as wanted.
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Value::Equals(wanted) => text == wanted,
            Value::StartsWith(start) => text.starts_with(start.as_str()),
            Value::Fits(pattern) => pattern.fits(text),
        }
    }
}

/// Whether two names of headers are equal for us.
pub(super) fn same_header(one: &str, other: &str) -> bool {
    let folded = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().map(folded).eq(other.bytes().map(folded))
}

/// Whether a path is the prefix or lies below it: `/api` has `/api/a`, but not `/apis`.
pub(super) fn lies_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a list such as `a=1; b=2` has the entry. Properties of an entry (`a=1;p`) are no part of
/// its value where entries end with a comma.
fn has_entry(list: &str, end: char, key: &str, value: &str) -> bool {
    list.split(end).any(|entry| {
        let entry = if end == ',' { entry.split(';').next().unwrap_or_default() } else { entry };
        entry.split_once('=').is_some_and(|(name, text)| name.trim() == key && text.trim() == value)
    })
}
