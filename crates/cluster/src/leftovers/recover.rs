//! Giving one Service back to its pods, whoever is at it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::sweep::restore;
use super::{Repair, SETTLE, StandsFor};
use crate::heartbeat::{Kind, ObjectRef};
use crate::marks::{self, Role};
use crate::names;
use crate::overview::{Ours, Overview, Record, ServiceSeen};

/// The routers' watchers of old clients need this long to see that their router is gone.
const PAUSE: Duration = Duration::from_secs(1);

/// What recovering a Service takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// These steps, in this order.
    Repairs(Vec<Repair>),
    /// Nothing, and why.
    Nothing(String),
}

/// Why a Service can not be recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecovery {
    /// It does not exist.
    #[error("service '{0}' does not exist")]
    NoService(String),
    /// Its record can not be read, and there is no stuntman to tell.
    #[error("service {0} has kt-selector annotation, but selecting nothing")]
    Damaged(String),
    /// It selects pods of a `ktctl`, and nobody knows what it selected before.
    #[error("Service {0} is selecting kt pods, but cannot be recovered automatically")]
    NoRecord(String),
    /// Services may not be read.
    #[error("services can not be read")]
    Blind,
}

/// Plans the recovery of `service`. Ends every user's exchange or mesh of it.
pub fn plan_recover(service: &str, seen: &Overview) -> Result<Recovery, NoRecovery> {
    if !seen.knows(Kind::Service) {
        return Err(NoRecovery::Blind);
    }
    let found = seen.service(service).ok_or_else(|| NoRecovery::NoService(service.to_owned()))?;
    let mut plan: Vec<Repair> =
        found.lock.iter().map(|_| Repair::Unlock { service: service.to_owned(), since: None }).collect();
    let record = crate::redirect::mark_of(&found.selector);
    let original = match &found.record {
        Record::Selector(Some(original)) => original,
        _ => &record,
    };
    let workloads = seen.locked.iter().filter(|locked| locked.is_selected_by(original));
    plan.extend(
        workloads.map(|locked| Repair::UnlockWorkload { workload: locked.workload.clone(), since: None }),
    );
    plan.extend(by_record(found, seen)?);
    if !plan.is_empty() {
        return Ok(Recovery::Repairs(plan));
    }
    let inside = seen.users_inside(&found.selector);
    if !inside.is_empty() {
        return Ok(Recovery::Nothing(inside_its_pods(service, inside)));
    }
    Ok(Recovery::Nothing(match found.annotated {
        true => format!("Service {service} neither exchanged nor meshed by kt, nothing would be done"),
        false => format!("Service {service} is clean and tidy, nothing would be done"),
    }))
}

/// The service itself is as ever, and nobody can take a container out of a pod.
fn inside_its_pods(service: &str, users: BTreeSet<String>) -> String {
    let users = users.into_iter().collect::<Vec<_>>().join(", ");
    format!(
        "The pods of service {service} have containers of an exchange by {users} (mode ephemeral), the service itself is as ever: ask {users} to end it; those of a dead run lead nobody away after 15 s, and end after 5 minutes"
    )
}

fn by_record(service: &ServiceSeen, seen: &Overview) -> Result<Vec<Repair>, NoRecovery> {
    let name = &service.object.name;
    let role = service.selector.get(marks::ROLE).map(|role| Role::parse(role));
    let told = seen.service(&names::stuntman(name)).is_some_and(|stuntman| stuntman.ours);
    let selected: Vec<&Ours> = seen.selected(&service.selector).collect();
    match (&service.record, role) {
        (Record::Damaged, Some(_)) if !told => Err(NoRecovery::Damaged(name.clone())),
        (Record::None, Some(_)) if !told => Err(NoRecovery::NoRecord(name.clone())),
        (_, Some(Some(Role::Router))) => Ok(from_mesh(service, &selected, seen)),
        (Record::Selector(_) | Record::Damaged, _) | (_, Some(_)) => {
            let stands_for = |_: &str| Some(StandsFor::Service(name.clone()));
            let deletes = standing_for(delete_all(&selected, seen), stands_for);
            let settled = (!deletes.is_empty()).then_some(Repair::Pause(SETTLE));
            Ok([restore(service)].into_iter().chain(settled).chain(deletes).collect())
        }
        (Record::None, None) => Ok(by_pods(&selected, seen)),
    }
}

