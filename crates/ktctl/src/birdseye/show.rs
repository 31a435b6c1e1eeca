//! How what is seen is shown. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use kt_cluster::overview::{Activity, Connectors, Run, State};
use serde_json::{Value, json};

use crate::report::plain;

/// Version of the JSON.
const VERSION: u32 = 1;
/// Whoever has not said his name.
const UNKNOWN: &str = "unknown user";

/// The order of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortBy {
    Status,
    Name,
}

/// What is to be shown.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) namespace: String,
    pub(super) services: Vec<Activity>,
    /// Nothing when nobody asked.
    pub(super) connectors: Option<Connectors>,
    /// Cluster time, unix seconds.
    pub(super) now: i64,
}

pub(super) fn sort(services: &mut [Activity], by: SortBy) {
    services.sort_by(|one, other| {
        let by_name = one.service.cmp(&other.service);
        match by {
            SortBy::Status => one.state.cmp(&other.state).then(by_name),
            SortBy::Name => by_name,
        }
    });
}

/// Lines for people.
pub(super) fn text(seen: &Seen) -> String {
    let mut text = format!("---- Service in namespace {} ----\n", seen.namespace);
    for service in &seen.services {
        let _ = writeln!(text, "> {} - {}", service.service, doing(service)); // a String takes all
    }
    if let Some(connectors) = &seen.connectors {
        text += "---- User connecting to cluster ----\n";
        text += &users(connectors, seen.now);
    }
    text
}

fn doing(service: &Activity) -> String {
    if service.state == State::Normal {
        return service.state.to_string();
    }
    let name = |user: &Option<String>| format!("[{}]", plain(user.as_deref().unwrap_or(UNKNOWN)));
    let users: Vec<String> = service.users().iter().map(name).collect();
    format!("{} by {}", service.state, users.join(", "))
}

fn users(connectors: &Connectors, now: i64) -> String {
    let mut known: BTreeMap<&str, Option<i64>> = BTreeMap::new();
    for connector in &connectors.found {
        if let Some(user) = &connector.user {
            let last = known.entry(user).or_default();
            *last = (*last).max(connector.heartbeat);
        }
    }
    let nameless = connectors.found.iter().filter(|connector| connector.user.is_none());
    let unknown: Vec<Option<i64>> = nameless.map(|connector| connector.heartbeat).collect();
    let total = known.len() + unknown.len();
    let lines = known.into_iter().chain(unknown.iter().map(|last| (UNKNOWN, *last)));
    let text: String =
        lines.map(|(user, last)| format!("> {}{}\n", plain(user), active(last, now))).collect();
    match unknown.len() {
        0 => format!("{text}{total} users in total\n"),
        unknown => format!("{text}{total} users in total (including {unknown} unknown users)\n"),
    }
}

fn active(last: Option<i64>, now: i64) -> String {
    last.map(|last| format!(" (last active {} min ago)", minutes(last, now))).unwrap_or_default()
}

fn minutes(last: i64, now: i64) -> i64 {
    (now - last).max(0) / 60
}

