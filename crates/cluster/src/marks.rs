//! The labels and annotations that old and new clients share, and the texts in them.
//!
//! Keys and formats are a contract with every `ktctl` in the cluster: change none.

use std::collections::BTreeMap;
use std::fmt;

use crate::workload::{WorkloadKind, WorkloadName};

/// Label of everything that a `ktctl` made; the value is [`KT`].
pub const CONTROL_BY: &str = "control-by";
/// Value of [`CONTROL_BY`].
pub const KT: &str = "kt";
/// Label: what a helper pod is for, see [`Role`].
pub const ROLE: &str = "kt-role";
/// Label: 20 random letters which a redirected Service selects on.
pub const TARGET: &str = "kt-target";
/// In the selector of a version's Service that leads nowhere yet: a label which no pod has.
pub const CLOSED: &str = "kt-closed";

/// Annotation: unix seconds in cluster time, refreshed while the owner lives.
pub const HEARTBEAT: &str = "kt-last-heart-beat";
/// Annotation: how many clients use the object, decimal.
pub const REF_COUNT: &str = "kt-ref-count";
/// Annotation: login name of the developer.
pub const USER: &str = "kt-user";
/// Annotation: what the shadow stands for, see [`Config`].
pub const CONFIG: &str = "kt-config";
/// Annotation of the user's Service: its original selector as JSON.
pub const SELECTOR: &str = "kt-selector";
/// Annotation of the user's Service: unix seconds of the moment when somebody began to change it.
pub const LOCK: &str = "kt-lock";
/// Annotation of the user's Service: who holds the lock. Ours; old clients do not know it.
pub const LOCK_OWNER: &str = "kt-lock-owner";
/// Annotation: the developer's machine.
pub const HOST: &str = "kt-host";
/// Annotation: the ports that are exposed, as typed.
pub const EXPOSE: &str = "kt-expose";
/// Annotation: the mode of the command which made the object.
pub const MODE: &str = "kt-mode";
/// Annotation: the Service whose callers come to the object.
pub const TARGET_SERVICE: &str = "kt-target-svc";
/// Annotation: the mark by which requests come to a mesh shadow, as `key:value`.
pub const VERSION_MARK: &str = "kt-version-mark";
/// Annotation of a router: who gets what, as the router reads it.
pub const ROUTES: &str = "kt-routes";
/// Annotation of a router that an older client made: who of us has joined it, as JSON of version and
/// mark. It changes together with [`REF_COUNT`], so that nobody is counted twice.
pub const JOINED: &str = "kt-joined";
/// Annotation: version of the client which made the object.
pub const CLIENT_VERSION: &str = "kt-client-version";

/// The labels by which a Service selects a new helper pod in this role and nothing else.
pub fn new_selector(role: Role) -> BTreeMap<String, String> {
    [(ROLE, role.label().to_owned()), (TARGET, crate::names::target_mark())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// What a helper pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The cluster end of `connect`.
    Connect,
    /// Takes all calls of a Service.
    Exchange,
    /// Takes the marked calls of a Service.
    Mesh,
    /// Stands for a Service that does not exist otherwise.
    Preview,
    /// Decides which version of a meshed Service gets a call.
    Router,
}

impl Role {
    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Role::Connect => "shadow-connect",
            Role::Exchange => "shadow-exchange",
            Role::Mesh => "shadow-mesh",
            Role::Preview => "shadow-preview",
            Role::Router => "router",
        }
    }

    /// Reads the label's value; knows the word of the 0.2 line for previews, too.
    pub fn parse(label: &str) -> Option<Role> {
        [Role::Connect, Role::Exchange, Role::Mesh, Role::Preview, Role::Router]
            .into_iter()
            .find(|role| role.label() == label)
            .or((label == "shadow-provide").then_some(Role::Preview))
    }
}

/// The content of [`CONFIG`]: `k=v` pairs with commas between; unknown keys are kept out of the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The Service that is exchanged, meshed or made.
    pub service: Option<String>,
    /// The workload that was scaled down.
    pub app: Option<String>,
    /// What it is; left out for a Deployment, which is all that old clients know.
    pub kind: WorkloadKind,
    /// How many replicas it had.
    pub replicas: Option<i32>,
}

impl Config {
    /// A config which names a Service.
    pub fn of_service(service: &str) -> Config {
        Config { service: Some(service.to_owned()), ..Config::default() }
    }

    /// The workload that was scaled down.
    pub fn workload(&self) -> Option<WorkloadName> {
        Some(WorkloadName::new(self.kind, self.app.as_deref()?))
    }

    /// Reads the annotation; what can not be read counts as absent.
    pub fn parse(text: &str) -> Config {
        let pairs: BTreeMap<&str, &str> =
            text.split(',').filter_map(|pair| pair.trim().split_once('=')).collect();
        let word = |key| pairs.get(key).map(ToString::to_string);
        Config {
            service: word("service"),
            app: word("app"),
            kind: pairs.get("kind").and_then(|kind| WorkloadKind::parse(kind)).unwrap_or_default(),
            replicas: pairs.get("replicas").and_then(|number| number.parse().ok()),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = [
            self.service.as_ref().map(|service| format!("service={service}")),
            self.app.as_ref().map(|app| format!("app={app}")),
            self.replicas.map(|replicas| format!("replicas={replicas}")),
            (self.kind != WorkloadKind::Deployment).then(|| format!("kind={}", self.kind)),
        ];
        f.write_str(&pairs.into_iter().flatten().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_written_as_old_clients_read_it() {
        let scaled = Config { app: Some("echo".into()), replicas: Some(2), ..Config::default() };

        assert_eq!(Config::of_service("echo").to_string(), "service=echo");
        assert_eq!(scaled.to_string(), "app=echo,replicas=2");
    }

    #[test]
    fn what_is_no_deployment_is_said_behind_what_old_clients_read() {
        let config = Config::parse("app=db,replicas=3,kind=statefulset");

        assert_eq!(config.workload(), Some(WorkloadName::new(WorkloadKind::StatefulSet, "db")));
        assert_eq!(config.to_string(), "app=db,replicas=3,kind=statefulset");
    }

    #[test]
    fn unknown_keys_of_a_config_do_no_harm() {
        let config = Config::parse("app=echo,replicas=3,colour=blue,nonsense");

        assert_eq!((config.app.as_deref(), config.replicas), (Some("echo"), Some(3)));
        assert_eq!(Config::parse("replicas=many"), Config::default());
    }

    #[test]
    fn roles_of_the_old_line_are_known() {
        assert_eq!(Role::parse("shadow-provide"), Some(Role::Preview));
        assert_eq!(Role::parse("shadow-exchange"), Some(Role::Exchange));
        assert_eq!(Role::parse("other"), None);
    }
}