/// The router goes first, or else the other users' watchers put the redirect back.
fn from_mesh(service: &ServiceSeen, selected: &[&Ours], seen: &Overview) -> Vec<Repair> {
    let is_version = |name: &str| names::is_version_of(&service.object.name, name);
    let router = names::router(&service.object.name);
    let by_name = |ours: &&Ours| ours.object.name == router && ours.object.kind != Kind::ConfigMap;
    let named = seen.ours.iter().filter(by_name).filter(|named| !selected.contains(named));
    let routers: Vec<&Ours> = selected.iter().copied().chain(named).collect();
    let shadows: Vec<&Ours> = seen.ours.iter().filter(|ours| is_version(&ours.object.name)).collect();
    let services = seen
        .services
        .iter()
        .filter(|service| service.ours && is_version(&service.object.name))
        .map(|service| delete(&service.object));
    let mut plan = delete_all(&routers, seen);
    plan.push(Repair::Pause(PAUSE));
    plan.push(restore(service));
    plan.extend(services);
    plan.extend(shadows.iter().map(|ours| delete(&ours.object)));
    plan
}

/// A Service that was never changed: by scale, or meshed by hand.
fn by_pods(selected: &[&Ours], seen: &Overview) -> Vec<Repair> {
    let pods = selected.iter().copied().filter(|ours| ours.role.is_some());
    let helpers: Vec<&Ours> = pods.flat_map(|pod| seen.deployment_of(pod).into_iter().chain([pod])).collect();
    let scales = helpers.iter().filter_map(|ours| {
        let (workload, replicas) = (ours.config.workload()?, ours.config.replicas?);
        Some(Repair::Scale { workload, replicas })
    });
    let mut plan: Vec<Repair> = scales.collect();
    plan.dedup();
    let stands_for = |name: &str| {
        let mut same_name = helpers.iter().filter(|helper| helper.object.name == name);
        same_name.find_map(|helper| StandsFor::read(&helper.config))
    };
    plan.extend(standing_for(delete_all(&helpers, seen), stands_for));
    plan
}

/// Deletes objects and the config maps of their names.
fn delete_all(objects: &[&Ours], seen: &Overview) -> Vec<Repair> {
    let has_its_name = |map: &&Ours| {
        map.object.kind == Kind::ConfigMap && objects.iter().any(|ours| ours.object.name == map.object.name)
    };
    let config_maps = seen.ours.iter().filter(has_its_name);
    objects.iter().copied().chain(config_maps).map(|ours| delete(&ours.object)).collect()
}

fn delete(object: &ObjectRef) -> Repair {
    Repair::Delete { object: object.clone(), beat: None, stands_for: None }
}

