//! Tells the cluster, again and again, that this run is alive.

use std::collections::HashSet;

use kt_cluster::Cluster;
use kt_cluster::heartbeat::{Kind, ObjectRef};
use kt_cluster::redirect::Redirected;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::shadow::Keeper;

/// Refreshes the heartbeats of a run's objects for ever.
pub(crate) async fn beat(cluster: Cluster, shadow: Keeper, others: Vec<ObjectRef>) -> anyhow::Result<()> {
    let mut failing = HashSet::new();
    loop {
        sleep(cluster.settings().next_heartbeat()).await;
        let objects: Vec<ObjectRef> = shadow.objects().into_iter().chain(others.clone()).collect();
        for (object, result) in cluster.beat(&objects).await {
            match result {
                Ok(()) => drop(failing.remove(&object)),
                Err(error) if failing.insert(object.clone()) => warn!("no heartbeat for {object}: {error}"),
                Err(error) => debug!(%object, %error, "no heartbeat"),
            }
        }
    }
}

/// The Service that stands in for the original pods while a service is redirected, also when it was
/// made anew.
pub(crate) fn stuntman(redirected: &Redirected) -> Vec<ObjectRef> {
    redirected.stuntman.iter().map(|name| ObjectRef::new(Kind::Service, name, "")).collect()
}
