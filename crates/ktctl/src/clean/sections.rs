//! A plan in the sections in which it is told. Pure.

use kt_cluster::heartbeat::Kind;
use kt_cluster::leftovers::Repair;
use kt_cluster::marks::{self, Role};
use kt_cluster::overview::Overview;

/// What is told under one headline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Exchanged,
    Meshed,
    Scaled,
    Locked,
    LockedWorkload,
    Unavailing(Kind),
}

/// The order of headlines is that of the deeds.
const ORDER: [Section; 9] = [
    Section::Exchanged,
    Section::Meshed,
    Section::Scaled,
    Section::Locked,
    Section::LockedWorkload,
    Section::Unavailing(Kind::Deployment),
    Section::Unavailing(Kind::Pod),
    Section::Unavailing(Kind::Service),
    Section::Unavailing(Kind::ConfigMap),
];

/// Each section that has something in it.
pub(super) fn split<'a>(plan: &'a [Repair], seen: &Overview) -> Vec<(Section, Vec<&'a Repair>)> {
    let of = |section: Section| {
        let repairs = plan.iter().filter(|repair| Section::of(repair, seen) == Some(section));
        (section, repairs.collect::<Vec<_>>())
    };
    ORDER.into_iter().map(of).filter(|(_, repairs)| !repairs.is_empty()).collect()
}

/// The line of one repair.
pub(super) fn item(repair: &Repair) -> String {
    match repair {
        Repair::RestoreService { service, .. } | Repair::Unlock { service, .. } => service.clone(),
        Repair::Scale { workload, replicas } => format!("{} -> {replicas}", workload.text()),
        Repair::UnlockWorkload { workload, .. } => workload.text(),
        Repair::Delete { object, .. } => object.name.clone(),
        Repair::Pause(_) => String::new(),
    }
}

impl Section {
    fn of(repair: &Repair, seen: &Overview) -> Option<Section> {
        match repair {
            Repair::RestoreService { service, .. } => {
                let selector = seen.service(service).map(|service| &service.selector);
                let role = selector.and_then(|selector| selector.get(marks::ROLE));
                let is_meshed = role.and_then(|role| Role::parse(role)) == Some(Role::Router);
                Some(if is_meshed { Section::Meshed } else { Section::Exchanged })
            }
            Repair::Scale { .. } => Some(Section::Scaled),
            Repair::Unlock { .. } => Some(Section::Locked),
            Repair::UnlockWorkload { .. } => Some(Section::LockedWorkload),
            Repair::Delete { object, .. } => Some(Section::Unavailing(object.kind)),
            Repair::Pause(_) => None,
        }
    }

    /// What a dry run says.
    pub(super) fn found(self, count: usize) -> String {
        match self {
            Section::Exchanged => format!("Find {count} exchanged service to recover:"),
            Section::Meshed => format!("Find {count} meshed service to recover:"),
            Section::Scaled => format!("Find {count} exchanged deployments to recover:"),
            Section::Locked => format!("Find {count} locked services to recover:"),
            Section::LockedWorkload => format!("Find {count} locked deployments to recover:"),
            Section::Unavailing(kind) => format!("Find {count} unavailing {} to delete:", words(kind)),
        }
    }

    /// What a real run says.
    pub(super) fn doing(self, count: usize) -> String {
        match self {
            Section::Exchanged => format!("Recovering {count} exchanged service"),
            Section::Meshed => format!("Recovering {count} meshed service"),
            Section::Scaled => format!("Recovering {count} exchanged deployments"),
            Section::Locked => format!("Recovering {count} locked services"),
            Section::LockedWorkload => format!("Recovering {count} locked deployments"),
            Section::Unavailing(kind) => format!("Deleting {count} unavailing kt {}", words(kind)),
        }
    }
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Pod => "pods",
        Kind::Deployment => "deployments",
        Kind::Service => "service",
        Kind::ConfigMap => "config maps",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kt_cluster::heartbeat::ObjectRef;
    use kt_cluster::overview::{Record, ServiceSeen};

    use super::*;

    fn service(name: &str, role: &str) -> ServiceSeen {
        ServiceSeen {
            object: ObjectRef::new(Kind::Service, name, name),
            selector: [(marks::ROLE.to_owned(), role.to_owned())].into(),
            record: Record::Selector(None),
            lock: None,
            ours: false,
            heartbeat: None,
            annotated: true,
            terminating: false,
        }
    }

    fn restore(service: &str) -> Repair {
        Repair::RestoreService { service: service.into(), selects: Default::default() }
    }

    fn delete(kind: Kind, name: &str) -> Repair {
        Repair::Delete { object: ObjectRef::new(kind, name, ""), beat: None, stands_for: None }
    }

    #[test]
    fn each_kind_of_leftover_has_its_headline_and_its_lines() {
        let services = vec![service("a", "shadow-exchange"), service("b", "router")];
        let seen = Overview { services, ..Overview::default() };
        let plan = [
            restore("a"),
            restore("b"),
            Repair::Scale { workload: String::from("c").into(), replicas: 2 },
            Repair::Unlock { service: "d".into(), since: None },
            Repair::UnlockWorkload { workload: String::from("statefulset/g").into(), since: None },
            Repair::Pause(Duration::from_secs(1)),
            delete(Kind::Pod, "e"),
            delete(Kind::Pod, "f"),
            delete(Kind::ConfigMap, "e"),
        ];

        let mut lines = Vec::new();
        for (section, repairs) in split(&plan, &seen) {
            lines.push(section.found(repairs.len()));
            lines.extend(repairs.into_iter().map(item));
        }

        let wanted = [
            "Find 1 exchanged service to recover:",
            "a",
            "Find 1 meshed service to recover:",
            "b",
            "Find 1 exchanged deployments to recover:",
            "c -> 2",
            "Find 1 locked services to recover:",
            "d",
            "Find 1 locked deployments to recover:",
            "statefulset/g",
            "Find 2 unavailing pods to delete:",
            "e",
            "f",
            "Find 1 unavailing config maps to delete:",
            "e",
        ];
        assert_eq!(lines, wanted);
    }
}
