//! One rule: as people type it, and as it stands in JSON.

use std::fmt;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

/// What a request must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum MatchRule {
    /// A header; `-` and `_` in its name are equal, and so are small and capital letters.
    Header(String, Value),
    /// A cookie with this value.
    Cookie(String, String),
    /// A path that is this one or lies below it.
    Path(String),
    /// An entry of the W3C header `baggage`.
    Baggage(String, String),
    /// An entry of the W3C header `tracestate`.
    Tracestate(String, String),
}

/// What the value of a header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// This text.
    Equals(String),
    /// A text that begins so.
    StartsWith(String),
    /// A text which the pattern fits as a whole.
    Fits(Pattern),
}

/// A regular expression which takes time in proportion to the text, and fits the whole of it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why something is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    /// It has not the form of any rule.
    #[error(
        "{0:?} is no rule: use header:NAME=VALUE, header:NAME^=PREFIX, header:NAME~=REGEX, cookie:NAME=VALUE, path:/PREFIX, baggage:KEY=VALUE or tracestate:KEY=VALUE"
    )]
    Form(String),
    /// A name with letters that no such name can have.
    #[error("{0:?} can not be the name of a header, cookie or entry")]
    Name(String),
    /// A path is absolute.
    #[error("the path {0:?} has to begin with /")]
    Path(String),
    /// No regular expression.
    #[error("{0:?} is no regular expression: {1}")]
    Regex(String, String),
}

impl MatchRule {
    /// Reads a rule as people type it, e.g. `header:version=abcde`.
    pub fn parse(text: &str) -> Result<MatchRule, BadRule> {
        let form = || BadRule::Form(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(form)?;
        if kind == "path" {
            return path(rest);
        }
        let (name, value) = rest.split_once('=').ok_or_else(form)?;
        match kind {
            "header" => header(name, value),
            "cookie" => Ok(MatchRule::Cookie(checked(name)?, value.to_owned())),
            "baggage" => Ok(MatchRule::Baggage(checked(name)?, value.to_owned())),
            "tracestate" => Ok(MatchRule::Tracestate(entry_key(name)?, value.to_owned())),
            _ => Err(form()),
        }
    }

    /// The rule of a version mark.
    pub fn mark(key: &str, value: &str) -> MatchRule {
        MatchRule::Header(key.to_owned(), Value::Equals(value.to_owned()))
    }
}

/// As it is typed.
impl fmt::Display for MatchRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatchRule::Header(name, Value::Equals(value)) => write!(f, "header:{name}={value}"),
            MatchRule::Header(name, Value::StartsWith(start)) => write!(f, "header:{name}^={start}"),
            MatchRule::Header(name, Value::Fits(pattern)) => write!(f, "header:{name}~={}", pattern.text),
            MatchRule::Cookie(name, value) => write!(f, "cookie:{name}={value}"),
            MatchRule::Path(path) => write!(f, "path:{path}"),
            MatchRule::Baggage(key, value) => write!(f, "baggage:{key}={value}"),
            MatchRule::Tracestate(key, value) => write!(f, "tracestate:{key}={value}"),
        }
    }
}

fn header(name: &str, value: &str) -> Result<MatchRule, BadRule> {
    let (name, value) = match (name.strip_suffix('^'), name.strip_suffix('~')) {
        (Some(name), _) => (name, Value::StartsWith(value.to_owned())),
        (_, Some(name)) => (name, Value::Fits(Pattern::new(value)?)),
        (None, None) => (name, Value::Equals(value.to_owned())),
    };
    Ok(MatchRule::Header(checked(name)?, value))
}

fn path(path: &str) -> Result<MatchRule, BadRule> {
    match path.starts_with('/') {
        true => Ok(MatchRule::Path(path.to_owned())),
        false => Err(BadRule::Path(path.to_owned())),
    }
}

/// A token as in RFC 9110.
fn checked(name: &str) -> Result<String, BadRule> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.bytes().all(fits) {
        true => Ok(name.to_owned()),
        false => Err(BadRule::Name(name.to_owned())),
    }
}

/// The key of a tenant may have an `@`, and `/` is allowed.
fn entry_key(key: &str) -> Result<String, BadRule> {
    checked(&key.replace(['@', '/'], "-")).map(|_| key.to_owned()).map_err(|_| BadRule::Name(key.to_owned()))
}

impl Pattern {
    /// Reads a regular expression.
    pub fn new(text: &str) -> Result<Pattern, BadRule> {
        match Regex::new(&format!("^(?:{text})$")) {
            Ok(regex) => Ok(Pattern { text: text.to_owned(), regex }),
            Err(error) => Err(BadRule::Regex(text.to_owned(), error.to_string())),
        }
    }

    /// Whether the whole text fits.
    pub fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// A rule in JSON: what is looked at, and what it must be.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baggage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    equals: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
}

impl TryFrom<Written> for MatchRule {
    type Error = BadRule;

    fn try_from(written: Written) -> Result<MatchRule, BadRule> {
        match written {
            Written { header: Some(name), equals: Some(value), .. } => {
                Ok(MatchRule::Header(name, Value::Equals(value)))
            }
            Written { header: Some(name), starts: Some(start), .. } => {
                Ok(MatchRule::Header(name, Value::StartsWith(start)))
            }
            Written { header: Some(name), regex: Some(regex), .. } => {
                Ok(MatchRule::Header(name, Value::Fits(Pattern::new(&regex)?)))
            }
            Written { cookie: Some(name), equals: Some(value), .. } => Ok(MatchRule::Cookie(name, value)),
            Written { baggage: Some(key), equals: Some(value), .. } => Ok(MatchRule::Baggage(key, value)),
            Written { tracestate: Some(key), equals: Some(value), .. } => {
                Ok(MatchRule::Tracestate(key, value))
            }
            Written { path: Some(prefix), .. } => path(&prefix),
            _ => Err(BadRule::Form(serde_json::to_string(&written).unwrap_or_default())),
        }
    }
}

impl From<MatchRule> for Written {
    fn from(rule: MatchRule) -> Written {
        let none = Written::default();
        match rule {
            MatchRule::Header(name, value) => {
                let none = Written { header: Some(name), ..none };
                match value {
                    Value::Equals(text) => Written { equals: Some(text), ..none },
                    Value::StartsWith(text) => Written { starts: Some(text), ..none },
                    Value::Fits(pattern) => Written { regex: Some(pattern.text), ..none },
                }
            }
            MatchRule::Cookie(name, value) => Written { cookie: Some(name), equals: Some(value), ..none },
            MatchRule::Path(path) => Written { path: Some(path), ..none },
            MatchRule::Baggage(key, value) => Written { baggage: Some(key), equals: Some(value), ..none },
            MatchRule::Tracestate(key, value) => {
                Written { tracestate: Some(key), equals: Some(value), ..none }
            }
        }
    }
}
