//! The end of a run: what was undone, and what could not be.

use std::time::Duration;

use kt_cluster::names;
use kt_cluster::workload::WorkloadName;
use kt_host::helper::{self, Undone};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::exchange::scale::Scaled;
use crate::report::events;
use crate::run::{Journal, Run, Status};

/// How long the cluster's side may take; the API server may be gone.
const WITHIN: Duration = Duration::from_secs(10);

/// Part of what a run has changed stays as it is. What, was said before.
#[derive(Debug, thiserror::Error)]
#[error("not everything could be undone, as said above")]
pub(crate) struct Incomplete;

/// The user ended the clean-up.
#[derive(Debug, thiserror::Error)]
#[error("the clean-up was given up, what remains is said above")]
pub(crate) struct GivenUp;

/// How a run ends whose clean-up is complete or not.
pub(crate) fn outcome(run: &Run, is_complete: bool) -> anyhow::Result<()> {
    match is_complete {
        true => Ok(()),
        false if run.is_given_up => Err(GivenUp.into()),
        false => Err(Incomplete.into()),
    }
}

/// Says what became of the laptop's side. Returns whether everything is undone.
pub(crate) fn say_undone(undone: Result<Vec<Undone>, helper::Error>) -> bool {
    match undone {
        Ok(steps) => {
            for step in &steps {
                match &step.failure {
                    None => debug!("undone: {}", step.what),
                    Some(failure) => error!("{} could not be undone: {failure}", step.what),
                }
            }
            let all = steps.iter().all(|step| step.failure.is_none());
            if all {
                info!("The laptop is as before");
            }
            all
        }
        Err(error) => {
            debug!(%error, "the helper undoes everything when it ends");
            true
        }
    }
}

/// Undoes the cluster's side, for a limited time; another signal gives up at once. What remains is
/// named with the command that removes it, and left in the journal for the next start.
/// Returns whether everything is undone.
pub(crate) async fn in_cluster(
    run: &mut Run,
    journal: &Journal,
    undo: impl Future<Output = anyhow::Result<()>>,
) -> bool {
    let result = tokio::select! {
        result = timeout(WITHIN, undo) => match result {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the API server did not answer within {} s", WITHIN.as_secs())),
        },
        () = run.impatience() => {
            run.is_given_up = true;
            Err(anyhow::anyhow!("interrupted"))
        }
    };
    let Err(error) = result else { return true };
    warn!("Cleaning up in the cluster is not complete: {error:#}");
    let status = journal.status();
    say_remaining(&status);
    events::note_remains(remaining(&status).into_iter().map(|(_, command)| command));
    warn!(">> or just start ktctl again on this laptop");
    journal.leave();
    false
}

/// Names the commands that undo what a run has left in its cluster.
pub(crate) fn say_remaining(status: &Status) {
    for (what, command) in remaining(status) {
        warn!(">> {what}: {command}");
    }
}

/// What a run has left in its cluster: what to do about it, and the command.
fn remaining(status: &Status) -> Vec<(String, String)> {
    let Status { namespace, shadows, redirected, previewed, meshed, scaled, deployments, .. } = status;
    let mut all = Vec::new();
    if let Some(meshed) = meshed {
        let service = &meshed.service;
        let (router, stuntman) = (names::router(service), names::stuntman(service));
        all.push((
            "end every mesh of the service by".into(),
            format!("ktctl -n {namespace} recover {service}"),
        ));
        let objects = format!("pod/{router} configmap/{router} service/{stuntman}");
        all.push(("or look at what it has".into(), format!("kubectl -n {namespace} get {objects}")));
    }
    if let Some((service, _)) = redirected {
        all.push(("put the service back by".into(), format!("ktctl -n {namespace} recover {service}")));
    }
    if let Some(Scaled { workload: WorkloadName { kind, name }, replicas, .. }) = scaled {
        let what = format!("give the {kind} its pods back by");
        let command = format!("kubectl -n {namespace} scale {kind}/{name} --replicas={replicas}");
        all.push((what, command));
    }
    if let Some((service, _)) = previewed {
        let command = format!("kubectl -n {namespace} delete service/{service} --ignore-not-found");
        all.push(("remove the service by".into(), command));
    }
    let kind = if *deployments { "deployment" } else { "pod" };
    all.extend(shadows.iter().map(|name| {
        let objects = format!("{kind}/{name} configmap/{name}");
        let command = format!("kubectl -n {namespace} delete {objects} --ignore-not-found");
        ("remove what remains by".into(), command)
    }));
    all
}
