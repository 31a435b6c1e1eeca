//! What is stale, and what to do about it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Repair, SETTLE, StandsFor};
use crate::Settings;
use crate::heartbeat::{Kind, ObjectRef};
use crate::marks::Role;
use crate::names;
use crate::overview::{Ours, Overview, Record, ServiceSeen};
use crate::workload::WorkloadName;

/// Plans to remove what has no heartbeat younger than `stale`, and at once what belongs to dead
/// runs of this laptop (`own`, by uid). Everything that would be hurt by it is put right before.
pub fn plan_sweep(seen: &Overview, now: i64, stale: Duration, own: &BTreeSet<String>) -> Vec<Repair> {
    let sweep = Sweep { seen, now, stale: seconds(stale), own };
    let restored: Vec<&ServiceSeen> =
        seen.services.iter().filter(|service| sweep.is_abandoned(service)).collect();
    let mut plan: Vec<Repair> = restored.iter().map(|service| restore(service)).collect();
    plan.extend(sweep.scales());
    plan.dedup(); // of a pod, and of the Deployment around it
    plan.extend(sweep.unlocks());
    let deletes = sweep.deletes(&restored);
    if !restored.is_empty() && !deletes.is_empty() {
        plan.push(Repair::Pause(SETTLE));
    }
    plan.extend(deletes);
    plan
}

struct Sweep<'a> {
    seen: &'a Overview,
    now: i64,
    stale: i64,
    own: &'a BTreeSet<String>,
}

