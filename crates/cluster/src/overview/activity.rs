//! Who does what to which Service, read out of an overview. Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::{How, Inside, Ours, Overview, ServiceSeen};
use crate::heartbeat::Kind;
use crate::marks::{self, Role};
use crate::names;

/// What is done to a Service. In the order in which they are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A laptop takes all of its calls.
    Exchanged,
    /// A router sends marked calls to laptops.
    MeshedAuto,
    /// A laptop is one of its pods, for a service mesh to tell apart.
    MeshedManual,
    /// Nothing.
    Normal,
    /// It was made for a laptop.
    Previewing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Exchanged => "exchanged",
            State::MeshedAuto => "meshed (auto)",
            State::MeshedManual => "meshed (manual)",
            State::Normal => "normal",
            State::Previewing => "previewing",
        })
    }
}

/// A Service, and who does what to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Its name.
    pub service: String,
    /// What is done to it.
    pub state: State,
    /// Who does it, and how.
    pub runs: Vec<Run>,
}

/// What somebody does to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Who; nothing for somebody who is not known.
    pub user: Option<String>,
    /// His machine.
    pub host: Option<String>,
    /// How, as older clients do not say.
    pub how: How,
}

impl Activity {
    /// Who does it, each once; nothing for somebody who is not known.
    pub fn users(&self) -> Vec<Option<String>> {
        let users: BTreeSet<Option<String>> = self.runs.iter().map(|run| run.user.clone()).collect();
        users.into_iter().collect()
    }
}

impl Overview {
    /// Every Service that is no helper of ours, by its name.
    pub fn activities(&self) -> Vec<Activity> {
        let mut all: Vec<Activity> =
            self.services.iter().filter_map(|service| self.activity(service)).collect();
        all.sort_by(|one, other| one.service.cmp(&other.service));
        all
    }

    fn activity(&self, service: &ServiceSeen) -> Option<Activity> {
        let name = &service.object.name;
        let selected: Vec<&Ours> = self.selected(&service.selector).collect();
        let inside: BTreeSet<Run> = self.inside(&service.selector).map(inside).collect();
        let state = match state(service, &selected) {
            State::Normal if !inside.is_empty() => State::Exchanged,
            state => state,
        };
        let of = |role: Role| selected.iter().copied().filter(move |ours| ours.role == Some(role));
        let runs = match state {
            State::Normal => Vec::new(),
            State::Exchanged if !inside.is_empty() => inside.into_iter().collect(),
            State::Exchanged => runs(of(Role::Exchange)),
            State::MeshedAuto => runs(self.mesh_shadows(name)),
            State::MeshedManual => runs(of(Role::Mesh)),
            State::Previewing => runs(of(Role::Preview)),
        };
        let is_helper = service.ours && state != State::Previewing;
        (!is_helper).then(|| Activity { service: name.clone(), state, runs })
    }

    fn mesh_shadows<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Ours> {
        self.ours.iter().filter(move |ours| {
            ours.role == Some(Role::Mesh)
                && ours.object.kind != Kind::ConfigMap
                && names::is_version_of(service, &ours.object.name)
        })
    }
}

/// By what the Service selects on purpose, else by whose pods it happens to select.
fn state(service: &ServiceSeen, selected: &[&Ours]) -> State {
    let role = service.selector.get(marks::ROLE).and_then(|role| Role::parse(role));
    let has = |role: Role| selected.iter().any(|ours| ours.role == Some(role));
    match role {
        Some(Role::Exchange) => State::Exchanged,
        Some(Role::Router) => State::MeshedAuto,
        Some(Role::Preview) => State::Previewing,
        None if has(Role::Exchange) => State::Exchanged,
        None if has(Role::Mesh) => State::MeshedManual,
        _ => State::Normal,
    }
}

/// The pod of a shadow Deployment does not say whose it is; the Deployment does.
fn runs<'a>(shadows: impl Iterator<Item = &'a Ours>) -> Vec<Run> {
    let is_known = |ours: &&Ours| ours.user.as_ref().is_some_and(|user| !user.is_empty());
    let run = |ours: &Ours| Run { user: ours.user.clone(), host: ours.host.clone(), how: ours.how.clone() };
    let known: BTreeSet<Run> = shadows.filter(is_known).map(run).collect();
    if known.is_empty() { vec![Run::default()] } else { known.into_iter().collect() }
}

