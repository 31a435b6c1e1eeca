//! The words in which a shadow is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::marks::{Config, Role};

/// Where a program finds the annotation that it follows.
pub const FOLLOWED: &str = "/kt-followed/value";

/// The folder of what a program keeps for the container's next start.
pub const KEPT: &str = "/kt-kept";

/// A shadow as a command wants it.
#[derive(Clone, Debug)]
pub struct ShadowWanted {
    /// What it is for.
    pub role: Role,
    /// Name of pod and config map, see [`crate::names`].
    pub name: String,
    /// Wrap its pod in a Deployment of that name.
    pub deployment: bool,
    /// What it stands for, for `recover` and `clean` of any client.
    pub config: Config,
    /// Labels that the user adds; they go before ours.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the user adds.
    pub annotations: BTreeMap<String, String>,
    /// Login name of the developer.
    pub user: String,
    /// The developer's machine.
    pub host: String,
    /// The exposed ports as typed; empty for none.
    pub expose: String,
    /// The mode of the command; empty for none.
    pub mode: String,
    /// The Service whose callers come to it; empty for none.
    pub target_service: String,
    /// Version of this program.
    pub client_version: String,
    /// An image with the program in it; without one the program is carried into a borrowed image.
    pub image: Option<String>,
    /// The program, for a borrowed image.
    pub programs: Programs,
    /// The program's name.
    pub program: &'static str,
    /// An annotation of the pod which the program follows as the file [`FOLLOWED`].
    pub follows: Option<&'static str>,
    /// Does the program keep something in the folder [`KEPT`]? It goes with the pod.
    pub keeps: bool,
    /// Arguments of the program.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// The labels of the target's pods, whose image is borrowed first; empty for none.
    pub borrow_from: BTreeMap<String, String>,
    /// Requests and limits.
    pub quota: Option<Quota>,
    /// Where it may run.
    pub node_selector: BTreeMap<String, String>,
    /// Name of a pull secret.
    pub pull_secret: Option<String>,
    /// Service account of the pod; nothing for `default`.
    pub service_account: Option<String>,
    /// Pull the image even if it is on the node.
    pub force_update: bool,
    /// Ports on which it will listen for callers.
    pub ports: Vec<ShadowPort>,
    /// Will it send pings?
    pub ping: bool,
    /// How long it may take until the program runs.
    pub creation_timeout: Duration,
}

impl ShadowWanted {
    /// A shadow with the defaults of every option.
    pub fn new(role: Role, name: &str, programs: Programs) -> ShadowWanted {
        ShadowWanted {
            role,
            name: name.to_owned(),
            deployment: false,
            config: Config::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            user: String::new(),
            host: String::new(),
            expose: String::new(),
            mode: String::new(),
            target_service: String::new(),
            client_version: String::new(),
            image: None,
            programs,
            program: "shadow",
            follows: None,
            keeps: false,
            args: Vec::new(),
            env: Vec::new(),
            borrow_from: BTreeMap::new(),
            quota: None,
            node_selector: BTreeMap::new(),
            pull_secret: None,
            service_account: None,
            force_update: false,
            ports: Vec::new(),
            ping: false,
            creation_timeout: Duration::from_secs(60),
        }
    }

    /// Does it listen below 1024, where an ordinary user may not?
    pub(super) fn low_port(&self) -> bool {
        self.ports.iter().any(|port| port.number < 1024)
    }
}

/// A port on which a shadow listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPort {
    /// Its name in the pod; that of the Service's target port when it is a name.
    pub name: String,
    /// The number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// The program `shadow` for each kind of node; empty where it was not built.
#[derive(Clone, Copy, Default)]
pub struct Programs {
    /// For amd64.
    pub x86_64: &'static [u8],
    /// For arm64.
    pub aarch64: &'static [u8],
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (x86_64, aarch64) = (self.x86_64.len(), self.aarch64.len());
        write!(f, "Programs({x86_64} bytes for amd64, {aarch64} for arm64)")
    }
}

/// Requests and limits in Kubernetes' words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// E.g. `0.5`.
    pub cpu: Option<String>,
    /// E.g. `512Mi`.
    pub memory: Option<String>,
}

impl Quota {
    /// Reads `0.5c,512m`; the second value are the parts that can not be understood.
    pub fn parse(text: &str) -> (Quota, Vec<String>) {
        let mut quota = Quota::default();
        let mut bad = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let unit = part.chars().next_back().map(|unit| unit.to_ascii_lowercase());
            let number = part.strip_suffix(char::is_alphabetic).unwrap_or("");
            match (unit, number.parse::<f64>()) {
                (Some('c'), Ok(_)) => quota.cpu = Some(number.to_owned()),
                (Some(unit @ ('k' | 'm' | 'g')), Ok(_)) => {
                    quota.memory = Some(format!("{number}{}i", unit.to_ascii_uppercase()));
                }
                _ => bad.push(part.to_owned()),
            }
        }
        (quota, bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_cores_and_memory_in_any_case() {
        let (quota, bad) = Quota::parse("0.5c,512M");

        assert_eq!((quota.cpu.as_deref(), quota.memory.as_deref()), (Some("0.5"), Some("512Mi")));
        assert!(bad.is_empty());
    }

    #[test]
    fn a_bad_part_of_a_quota_is_told_and_the_rest_taken() {
        let (quota, bad) = Quota::parse("lots,1g,2x");

        assert_eq!(quota, Quota { cpu: None, memory: Some("1Gi".into()) });
        assert_eq!(bad, ["lots", "2x"]);
    }
}
