//! The shadow in the place of a Deployment's pods, and the next one when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kt_cluster::Cluster;
use kt_cluster::scale::{self as before, Workload};
use kt_cluster::shadow::Shadow;
use kt_cluster::workload::WorkloadName;
use kt_wire::{IncomingQueue, Link};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::Labels;
use crate::inbound::Inbound;
use crate::run::Journal;
use crate::shadow::Successor;

/// How often it is looked whether somebody scales the Deployment, or takes it over.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long whoever had the Deployment before may take to notice and to leave; his laptop may sleep.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether he has.
const LEFT_EVERY: Duration = Duration::from_millis(300);

/// Somebody else stands in.
#[derive(Debug, thiserror::Error)]
#[error("{0} was taken over by another user ({1})")]
struct TakenOver(WorkloadName, String);

/// What makes a shadow stand in.
#[derive(Clone)]
pub(super) struct StandIn {
    cluster: Cluster,
    workload: WorkloadName,
    /// By which it is found.
    labels: Labels,
    /// All that its pods wear.
    worn: Labels,
    inbound: Inbound,
    journal: Journal,
    /// Set once the original pods are gone.
    alone: Arc<AtomicBool>,
}

impl StandIn {
    /// The user's own labels stay as they are, where they do not hide the shadow.
    pub(super) fn new(
        cluster: &Cluster,
        workload: &Workload,
        own: &Labels,
        inbound: &Inbound,
        journal: &Journal,
    ) -> StandIn {
        let mut worn = workload.worn.clone();
        worn.retain(|label, _| workload.labels.contains_key(label) || !own.contains_key(label));
        StandIn {
            cluster: cluster.clone(),
            workload: workload.name.clone(),
            labels: workload.labels.clone(),
            worn,
            inbound: inbound.clone(),
            journal: journal.clone(),
            alone: Arc::default(),
        }
    }

    /// Only now that it takes callers may they find the shadow.
    pub(super) async fn join(&self, shadow: &Shadow) -> anyhow::Result<()> {
        self.journal.note_joined(&shadow.pod, &self.worn);
        let labels = self.worn.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        Ok(self.cluster.label_pod(&shadow.pod, &labels).await?)
    }

    pub(super) fn is_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// Returns once whoever had the Deployment before takes no callers any more.
    pub(super) async fn succeed(&self, before: &before::StandIn) -> anyhow::Result<()> {
        let left = async {
            while self.others().await?.iter().any(|other| other.pod == before.pod) {
                sleep(LEFT_EVERY).await;
            }
            anyhow::Ok(())
        };
        if let Ok(left) = timeout(LEAVE_WITHIN, left).await {
            return left;
        }
        debug!(pod = before.pod, "it does not leave by itself");
        let labels = self.worn.keys().map(|key| (key.clone(), None)).collect();
        Ok(self.cluster.label_pod(&before.pod, &labels).await?)
    }

    /// Who else takes callers of the Deployment's pods.
    async fn others(&self) -> anyhow::Result<Vec<before::StandIn>> {
        let ours = self.journal.status().shadows;
        let mut all = self.cluster.stand_ins(&self.labels).await?;
        all.retain(|one| one.workload == self.workload && !one.is_of(&ours));
        Ok(all)
    }

    /// Fails when somebody is seen to have taken the Deployment over.
    async fn check_ours(&self) -> Result<(), TakenOver> {
        let others = self.others().await.unwrap_or_else(|error| {
            debug!(%error, "the shadows can not be read");
            Vec::new()
        });
        match others.into_iter().next() {
            Some(other) => Err(TakenOver(self.workload.clone(), other.user)),
            None => Ok(()),
        }
    }

    /// Says when somebody scales the Deployment; an error when somebody takes it over.
    pub(super) async fn guard(self) -> anyhow::Result<()> {
        let mut told = Some(0);
        loop {
            sleep(LOOK_EVERY).await;
            self.check_ours().await?;
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
        match self.cluster.replicas(&self.workload).await {
            Ok(replicas) => anyhow::ensure!(
                replicas == Some(0),
                "somebody else has scaled {} back, nothing is exchanged any more",
                self.workload
            ),
            Err(error) => debug!(%error, "the workload can not be read"),
        }
        Ok(self.check_ours().await?)
    }

    async fn take(&self, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await
    }

    async fn lead_to(&self, shadow: &Shadow) -> anyhow::Result<()> {
        self.join(shadow).await
    }
}
