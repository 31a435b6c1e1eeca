//! The end: the pods first, while the shadow still answers; then its last callers, then the shadow.

use std::time::Duration;

use kt_cluster::Cluster;
use kt_cluster::scale::Back;
use kt_cluster::workload::WorkloadName;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{Made, put_back};
use crate::cleanup;
use crate::mesh::manual;
use crate::run::Run;

/// Undoes everything, and tells whether it could. A signal ends the wait for the pods.
pub(super) async fn undo(run: &mut Run, made: Made, wait_secs: u64) -> bool {
    let Some((cluster, journal)) = made.cluster else { return true };
    made.guards.stop().await;
    let status = journal.status();
    let mut became = None;
    let back = async {
        became = put_back(&cluster, status.scaled.as_ref(), status.locked.as_ref(), &status.shadows).await?;
        Ok(())
    };
    if !cleanup::in_cluster(run, &journal, back).await {
        run.tasks.stop().await;
        return false;
    }
    if let Some(scaled) = status.scaled.as_ref().filter(|_| !matches!(became, Some(Back::Taken(_)))) {
        wait_for_pods(run, &cluster, &scaled.workload, Duration::from_secs(wait_secs)).await;
    }
    if let Some(joined) = &status.joined {
        let leave = manual::leave(&cluster, joined);
        if !cleanup::in_cluster(run, &journal, leave).await {
            run.tasks.stop().await;
            return false;
        }
    }
    if let Some(inbound) = made.inbound {
        tokio::select! {
            () = inbound.finish() => {}
            () = run.impatience() => {}
        }
    }
    run.tasks.stop().await;
    match made.shadow {
        Some(shadow) => cleanup::in_cluster(run, &journal, shadow.delete()).await,
        None => true,
    }
}

/// Callers reach the laptop until the original pods are ready.
async fn wait_for_pods(run: &mut Run, cluster: &Cluster, workload: &WorkloadName, within: Duration) {
    let WorkloadName { kind, name } = workload;
    info!("Wait for {kind} {name} recover ... (at most {} s, Ctrl+C ends the wait)", within.as_secs());
    let ready = |ready: i32, wanted: i32| tracing::debug!(ready, wanted, "not all pods are ready");
    tokio::select! {
        settled = timeout(within, cluster.wait_until_settled(workload, &ready)) => match settled {
            Ok(Ok(())) => info!("All pods of {workload} are ready"),
            Ok(Err(error)) => warn!("the pods of {workload} can not be waited for: {error}"),
            Err(_) => warn!("not all pods of {workload} are ready after {} s", within.as_secs()),
        },
        () = run.impatience() => warn!("not waiting any longer, callers may meet nobody until the pods of {workload} are ready"),
    }
}
