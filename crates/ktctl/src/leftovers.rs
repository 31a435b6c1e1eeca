//! What dead runs have left: on this laptop, and in the cluster.

mod refused;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use kt_cluster::leftovers::{Error, Outcome, Repair, SETTLE, plan_sweep};
use kt_cluster::overview::Overview;
use kt_cluster::redirect::{Owner, Restored};
use kt_cluster::{Access, Cluster};
use kt_host::Helper;
use kt_host::home::{Home, Run as Left, host_name, user_name};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::refused::{Next, missing_right};
use crate::cleanup;
use crate::connect::jvmrc;
use crate::env_file;
use crate::exchange::scale;
use crate::mesh::{dead, router, stand_in};
use crate::run::{Meshed, Status};

pub(crate) use self::refused::Refused;

/// How long the leftovers of one run may take; its cluster may be gone for good.
const WITHIN: Duration = Duration::from_secs(8);
/// How long others who change a meshed service are waited for; then the router stays to them.
const LOCK_WITHIN: Duration = Duration::from_secs(4);

/// Says what the root helper has put back before anything else.
pub(crate) fn say_recovered(helper: &Helper) {
    for undone in helper.recovered() {
        match &undone.failure {
            None => info!("A dead run had left {}, which is undone", undone.what),
            Some(failure) => {
                warn!("A dead run has left {}, and it can not be undone: {failure}", undone.what);
            }
        }
    }
}

/// Undoes what runs of this user, which were killed on this laptop, have left in their clusters:
/// exactly their things, whatever their heartbeat says. What fails is tried again next time.
pub(crate) async fn of_this_laptop() {
    let Ok(home) = Home::of_user() else { return };
    home.remove_dead_pid_files();
    let looks = dead_runs().into_iter().map(async |(run, status)| {
        let next = look(&status).await;
        (run, status, next)
    });
    for (run, status, next) in join_all(looks).await {
        match next {
            Next::CleanUp => clean_up(&home, &run, status).await,
            Next::Keep(days) => {
                say_refused(&run, &status, &format!("for {days} more days each start tries again"));
            }
            Next::Wait => debug!(run.component, "the cluster of a killed run does not answer"),
            Next::GiveUp => {
                say_refused(&run, &status, "it is not tried any more");
                forget(&home, &run);
            }
            Next::Forget => forget(&home, &run),
        }
    }
}

async fn look(status: &Status) -> Next {
    match &status.refused {
        Some(refused) => refused.next(connect(status)).await,
        None => Next::CleanUp,
    }
}

async fn clean_up(home: &Home, run: &Left, mut status: Status) {
    let component = &run.component;
    let error = match timeout(WITHIN, undo(&without(status.clone(), &living_runs()))).await {
        Ok(Ok(())) => {
            info!("Cleaned up after {component} {}, which was killed", run.process.pid);
            return forget(home, run);
        }
        Ok(Err(error)) => error,
        Err(_) => return warn!("Can not clean up after a killed {component}: its cluster does not answer"),
    };
    let Some(right) = missing_right(&error) else {
        return warn!("Can not clean up after a killed {component}: {error:#}");
    };
    status.refused = Some(Refused::new(right, status.refused.as_ref()));
    say_refused(run, &status, "the next start tries again");
    if let Err(error) = home.rewrite_run(run, &status) {
        debug!(%error, "its journal stays as it is");
    }
}

fn say_refused(run: &Left, status: &Status, then: &str) {
    let Some(refused) = &status.refused else { return };
    let (component, right) = (&run.component, refused.right());
    warn!("Can not clean up after a killed {component} without the right to {right}, {then}");
    cleanup::say_remaining(status);
}

/// Runs of this user that were killed on this laptop, and what they have left in their clusters.
pub(crate) fn dead_runs() -> Vec<(Left, Status)> {
    let runs = Home::of_user().map(|home| home.runs()).unwrap_or_default();
    let status = |run: &Left| serde_json::from_value(run.status.clone()).unwrap_or_default();
    runs.into_iter().filter(|run| !run.is_alive()).map(|run| (run.clone(), status(&run))).collect()
}

fn living_runs() -> Vec<Status> {
    let runs = Home::of_user().map(|home| home.runs()).unwrap_or_default();
    let living = runs.iter().filter(|run| run.is_alive());
    living.filter_map(|run| serde_json::from_value(run.status.clone()).ok()).collect()
}

/// What a dead run has left, but for what later ones have made under the same names: its clean-up may
/// have failed before.
fn without(mut dead: Status, living: &[Status]) -> Status {
    let (context, namespace) = (dead.context.clone(), dead.namespace.clone());
    for run in living.iter().filter(|run| run.context == context && run.namespace == namespace) {
        dead.shadows.retain(|name| !run.shadows.contains(name));
        let routes = run.meshed.as_ref().map(|meshed| &meshed.route);
        dead.meshed = dead.meshed.filter(|meshed| Some(&meshed.route) != routes);
    }
    dead
}

pub(crate) fn forget(home: &Home, run: &Left) {
    if let Err(error) = home.remove_run(run) {
        debug!(%error, "its journal stays");
    }
}