impl Sweep<'_> {
    fn is_dead(&self, object: &ObjectRef, beat: Option<i64>) -> bool {
        self.own.contains(&object.uid) || beat.is_some_and(|beat| self.now - beat > self.stale)
    }

    fn dead(&self) -> impl Iterator<Item = &Ours> {
        self.seen.ours.iter().filter(|ours| self.is_dead_helper(ours))
    }

    /// A router is alive as long as one of its versions is: older clients let it live by nothing else
    /// once its maker has left.
    fn is_dead_helper(&self, ours: &Ours) -> bool {
        self.is_dead_ours(ours) && !self.is_used_router(ours)
    }

    fn is_used_router(&self, ours: &Ours) -> bool {
        if ours.role != Some(Role::Router) {
            return false;
        }
        let Some(StandsFor::Service(service)) = self.stands_for(ours) else { return false };
        self.seen.services.iter().any(|version| {
            let is_version = version.ours && names::is_version_of(&service, &version.object.name);
            is_version && !version.terminating && !self.is_dead(&version.object, version.heartbeat)
        })
    }

    /// A pod is as dead as the Deployment around it.
    fn is_dead_ours(&self, ours: &Ours) -> bool {
        let told = self.seen.deployment_of(ours).unwrap_or(ours);
        self.is_dead(&told.object, told.heartbeat)
    }

    /// Is the Service redirected for nobody who lives?
    fn is_abandoned(&self, service: &ServiceSeen) -> bool {
        if !matches!(service.record, Record::Selector(_)) || !self.seen.knows(Kind::Pod) {
            return false;
        }
        let lives = |ours: &Ours| !ours.terminating && !self.is_dead_helper(ours);
        let name = Some(&service.object.name);
        // Between two looks of a living run's guard it may select its own pods.
        let guarded = self.seen.ours.iter().any(|ours| lives(ours) && ours.config.service.as_ref() == name);
        let selected: Vec<&Ours> = self.seen.selected(&service.selector).collect();
        let dead = selected.iter().any(|ours| self.is_dead_helper(ours));
        match selected.is_empty() {
            true => !guarded || service.selector.contains_key(crate::marks::ROLE),
            false => dead || selected.iter().all(|ours| !lives(ours)),
        }
    }

    fn scales(&self) -> impl Iterator<Item = Repair> {
        let exchanged = self
            .dead()
            .filter(|ours| ours.role == Some(Role::Exchange) && ours.object.kind != Kind::ConfigMap);
        exchanged.filter_map(|ours| {
            let (workload, replicas) = (ours.config.workload()?, ours.config.replicas?);
            (!self.is_scaled_by_living(&workload)).then_some(Repair::Scale { workload, replicas })
        })
    }

    /// Who lives and has scaled it down, too, will scale it back.
    fn is_scaled_by_living(&self, workload: &WorkloadName) -> bool {
        self.seen.ours.iter().any(|ours| {
            ours.config.workload().as_ref() == Some(workload) && !ours.terminating && !self.is_dead_ours(ours)
        })
    }

    fn unlocks(&self) -> impl Iterator<Item = Repair> {
        let expiry = seconds(Settings::default().lock_expiry);
        let expired =
            move |service: &&ServiceSeen| service.lock.is_some_and(|since| self.now - since > expiry);
        let services = self.seen.services.iter().filter(expired);
        let workloads = self.seen.locked.iter().filter(move |locked| self.now - locked.since > expiry);
        services
            .map(|service| Repair::Unlock { service: service.object.name.clone(), since: service.lock })
            .chain(workloads.map(|locked| Repair::UnlockWorkload {
                workload: locked.workload.clone(),
                since: Some(locked.since),
            }))
    }

    fn deletes(&self, restored: &[&ServiceSeen]) -> Vec<Repair> {
        let services = self.seen.services.iter().filter(|service| self.is_to_go(service, restored));
        let mut deletes: Vec<Repair> = services
            .map(|service| {
                let stands_for = restored.iter().find(|restored| is_stuntman_of(service, restored));
                let stands_for = stands_for.map(|restored| StandsFor::Service(restored.object.name.clone()));
                self.delete(&service.object, service.heartbeat, stands_for)
            })
            .collect();
        let goes_along = |ours: &&Ours| self.seen.deployment_of(ours).is_some();
        let ours = self.dead().filter(|ours| !ours.terminating && !goes_along(ours));
        deletes.extend(ours.map(|ours| self.delete(&ours.object, ours.heartbeat, self.stands_for(ours))));
        deletes.sort_by_key(|delete| match delete {
            Repair::Delete { object, .. } => Some((order(object.kind), object.name.clone())),
            _ => None,
        });
        deletes
    }

    /// A config map does not say it; the pod of its name does.
    fn stands_for(&self, ours: &Ours) -> Option<StandsFor> {
        let mut same_name = self.seen.ours.iter().filter(|other| other.object.name == ours.object.name);
        same_name.find_map(|other| StandsFor::read(&other.config))
    }

    /// A stuntman goes when its Service is put back, and stays as long as that is redirected.
    fn is_to_go(&self, service: &ServiceSeen, restored: &[&ServiceSeen]) -> bool {
        if !service.ours || service.terminating {
            return false;
        }
        let is_restored = restored.iter().any(|restored| is_stuntman_of(service, restored));
        let is_needed = self
            .seen
            .services
            .iter()
            .any(|other| other.record != Record::None && is_stuntman_of(service, other) && !is_restored);
        let is_dead = self.is_dead(&service.object, service.heartbeat);
        (is_restored && service.heartbeat.is_some()) || (is_dead && !is_needed)
    }

    /// What is our own goes whatever its heartbeat; the rest only if nobody revived it.
    fn delete(&self, object: &ObjectRef, beat: Option<i64>, stands_for: Option<StandsFor>) -> Repair {
        let beat = beat.filter(|_| !self.own.contains(&object.uid));
        Repair::Delete { object: object.clone(), beat, stands_for }
    }
}

fn is_stuntman_of(stuntman: &ServiceSeen, service: &ServiceSeen) -> bool {
    stuntman.object.name == names::stuntman(&service.object.name)
}

