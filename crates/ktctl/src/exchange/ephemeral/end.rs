//! The end: new callers reach the pods themselves again, those who have come are served, then the
//! containers end.

use std::time::Duration;

use futures_util::future::join_all;
use kt_cluster::ephemeral::Added;
use kt_cluster::leftovers::SETTLE;
use kt_wire::Reason;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Made;
use super::keeper::{Keeper, Kept};
use crate::cleanup;
use crate::inbound::Inbound;
use crate::run::Run;

/// How long the node may take to say that a container has ended.
const END_WITHIN: Duration = Duration::from_secs(8);

/// Undoes everything, and tells whether it could. Another signal ends each of the waits.
pub(super) async fn undo(run: &mut Run, made: Made) -> bool {
    made.guards.stop().await;
    let is_unlocked = match (&made.cluster, &made.journal) {
        (Some(cluster), Some(journal)) => {
            cleanup::in_cluster(run, journal, super::unlock(cluster, journal)).await
        }
        _ => true,
    };
    let Some(keeper) = made.keeper else {
        run.tasks.stop().await;
        return is_unlocked;
    };
    let kept = keeper.end();
    if kept.iter().any(|kept| kept.link.is_some()) {
        tokio::select! {
            () = finish(keeper.inbound()) => {}
            () = run.impatience() => {}
        }
    }
    let lasting = tokio::select! {
        lasting = end_all(&keeper, &kept) => lasting,
        () = run.impatience() => Vec::new(),
    };
    run.tasks.stop().await;
    for added in &lasting {
        warn!(
            "container {} of pod {} has not ended yet: without this laptop it leads nobody away after 15 s, and ends after 5 minutes",
            added.container, added.pod
        );
    }
    say_listed(&kept);
    is_unlocked && lasting.is_empty()
}

/// Lets callers finish, also those who were on their way.
async fn finish(inbound: &Inbound) {
    inbound.close();
    sleep(SETTLE).await;
    inbound.finish().await;
}

/// Tells the containers to end, and returns those that have not.
async fn end_all(keeper: &Keeper, kept: &[Kept]) -> Vec<Added> {
    let with_link = kept.iter().filter_map(|kept| Some((kept.link.as_ref()?, kept.added.clone()?)));
    let ends = with_link.map(async |(link, added)| {
        link.end(&Reason::Cancelled.into());
        timeout(END_WITHIN, keeper.cluster().wait_until_ended(&added)).await.err().map(|_| added)
    });
    join_all(ends).await.into_iter().flatten().collect()
}

/// What nobody can take out of a pod.
fn say_listed(kept: &[Kept]) {
    let mut pods: Vec<&str> =
        kept.iter().flat_map(|kept| &kept.listed).map(|added| added.pod.as_str()).collect();
    pods.dedup();
    match &pods[..] {
        [] => {}
        [pod] => info!("The finished container stays listed in pod {pod} until the pod is replaced"),
        pods => {
            info!("The finished containers stay listed in pods {} until those are replaced", pods.join(", "));
        }
    }
}