/// One object for programs.
pub(super) fn json(seen: &Seen) -> String {
    let run = |run: &Run| {
        let Run { user, host, how } = run;
        json!({"user": user, "host": host, "mode": how.mode, "ports": how.ports, "mark": how.mark})
    };
    let service = |service: &Activity| {
        let runs: Vec<Value> = service.runs.iter().map(run).collect();
        let (state, users) = (service.state.to_string(), service.users());
        json!({"name": service.service, "state": state, "users": users, "runs": runs})
    };
    let mut all = json!({
        "version": VERSION,
        "namespace": seen.namespace,
        "services": seen.services.iter().map(service).collect::<Vec<Value>>(),
    });
    if let Some(connectors) = &seen.connectors {
        all["wholeCluster"] = json!(connectors.whole_cluster);
        all["connectors"] = connectors
            .found
            .iter()
            .map(|connector| {
                json!({
                    "user": connector.user,
                    "host": connector.host,
                    "namespace": connector.namespace,
                    "lastActiveMinutes": connector.heartbeat.map(|last| minutes(last, seen.now)),
                })
            })
            .collect();
    }
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests {
    use kt_cluster::overview::{Connector, How};

    use super::*;

    fn service(name: &str, state: State, users: &[Option<&str>]) -> Activity {
        let run = |user: &Option<&str>| Run { user: user.map(Into::into), ..Run::default() };
        Activity { service: name.into(), state, runs: users.iter().map(run).collect() }
    }

    fn seen() -> Seen {
        let mut services = vec![
            service("a", State::Previewing, &[Some("alice")]),
            service("b", State::Normal, &[]),
            service("c", State::MeshedManual, &[None]),
            service("d", State::MeshedAuto, &[Some("alice"), Some("bob")]),
            service("f", State::Exchanged, &[Some("carol")]),
            service("e", State::Normal, &[]),
        ];
        sort(&mut services, SortBy::Status);
        Seen { namespace: "dev".into(), services, connectors: None, now: 1000 }
    }

    fn connected(users: &[(Option<&str>, i64)]) -> String {
        let connector = |(user, heartbeat): &(Option<&str>, i64)| Connector {
            namespace: "dev".into(),
            user: user.map(Into::into),
            host: None,
            heartbeat: Some(*heartbeat),
        };
        let found = users.iter().map(connector).collect();
        users_of(Connectors { found, whole_cluster: true })
    }

    fn users_of(connectors: Connectors) -> String {
        users(&connectors, 1000)
    }

    #[test]
    fn services_are_listed_by_what_is_done_to_them() {
        let wanted = "---- Service in namespace dev ----\n\
            > f - exchanged by [carol]\n\
            > d - meshed (auto) by [alice], [bob]\n\
            > c - meshed (manual) by [unknown user]\n\
            > b - normal\n\
            > e - normal\n\
            > a - previewing by [alice]\n";

        assert_eq!(text(&seen()), wanted);
    }

    #[test]
    fn services_are_listed_by_name_when_asked_for() {
        let mut services = seen().services;

        sort(&mut services, SortBy::Name);

        let names: Vec<_> = services.iter().map(|service| service.service.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn a_user_counts_once_with_his_last_sign_of_life() {
        let text = connected(&[(Some("bob"), 400), (Some("alice"), 939), (Some("bob"), 880)]);

        let wanted = "> alice (last active 1 min ago)\n> bob (last active 2 min ago)\n2 users in total\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn users_without_a_name_are_counted_on_their_own() {
        let text = connected(&[(None, 1000), (Some("alice"), 1000), (None, 700)]);

        let wanted = "> alice (last active 0 min ago)\n\
            > unknown user (last active 0 min ago)\n\
            > unknown user (last active 5 min ago)\n\
            3 users in total (including 2 unknown users)\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn nobody_is_told_too() {
        assert_eq!(connected(&[]), "0 users in total\n");
    }

    #[test]
    fn programs_get_the_same_as_one_object() {
        let connectors = Connectors { found: Vec::new(), whole_cluster: false };
        let mut meshed = service("d", State::MeshedAuto, &[Some("alice"), None]);
        meshed.runs[0].host = Some("desk".into());
        let (mode, ports) = (Some("auto".into()), Some("8099:80".into()));
        meshed.runs[0].how = How { mode, ports, mark: Some("version:v2".into()) };
        let services = vec![meshed];

        let text = json(&Seen { services, connectors: Some(connectors), ..seen() });

        let wanted = json!({
            "version": 1, "namespace": "dev", "wholeCluster": false, "connectors": [],
            "services": [{"name": "d", "state": "meshed (auto)", "users": [null, "alice"], "runs": [
                {"user": "alice", "host": "desk", "mode": "auto", "ports": "8099:80", "mark": "version:v2"},
                {"user": null, "host": null, "mode": null, "ports": null, "mark": null},
            ]}],
        });
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), wanted);
    }
}