async fn connect(status: &Status) -> anyhow::Result<Cluster> {
    let access = Access {
        kubeconfig: status.kubeconfig.clone(),
        context: Some(status.context.clone()),
        namespace: Some(status.namespace.clone()),
        embedded: None,
    };
    let cluster = Cluster::connect(&access).await?;
    let (server, now) = (&status.server, cluster.server());
    if !server.is_empty() && *server != now {
        anyhow::bail!("context '{}' leads to {now} now, and not to {server} any more", status.context);
    }
    Ok(cluster)
}

async fn undo(status: &Status) -> anyhow::Result<()> {
    env_file::remove_left(status.env_file.as_ref());
    jvmrc::remove_left(status.jvmrc.as_ref());
    if status.is_empty() {
        return Ok(());
    }
    let cluster = connect(status).await?;
    if let Some((service, ours)) = &status.redirected
        && cluster.restore_service(service, ours).await? == Restored::Done
    {
        sleep(SETTLE).await;
    }
    scale::put_back(&cluster, status.scaled.as_ref(), status.locked.as_ref(), &status.shadows).await?;
    if let Some((service, owner)) = &status.locked_service {
        cluster.unlock_held(service, owner).await?;
    }
    let left = match &status.meshed {
        Some(meshed) => leave(&cluster, meshed).await,
        None => Ok(()),
    };
    if let Some((service, ours)) = &status.previewed {
        cluster.remove_preview(service, ours).await?;
    }
    for name in &status.shadows {
        cluster.delete_shadow(name).await.with_context(|| format!("deleting shadow pod {name}"))?;
    }
    left
}

/// Takes a dead run out of the router, while nobody joins it if that can be had.
async fn leave(cluster: &Cluster, meshed: &Meshed) -> anyhow::Result<()> {
    let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
    let service = &meshed.service;
    let locked = timeout(LOCK_WITHIN, cluster.lock(service, &owner, &|wait| debug!("{wait}"))).await;
    debug!(?locked, "leaving the router of service {service}");
    let is_locked = matches!(locked, Ok(Ok(_)));
    let left = router::leave(cluster, service, &meshed.route, &meshed.mark, is_locked).await;
    cluster.unlock_held(service, &owner.to_string()).await?;
    left.map(drop)
}

/// Carries a plan out. Routers that it ends are told that nobody needs them any more: they would wait
/// for callers for some seconds, and the next `mesh` of the service for them.
pub(crate) async fn repair_all(cluster: &Cluster, plan: &[Repair]) -> Vec<(Repair, Result<Outcome, Error>)> {
    let done = cluster.repair_all(plan).await;
    for (repair, outcome) in &done {
        if let (Repair::RestoreService { service, .. }, Ok(Outcome::Done)) = (repair, outcome) {
            stand_in::dismiss_ending(cluster, service).await;
        }
    }
    done
}

/// Repairs what anybody's dead runs have left in the namespace, in the background. Services come
/// before shadows; a part for which a right is missing is left to somebody who has it.
pub(crate) async fn sweep(cluster: Cluster) -> anyhow::Result<()> {
    let seen = match cluster.overview().await {
        Ok(seen) => seen,
        Err(error) => {
            debug!(%error, "nothing is swept");
            return Ok(());
        }
    };
    let plan = plan_sweep(&seen, cluster.time(), cluster.settings().stale, &BTreeSet::new());
    for (repair, outcome) in repair_all(&cluster, &plan).await {
        match outcome {
            Ok(_) if matches!(repair, Repair::Pause(_)) => {}
            Ok(Outcome::Done) => info!("A dead run had left something: {repair}"),
            Ok(Outcome::Gone | Outcome::Alive | Outcome::Needed) => {}
            Err(error) => debug!(%repair, %error, "not repaired"),
        }
    }
    if let Err(error) = tidy_routers(&cluster, &seen).await {
        debug!(%error, "routers are not tidied");
    }
    Ok(())
}

/// Requests for a dead version go to the original pods at once then.
async fn tidy_routers(cluster: &Cluster, seen: &Overview) -> anyhow::Result<()> {
    for routes in dead::find(cluster, seen, cluster.settings().stale).await? {
        dead::drop_routes(cluster, &routes).await?;
        let names = routes.names.join(", ");
        info!("A dead run had left something: versions of service {}: {names}", routes.service);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(context: &str, name: &str) -> Status {
        let meshed = Meshed { service: "shop".into(), route: name.into(), mark: Default::default() };
        Status {
            context: context.into(),
            shadows: vec![name.into()],
            meshed: Some(meshed),
            ..Status::default()
        }
    }

    #[test]
    fn what_a_later_run_has_made_under_the_same_name_is_not_cleaned_up() {
        let dead = || run("test", "shop-kt-mesh-mine");

        assert!(without(dead(), &[dead()]).is_empty());
        for other in [run("test", "shop-kt-mesh-other"), run("elsewhere", "shop-kt-mesh-mine")] {
            let left = without(dead(), &[other]);
            assert!(left.shadows == dead().shadows && left.meshed.is_some());
        }
    }
}
