//! The end of a run: what was undone, and what could not be.

use std::time::Duration;

use kt_cluster::Cluster;
use kt_host::helper::{self, Undone};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::run::{Journal, Run};

/// How long the cluster's side may take; the API server may be gone.
const WITHIN: Duration = Duration::from_secs(10);

/// Says what became of the laptop's side.
pub(crate) fn say_undone(undone: Result<Vec<Undone>, helper::Error>) {
    match undone {
        Ok(steps) => {
            for step in &steps {
                match &step.failure {
                    None => debug!("undone: {}", step.what),
                    Some(failure) => error!("{} could not be undone: {failure}", step.what),
                }
            }
            if steps.iter().all(|step| step.failure.is_none()) {
                info!("The laptop is as before");
            }
        }
        Err(error) => debug!(%error, "the helper undoes everything when it ends"),
    }
}

/// Undoes the cluster's side, for a limited time; another signal gives up at once. What remains is
/// named with the command that removes it, and left in the journal for the next start.
/// Returns whether everything is undone.
pub(crate) async fn in_cluster(
    run: &mut Run,
    cluster: &Cluster,
    journal: &Journal,
    undo: impl Future<Output = anyhow::Result<()>>,
) -> bool {
    let result = tokio::select! {
        result = timeout(WITHIN, undo) => match result {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("the API server did not answer within {} s", WITHIN.as_secs())),
        },
        () = run.impatience() => Err(anyhow::anyhow!("interrupted")),
    };
    let Err(error) = result else { return true };
    warn!("Cleaning up in the cluster is not complete: {error:#}");
    let (status, namespace) = (journal.status(), cluster.namespace());
    if let Some((service, _)) = &status.redirected {
        warn!(">> put the service back by: ktctl -n {namespace} recover {service}");
    }
    for name in &status.shadows {
        warn!(
            ">> remove what remains by: kubectl -n {namespace} delete pod/{name} configmap/{name} --ignore-not-found"
        );
    }
    warn!(">> or just start ktctl again on this laptop");
    journal.leave();
    false
}
