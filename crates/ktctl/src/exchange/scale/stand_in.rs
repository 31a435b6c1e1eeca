//! The shadow in the place of a Deployment's pods, and the next one when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kt_cluster::Cluster;
use kt_cluster::scale::Workload;
use kt_cluster::shadow::Shadow;
use kt_cluster::workload::WorkloadName;
use kt_wire::{IncomingQueue, Link};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Labels;
use crate::inbound::Inbound;
use crate::run::Journal;
use crate::shadow::Successor;

/// How often it is looked whether somebody scales the Deployment.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What makes a shadow stand in.
#[derive(Clone)]
pub(super) struct StandIn {
    cluster: Cluster,
    workload: WorkloadName,
    labels: Labels,
    inbound: Inbound,
    journal: Journal,
    /// Set once the original pods are gone.
    alone: Arc<AtomicBool>,
}

impl StandIn {
    pub(super) fn new(
        cluster: &Cluster,
        workload: &Workload,
        inbound: &Inbound,
        journal: &Journal,
    ) -> StandIn {
        StandIn {
            cluster: cluster.clone(),
            workload: workload.name.clone(),
            labels: workload.labels.clone(),
            inbound: inbound.clone(),
            journal: journal.clone(),
            alone: Arc::default(),
        }
    }

    /// Only now that it takes callers may they find the shadow.
    pub(super) async fn join(&self, shadow: &Shadow) -> anyhow::Result<()> {
        self.journal.note_joined(&shadow.pod, &self.labels);
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        Ok(self.cluster.label_pod(&shadow.pod, &labels).await?)
    }

    pub(super) fn is_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// Says when somebody scales the Deployment, for ever.
    pub(super) async fn guard(self) -> anyhow::Result<()> {
        let mut told = Some(0);
        loop {
            sleep(LOOK_EVERY).await;
            match self.cluster.replicas(&self.workload).await {
                Ok(now) if now != told => {
                    self.say(now);
                    told = now;
                }
                Ok(_) => {}
                Err(error) => debug!(%error, "the workload can not be read"),
            }
        }
    }

    fn say(&self, replicas: Option<i32>) {
        let workload = &self.workload;
        match replicas {
            Some(0) => warn!("{workload} has no pods again"),
            Some(now) => warn!("somebody has scaled {workload} to {now}, its pods take calls, too"),
            None => warn!("{workload} was deleted"),
        }
    }
}

impl Successor for StandIn {
    /// Somebody who recovers the service scales the Deployment back and removes the shadow.
    async fn is_wanted(&self) -> anyhow::Result<()> {
        if !self.alone.load(Ordering::Relaxed) {
            return Ok(());
        }
        anyhow::ensure!(
            self.cluster.replicas(&self.workload).await? == Some(0),
            "somebody else has scaled {} back, nothing is exchanged any more",
            self.workload
        );
        Ok(())
    }

    async fn has_come(&self, shadow: Shadow, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await?;
        self.join(&shadow).await
    }
}
