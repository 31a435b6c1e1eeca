//! What dead runs left in the cluster, and putting it right.
//!
//! `sweep` plans for all that is stale, `recover` for one Service whoever is at it, `repair` carries
//! a plan out. Services go before shadows: nobody shall meet a Service whose pods are gone.

mod recover;
mod repair;
mod sweep;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use self::recover::{NoRecovery, Recovery, plan_recover};
pub use self::repair::{Error, Outcome};
pub use self::sweep::plan_sweep;

use crate::heartbeat::ObjectRef;
use crate::marks::Config;
use crate::workload::WorkloadName;

/// How long after a Service was put back callers may still come to what stood in its place: nodes
/// learn of it one by one.
pub const SETTLE: Duration = Duration::from_millis(1500);

/// One step of putting right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Let a Service select its original pods, if it still selects what was seen.
    RestoreService {
        /// The Service.
        service: String,
        /// What it was seen to select.
        selects: BTreeMap<String, String>,
    },
    /// Give a workload its replicas back.
    Scale {
        /// The workload.
        workload: WorkloadName,
        /// How many it had.
        replicas: i32,
    },
    /// Take a lock away.
    Unlock {
        /// The locked Service.
        service: String,
        /// Only if it is still the lock of this moment; nothing to take any away.
        since: Option<i64>,
    },
    /// Take the lock of a workload away.
    UnlockWorkload {
        /// The locked workload.
        workload: WorkloadName,
        /// Only if it is still the lock of this moment; nothing to take any away.
        since: Option<i64>,
    },
    /// Delete an object.
    Delete {
        /// Which.
        object: ObjectRef,
        /// Only if this is still its heartbeat; nothing to delete it in any case.
        beat: Option<i64>,
        /// It stays when this can not be put right.
        stands_for: Option<StandsFor>,
    },
    /// Let the watchers of other users see what is gone.
    Pause(Duration),
}

/// Whose callers an object helps; of a workload it also remembers how many replicas that had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandsFor {
    /// A Service that leads to it.
    Service(String),
    /// A workload that was scaled down.
    Workload(WorkloadName),
}

impl StandsFor {
    fn read(config: &Config) -> Option<StandsFor> {
        let workload = config.workload().map(StandsFor::Workload);
        workload.or_else(|| config.service.clone().map(StandsFor::Service))
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::RestoreService { service, .. } => write!(f, "restore service {service}"),
            Repair::Scale { workload: WorkloadName { kind, name }, replicas } => {
                write!(f, "scale {kind} {name} to {replicas}")
            }
            Repair::UnlockWorkload { workload: WorkloadName { kind, name }, .. } => {
                write!(f, "unlock {kind} {name}")
            }
            Repair::Unlock { service, .. } => write!(f, "unlock service {service}"),
            Repair::Delete { object, .. } => write!(f, "delete {object}"),
            Repair::Pause(pause) => write!(f, "wait {} ms", pause.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Pieces of a namespace for the tests of the plans.

    use super::*;
    use crate::api::Right;
    use crate::heartbeat::Kind;
    use crate::marks::Role;
    use crate::overview::{Locked, Ours, Overview, Record, ServiceSeen};

    pub(super) fn overview(ours: Vec<Ours>, services: Vec<ServiceSeen>) -> Overview {
        Overview { ours, services, ..Overview::default() }
    }

    pub(super) fn labels(role: &str, target: &str) -> BTreeMap<String, String> {
        [("kt-role", role), ("kt-target", target)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    /// A shadow that stands for the Service `echo`.
    pub(super) fn shadow(kind: Kind, name: &str, beat: i64) -> Ours {
        Ours {
            object: ObjectRef::new(kind, name, &format!("uid-{name}")),
            role: Some(Role::Exchange),
            labels: labels("shadow-exchange", "abc"),
            heartbeat: Some(beat),
            config: Config::of_service("echo"),
            user: None,
            host: None,
            how: crate::overview::How::default(),
            terminating: false,
        }
    }

    pub(super) fn plain(name: &str) -> ServiceSeen {
        ServiceSeen {
            object: ObjectRef::new(Kind::Service, name, &format!("uid-{name}")),
            selector: [("app".to_owned(), "echo".to_owned())].into(),
            record: Record::None,
            lock: None,
            ours: false,
            heartbeat: None,
            annotated: false,
            terminating: false,
        }
    }

    pub(super) fn redirected(name: &str) -> ServiceSeen {
        let plain = plain(name);
        ServiceSeen {
            record: Record::Selector(Some(plain.selector.clone())),
            selector: labels("shadow-exchange", "abc"),
            annotated: true,
            ..plain
        }
    }

    pub(super) fn stuntman(name: &str, beat: i64) -> ServiceSeen {
        let plain = plain(&crate::names::stuntman(name));
        ServiceSeen { ours: true, heartbeat: Some(beat), annotated: true, ..plain }
    }

    /// A locked Deployment of pods that the Service `echo` selects.
    pub(super) fn locked(name: &str, since: i64) -> Locked {
        Locked {
            workload: WorkloadName::from(name.to_owned()),
            since,
            pods: [("app".to_owned(), "echo".to_owned())].into(),
        }
    }

    pub(super) fn right() -> Right {
        Right {
            verb: "list".into(),
            resource: "pods".into(),
            group: String::new(),
            namespace: Some("dev".into()),
        }
    }
}