fn order(kind: Kind) -> u8 {
    match kind {
        Kind::Deployment => 0,
        Kind::Pod => 1,
        Kind::Service => 2,
        Kind::ConfigMap => 3,
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn restore(service: &ServiceSeen) -> Repair {
    Repair::RestoreService { service: service.object.name.clone(), selects: service.selector.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use super::*;

    const STALE: Duration = Duration::from_secs(300);
    const NOW: i64 = 10_000;
    const DEAD: i64 = NOW - 301;
    const ALIVE: i64 = NOW - 300;

    fn plan(seen: &Overview, own: &[&str]) -> Vec<String> {
        let own = own.iter().map(ToString::to_string).collect();
        plan_sweep(seen, NOW, STALE, &own).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dead_exchange_is_put_back_before_its_shadow_goes() {
        let seen = overview(
            vec![shadow(Kind::Pod, "x", DEAD), shadow(Kind::ConfigMap, "x", DEAD)],
            vec![redirected("echo"), stuntman("echo", DEAD)],
        );

        let wanted = [
            "restore service echo",
            "wait 1500 ms",
            "delete pod x",
            "delete service echo-kt-stuntman",
            "delete configmap x",
        ];
        assert_eq!(plan(&seen, &[]), wanted);
    }

    #[test]
    fn a_living_stuntman_goes_with_the_redirect_that_is_put_back() {
        let seen = overview(vec![], vec![redirected("echo"), stuntman("echo", ALIVE)]);

        let wanted = ["restore service echo", "wait 1500 ms", "delete service echo-kt-stuntman"];
        assert_eq!(plan(&seen, &[]), wanted);
    }

    #[test]
    fn a_router_whose_maker_has_left_stays_for_as_long_as_a_version_lives() {
        let meshed = |beat| {
            let router = Ours {
                role: Some(Role::Router),
                labels: labels("router", "r"),
                ..shadow(Kind::Pod, "echo-kt-router", DEAD)
            };
            let service = ServiceSeen { selector: labels("router", "r"), ..redirected("echo") };
            let version = ServiceSeen { ours: true, heartbeat: Some(beat), ..plain("echo-kt-mesh-old") };
            overview(vec![router], vec![service, stuntman("echo", DEAD), version])
        };

        assert!(plan(&meshed(ALIVE), &[]).is_empty());
        assert_eq!(plan(&meshed(DEAD), &[])[0], "restore service echo");
    }

    #[test]
    fn a_dead_preview_goes_as_a_whole() {
        let mut pod = shadow(Kind::Pod, "x", DEAD);
        pod.role = Some(Role::Preview);
        let service = ServiceSeen { ours: true, heartbeat: Some(DEAD), ..plain("mine") };
        let seen = overview(vec![pod, shadow(Kind::ConfigMap, "x", DEAD)], vec![service]);

        assert_eq!(plan(&seen, &[]), ["delete pod x", "delete service mine", "delete configmap x"]);
    }

    #[test]
    fn the_living_are_left_alone() {
        let seen =
            overview(vec![shadow(Kind::Pod, "x", ALIVE)], vec![redirected("echo"), stuntman("echo", DEAD)]);

        assert!(plan(&seen, &[]).is_empty());
    }

    #[test]
    fn what_a_dead_run_of_this_laptop_left_goes_at_once() {
        let seen = overview(vec![shadow(Kind::Pod, "x", ALIVE)], vec![redirected("echo")]);

        assert_eq!(plan(&seen, &["uid-x"]), ["restore service echo", "wait 1500 ms", "delete pod x"]);
    }

    #[test]
    fn a_service_whose_shadow_is_gone_is_put_back() {
        let seen = overview(vec![], vec![redirected("echo")]);

        assert_eq!(plan(&seen, &[]), ["restore service echo"]);
    }

    #[test]
    fn nothing_is_put_back_when_pods_can_not_be_read() {
        let mut seen = overview(vec![], vec![redirected("echo")]);
        seen.missing.push((Kind::Pod, right()));

        assert!(plan(&seen, &[]).is_empty());
    }

    #[test]
    fn a_scaled_deployment_gets_its_replicas_back_first() {
        let mut scaled = shadow(Kind::Pod, "x", DEAD);
        scaled.config = crate::marks::Config::parse("app=echo,replicas=2");
        let seen = overview(vec![scaled], vec![]);

        assert_eq!(plan(&seen, &[]), ["scale deployment echo to 2", "delete pod x"]);
    }

    #[test]
    fn what_remembers_the_replicas_of_a_deployment_stands_for_that() {
        let config = crate::marks::Config::parse("app=echo,replicas=2");
        let mut map = shadow(Kind::ConfigMap, "x", DEAD);
        map.config = Default::default();
        let seen = overview(vec![Ours { config, ..shadow(Kind::Pod, "x", DEAD) }, map], vec![]);

        let plan = plan_sweep(&seen, NOW, STALE, &BTreeSet::new());

        let echo = StandsFor::Workload(String::from("echo").into());
        let stays = |repair: &&Repair| matches!(repair, Repair::Delete { stands_for, .. } if *stands_for == Some(echo.clone()));
        assert_eq!(plan.iter().filter(stays).count(), 2, "{plan:?}");
    }

    #[test]
    fn a_deployment_that_somebody_living_has_scaled_is_left_to_him() {
        let scaled = |name, beat| {
            let config = crate::marks::Config::parse("app=echo,replicas=2");
            Ours { config, ..shadow(Kind::Pod, name, beat) }
        };
        let seen = overview(vec![scaled("x", DEAD), scaled("y", ALIVE)], vec![]);

        assert_eq!(plan(&seen, &[]), ["delete pod x"]);
    }

    #[test]
    fn old_locks_and_no_young_ones_are_taken_away() {
        let locked = |name, since| ServiceSeen { lock: Some(since), ..plain(name) };
        let seen = overview(vec![], vec![locked("old", NOW - 181), locked("young", NOW - 180)]);

        assert_eq!(plan(&seen, &[]), ["unlock service old"]);
        let old = Repair::Unlock { service: "old".into(), since: Some(NOW - 181) };
        assert_eq!(plan_sweep(&seen, NOW, STALE, &BTreeSet::new()), [old], "no younger one");
    }

    #[test]
    fn old_locks_of_workloads_are_taken_away_too() {
        let locked = vec![locked("old", NOW - 181), locked("young", NOW - 180)];
        let seen = Overview { locked, ..overview(vec![], vec![]) };

        assert_eq!(plan(&seen, &[]), ["unlock deployment old"]);
    }

    #[test]
    fn no_heartbeat_is_life() {
        let mut silent = shadow(Kind::Pod, "x", DEAD);
        silent.heartbeat = None;
        let seen = overview(vec![silent], vec![redirected("echo")]);

        assert!(plan(&seen, &[]).is_empty());
    }

    #[test]
    fn a_deployment_scaled_by_a_shadow_in_a_deployment_gets_its_replicas_back() {
        let config = crate::marks::Config::parse("app=echo,replicas=2");
        let pod = Ours { config: config.clone(), ..shadow(Kind::Pod, "x-1", ALIVE) };
        let around = Ours { config, ..shadow(Kind::Deployment, "x", ALIVE) };
        let seen = overview(vec![around, pod], vec![]);

        assert!(plan(&seen, &[]).is_empty());
        assert_eq!(plan(&seen, &["uid-x"]), ["scale deployment echo to 2", "delete deployment x"]);
    }

    #[test]
    fn a_dead_deployment_takes_its_living_pod_along() {
        let mut pod = shadow(Kind::Pod, "x-1", DEAD);
        pod.heartbeat = None;
        let seen = overview(vec![shadow(Kind::Deployment, "x", DEAD), pod], vec![redirected("echo")]);

        assert_eq!(plan(&seen, &[]), ["restore service echo", "wait 1500 ms", "delete deployment x"]);
    }
}