/// Deletes of which it is known by their names what they stand for.
fn standing_for(mut deletes: Vec<Repair>, needed: impl Fn(&str) -> Option<StandsFor>) -> Vec<Repair> {
    for delete in &mut deletes {
        if let Repair::Delete { object, stands_for, .. } = delete {
            *stands_for = needed(&object.name);
        }
    }
    deletes
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    fn plan(seen: &Overview) -> Vec<String> {
        let Ok(Recovery::Repairs(plan)) = plan_recover("echo", seen) else { panic!("no plan") };
        plan.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_exchange_is_ended_at_once() {
        let seen = overview(
            vec![shadow(Kind::Pod, "x", 1), shadow(Kind::ConfigMap, "x", 1)],
            vec![redirected("echo")],
        );

        assert_eq!(
            plan(&seen),
            ["restore service echo", "wait 1500 ms", "delete pod x", "delete configmap x"]
        );
    }

    #[test]
    fn a_mesh_loses_its_router_first_and_all_its_versions() {
        let service = ServiceSeen { selector: labels("router", "r"), ..redirected("echo") };
        let router = Ours { labels: labels("router", "r"), ..shadow(Kind::Pod, "echo-kt-router", 1) };
        let version = Ours { labels: labels("shadow-mesh", "m"), ..shadow(Kind::Pod, "echo-kt-mesh-a", 1) };
        let version_service = ServiceSeen { ours: true, ..plain("echo-kt-mesh-a") };
        let seen = overview(vec![router, version], vec![service, version_service]);

        let wanted = [
            "delete pod echo-kt-router",
            "wait 1000 ms",
            "restore service echo",
            "delete service echo-kt-mesh-a",
            "delete pod echo-kt-mesh-a",
        ];
        assert_eq!(plan(&seen), wanted);
    }

    #[test]
    fn a_scale_exchange_is_found_by_its_pod() {
        let mut pod = shadow(Kind::Pod, "x", 1);
        pod.labels = [("app".to_owned(), "echo".to_owned())].into();
        pod.config = marks::Config::parse("app=echo,replicas=3");
        let seen = overview(vec![pod], vec![plain("echo")]);

        assert_eq!(plan(&seen), ["scale deployment echo to 3", "delete pod x"]);
        let Ok(Recovery::Repairs(plan)) = plan_recover("echo", &seen) else { panic!("no plan") };
        let needed = Some(StandsFor::Workload(String::from("echo").into()));
        assert!(matches!(&plan[1], Repair::Delete { stands_for, .. } if *stands_for == needed), "{plan:?}");
    }

    #[test]
    fn a_deployment_goes_with_the_pod_in_it() {
        let mut pod = shadow(Kind::Pod, "x-1", 1);
        pod.labels.insert("app".to_owned(), "echo".to_owned());
        let seen = overview(
            vec![pod, shadow(Kind::Deployment, "x", 1), shadow(Kind::ConfigMap, "x", 1)],
            vec![plain("echo")],
        );

        assert_eq!(plan(&seen), ["delete deployment x", "delete pod x-1", "delete configmap x"]);
    }

    #[test]
    fn a_lock_alone_is_taken_away() {
        let seen = overview(vec![], vec![ServiceSeen { lock: Some(1), ..plain("echo") }]);

        assert_eq!(plan(&seen), ["unlock service echo"]);
    }

    #[test]
    fn a_lock_of_its_deployment_is_taken_away_however_young() {
        let mut other = locked("other", 1);
        other.pods = [("app".to_owned(), "other".to_owned())].into();
        let seen =
            Overview { locked: vec![other, locked("echo", 1)], ..overview(vec![], vec![plain("echo")]) };

        assert_eq!(plan(&seen), ["unlock deployment echo"]);
    }

    #[test]
    fn a_clean_service_is_told_to_be_so() {
        let nothing = |service| plan_recover("echo", &overview(vec![], vec![service])).unwrap();
        let annotated = ServiceSeen { annotated: true, ..plain("echo") };

        let tidy = "Service echo is clean and tidy, nothing would be done";
        let neither = "Service echo neither exchanged nor meshed by kt, nothing would be done";
        assert_eq!(nothing(plain("echo")), Recovery::Nothing(tidy.into()));
        assert_eq!(nothing(annotated), Recovery::Nothing(neither.into()));
    }

    #[test]
    fn containers_in_its_pods_are_told_with_the_time_of_their_end() {
        let service = plain("echo");
        let labels = service.selector.clone();
        let inside = crate::overview::Inside { labels, user: "ann".into(), host: None };
        let seen = Overview { inside: vec![inside], ..overview(vec![], vec![service]) };

        let Ok(Recovery::Nothing(why)) = plan_recover("echo", &seen) else { panic!("there is a plan") };

        assert!(why.contains("an exchange by ann") && why.contains("end after 5 minutes"), "{why}");
    }

    #[test]
    fn what_nobody_remembers_is_not_guessed_unless_the_stuntman_tells() {
        let lost = ServiceSeen { record: Record::None, ..redirected("echo") };
        let alone = overview(vec![], vec![lost.clone()]);
        let told = overview(vec![], vec![lost, stuntman("echo", 1)]);

        assert_eq!(plan_recover("echo", &alone), Err(NoRecovery::NoRecord("echo".into())));
        assert_eq!(plan(&told), ["restore service echo"]);
    }

    #[test]
    fn a_missing_service_stops_it() {
        let error = plan_recover("echo", &overview(vec![], vec![])).unwrap_err();

        assert_eq!(error.to_string(), "service 'echo' does not exist");
    }
}
