//! What a mesh router does, as data: its ports, and the routes of those who joined.
//!
//! The laptops write a set to the router over their links, and the same JSON stands in an
//! annotation of the router's pod. A set with a higher generation replaces one with a lower.

mod matching;
mod overlap;
mod rule;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Protocol;
pub use matching::Request;
pub use overlap::may_both_match;
pub use rule::{BadRule, MatchRule, Pattern, Value};

/// The version of the format which this program writes.
pub const VERSION: u32 = 1;

/// All that a router has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSet {
    /// Of the format.
    pub version: u32,
    /// Rises with each change.
    pub generation: u64,
    /// The Service whose callers come to the router.
    pub service: String,
    /// The Service in front of the original pods; it gets what no route wants.
    pub original: String,
    /// Where callers come in.
    pub ports: Vec<Port>,
    /// In the order of joining: the first that matches wins.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// A port of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The port in the router's pod: the target port of the Service.
    pub listen: u16,
    /// The port by which the original and the routes are dialled: that of the Service.
    pub service: u16,
    /// Of what arrives there.
    #[serde(default = "tcp", with = "protocol")]
    pub protocol: Protocol,
    /// What callers speak, where the Service says so.
    #[serde(default, skip_serializing_if = "Speaks::is_unknown")]
    pub speaks: Speaks,
}

/// What callers of a port speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// HTTP/1 or HTTP/2.
    Http,
    /// Anything that is not routed.
    Raw,
    /// Their first bytes tell; also what a later version may say.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One who has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The shadow's Service.
    pub name: String,
    /// Who it is, for people.
    #[serde(default)]
    pub user: String,
    /// All of them must hold; a route without rules gets nothing.
    pub rules: Vec<MatchRule>,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// Where its shadow is, for as long as a young Service may not be known to every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<IpAddr>,
}

/// Why a rule set can not be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is not this JSON.
    #[error("reading the rule set: {0}")]
    Json(#[from] serde_json::Error),
    /// A later program wrote it.
    #[error("the rule set has version {0}, this program knows version {VERSION}")]
    Version(u32),
}

impl RuleSet {
    /// Reads it from JSON. Fields that are not known are ignored.
    pub fn from_json(json: &[u8]) -> Result<RuleSet, Unusable> {
        let Versioned { version } = serde_json::from_slice(json)?;
        match version {
            VERSION => Ok(serde_json::from_slice(json)?),
            later => Err(Unusable::Version(later)),
        }
    }

    /// Writes it as JSON on one line.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail: no map, no number that JSON does not know.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Who gets the request; none is the original.
    pub fn route(&self, request: &impl Request) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(request))
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Route {
    fn matches(&self, request: &impl Request) -> bool {
        all_match(&self.rules, request)
    }
}

/// Whether a request has what all of the rules want; without rules it has not.
pub fn all_match(rules: &[MatchRule], request: &impl Request) -> bool {
    !rules.is_empty() && rules.iter().all(|rule| rule.matches(request))
}

impl Speaks {
    fn is_unknown(&self) -> bool {
        *self == Speaks::Unknown
    }
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

/// A protocol is written as Kubernetes does, in small letters.
mod protocol {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Protocol;

    pub(super) fn serialize<S: Serializer>(protocol: &Protocol, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Protocol, D::Error> {
        let text = String::deserialize(from)?;
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            other => Err(D::Error::custom(format!("no protocol for a router: {other}"))),
        }
    }
}