fn inside(pod: &Inside) -> Run {
    let how = How { mode: Some("ephemeral".into()), ..How::default() };
    Run { user: Some(pod.user.clone()), host: pod.host.clone(), how }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::heartbeat::ObjectRef;
    use crate::marks::Config;
    use crate::overview::Record;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn shadow(role: Role, name: &str, user: Option<&str>, pairs: &[(&str, &str)]) -> Ours {
        let mut labels = labels(pairs);
        labels.insert(marks::ROLE.into(), role.label().into());
        Ours {
            object: ObjectRef::new(Kind::Pod, name, name),
            role: Some(role),
            labels,
            heartbeat: Some(1),
            config: Config::default(),
            user: user.map(Into::into),
            host: None,
            how: How::default(),
            terminating: false,
        }
    }

    fn service(name: &str, ours: bool, selector: &[(&str, &str)]) -> ServiceSeen {
        ServiceSeen {
            object: ObjectRef::new(Kind::Service, name, name),
            selector: labels(selector),
            record: Record::None,
            lock: None,
            ours,
            heartbeat: None,
            annotated: false,
            terminating: false,
        }
    }

    fn said(ours: Vec<Ours>, services: Vec<ServiceSeen>) -> Vec<String> {
        let seen = Overview { ours, services, ..Overview::default() };
        let user = |user: Option<String>| user.unwrap_or_else(|| "?".into());
        let line = |found: Activity| {
            let users: Vec<String> = found.users().into_iter().map(user).collect();
            format!("{} {} {}", found.service, found.state, users.join(" ")).trim_end().to_owned()
        };
        seen.activities().into_iter().map(line).collect()
    }

    #[test]
    fn an_exchange_is_told_by_what_the_service_selects() {
        let mark = [("kt-role", "shadow-exchange"), ("kt-target", "abc")];
        let services = vec![service("b", false, &mark), service("a", false, &[("app", "a")])];
        let ours = vec![shadow(Role::Exchange, "b-kt-exchange-x", Some("alice"), &mark[1..])];

        assert_eq!(said(ours, services), ["a normal", "b exchanged alice"]);
    }

    #[test]
    fn an_exchange_by_scale_is_told_by_the_pods() {
        let ours = vec![shadow(Role::Exchange, "a-kt-exchange-x", Some("alice"), &[("app", "a")])];

        assert_eq!(said(ours, vec![service("a", false, &[("app", "a")])]), ["a exchanged alice"]);
    }

    #[test]
    fn an_exchange_inside_of_pods_is_told_by_them() {
        let services = ["a", "b"].map(|app| service(app, false, &[("app", app)])).into();
        let inside =
            vec![Inside { labels: labels(&[("app", "a"), ("more", "x")]), user: "alice".into(), host: None }];
        let seen = Overview { services, inside, ..Overview::default() };

        let states: Vec<State> = seen.activities().iter().map(|activity| activity.state).collect();

        assert_eq!(states, [State::Exchanged, State::Normal]);
        assert_eq!(seen.activities()[0].users(), [Some("alice".into())]);
    }

    #[test]
    fn all_users_of_a_mesh_are_named_and_its_helpers_are_not_listed() {
        let router = [("kt-role", "router"), ("kt-target", "abc")];
        let mine = [("kt-role", "shadow-mesh"), ("kt-target", "xyz")];
        let services = vec![
            service("a", false, &router),
            service("a-kt-stuntman", true, &[("app", "a")]),
            service("a-kt-mesh-v1", true, &mine),
        ];
        let ours = vec![
            shadow(Role::Router, "a-kt-router", Some("bob"), &router[1..]),
            shadow(Role::Mesh, "a-kt-mesh-v2", Some("bob"), &[("kt-target", "other")]),
            shadow(Role::Mesh, "a-kt-mesh-v1", Some("alice"), &mine[1..]),
            shadow(Role::Mesh, "b-kt-mesh-v1", Some("carol"), &[]),
        ];

        assert_eq!(said(ours, services), ["a meshed (auto) alice bob"]);
    }

    #[test]
    fn a_mesh_by_hand_is_told_by_the_pods() {
        let ours =
            vec![shadow(Role::Mesh, "a-kt-mesh-v1", Some("alice"), &[("app", "a"), ("version", "v1")])];

        assert_eq!(said(ours, vec![service("a", false, &[("app", "a")])]), ["a meshed (manual) alice"]);
    }

    #[test]
    fn a_preview_is_listed_although_it_is_ours() {
        let mark = [("kt-role", "shadow-preview"), ("kt-target", "abc")];
        let ours = vec![shadow(Role::Preview, "a-kt-x", None, &mark[1..])];

        assert_eq!(said(ours, vec![service("a", true, &mark)]), ["a previewing ?"]);
    }

    #[test]
    fn a_service_without_a_selector_is_normal() {
        let ours = vec![shadow(Role::Exchange, "x", Some("alice"), &[])];

        assert_eq!(said(ours, vec![service("a", false, &[])]), ["a normal"]);
    }
}
