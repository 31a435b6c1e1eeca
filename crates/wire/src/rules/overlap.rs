//! Whether two routes can want the same request.

use super::matching::{lies_below, same_header};
use super::{MatchRule, Value};

/// Whether one request may match both lists. Errs on the side of yes, e.g. with two patterns.
pub fn may_both_match(one: &[MatchRule], other: &[MatchRule]) -> bool {
    let exclude = |rule: &MatchRule| other.iter().any(|theirs| excludes(rule, theirs));
    !one.is_empty() && !other.is_empty() && !one.iter().any(exclude)
}

/// Whether no usual request fits both. One that has a header twice is not usual.
fn excludes(one: &MatchRule, other: &MatchRule) -> bool {
    use MatchRule::*;
    match (one, other) {
        (Header(name, value), Header(theirs, their)) => same_header(name, theirs) && differ(value, their),
        (Cookie(name, value), Cookie(theirs, their))
        | (Baggage(name, value), Baggage(theirs, their))
        | (Tracestate(name, value), Tracestate(theirs, their)) => name == theirs && value != their,
        (Path(path), Path(theirs)) => !lies_below(path, theirs) && !lies_below(theirs, path),
        _ => false,
    }
}

fn differ(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Equals(text), value) | (value, Value::Equals(text)) => !value.accepts(text),
        (Value::StartsWith(one), Value::StartsWith(other)) => {
            !one.starts_with(other.as_str()) && !other.starts_with(one.as_str())
        }
        (Value::Fits(_), _) | (_, Value::Fits(_)) => false,
    }
}
