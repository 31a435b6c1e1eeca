//! A workload without pods while a shadow takes their calls, and its way back.
//!
//! How many pods it had stands in the shadow's [`marks::CONFIG`], so whoever finds the shadow can
//! undo it. While somebody changes the workload it carries the same lock as a Service does.

mod choose;
mod interferer;
mod locked;
mod standing;
mod wait;

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams};
use serde_json::json;

pub use self::interferer::Interferer;
pub use self::locked::Counted;
pub use self::standing::StandIn;

use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::target::{self, GitOps, Target};
use crate::workload::{WorkloadKind, WorkloadName, wanted_replicas};

/// Why a workload is not scaled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the user named can not be found.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// No workload that can be scaled has the pods of the Service.
    #[error(
        "no deployment, statefulset or replicaset has the pods of service '{0}', only these can be exchanged by scale"
    )]
    NoWorkload(String),
    /// The workloads can not be read.
    #[error("looking for what has the pods of service {service}")]
    Looking {
        /// The Service.
        service: String,
        /// Why not.
        source: ApiError,
    },
    /// The shadows can not be read.
    #[error("reading shadows")]
    Shadows(#[source] ApiError),
    /// There is nothing to scale down, and so nothing to remember.
    #[error("{0} has no replicas already, cannot apply exchange")]
    Empty(WorkloadName),
    /// Somebody has scaled it down, and lives.
    #[error("{workload} is already exchanging by another user ({user}), cannot apply exchange")]
    Exchanged {
        /// The workload.
        workload: WorkloadName,
        /// Login name of the other.
        user: String,
    },
    /// Somebody is changing it at this moment.
    #[error("another user ({owner}) is changing {workload}, please try again later")]
    Locked {
        /// The workload.
        workload: WorkloadName,
        /// Who holds the lock.
        owner: String,
    },
    /// It changes all the time.
    #[error("{0} changes all the time")]
    Busy(WorkloadName),
    /// The API server refused.
    #[error("{deed} {workload}")]
    Api {
        /// What was done, e.g. `scaling`.
        deed: &'static str,
        /// To which workload.
        workload: WorkloadName,
        /// Why not.
        source: ApiError,
    },
}

/// A workload whose calls can be taken.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which.
    pub name: WorkloadName,
    /// The labels by which its pods are found: its own and those of the Service.
    pub labels: BTreeMap<String, String>,
    /// These and all others of its pods: rules of a service mesh, for one, may ask for any.
    pub worn: BTreeMap<String, String>,
    /// Who writes it anew when its replicas differ from their source.
    pub kept: Option<GitOps>,
    /// The Service that leads to it; it may have none.
    pub target: Option<Target>,
}

/// What became of a workload that was to be scaled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Back {
    /// It has its replicas again.
    Done,
    /// Somebody has given it so many before, which was left alone.
    Changed(i32),
    /// Somebody else exchanges it now, who will scale it back.
    Taken(String),
    /// It does not exist any more.
    Gone,
}

impl Cluster {
    /// Those of the rights to scale that the user lacks: the sub-resource or the workload will do.
    pub async fn missing_to_scale(&self, kind: WorkloadKind) -> Result<Vec<Right>, ApiError> {
        let (plural, sub) = (kind.plural(), format!("{}/scale", kind.plural()));
        let mut missing = self.missing_rights(&[("get", "apps", plural), ("list", "apps", plural)]).await?;
        let either = [("patch", "apps", sub.as_str()), ("patch", "apps", plural)];
        let neither = self.missing_rights(&either).await?;
        if neither.len() == either.len() {
            missing.extend(neither);
        }
        Ok(missing)
    }

    /// Scales a workload to nothing. Cancel safety: it may be done, [`Cluster::scale_back`] undoes it.
    pub async fn scale_to_nothing(&self, workload: &WorkloadName) -> Result<(), Error> {
        self.set_replicas(workload, 0).await.map_err(refused("scaling", workload))
    }

    /// Gives a workload its replicas back, if it has none and nobody but the shadows `ours` stands
    /// in for it.
    pub async fn scale_back(
        &self,
        workload: &WorkloadName,
        replicas: i32,
        ours: &[String],
    ) -> Result<Back, Error> {
        match self.replicas(workload).await? {
            None => return Ok(Back::Gone),
            Some(0) => {}
            Some(now) => return Ok(Back::Changed(now)),
        }
        if let Some(StandIn { user, .. }) = self.stand_in(workload, ours).await? {
            return Ok(Back::Taken(user));
        }
        match self.set_replicas(workload, replicas).await {
            Ok(()) => Ok(Back::Done),
            Err(error) if error.is_not_found() => Ok(Back::Gone),
            Err(error) => Err(refused("scaling", workload)(error)),
        }
    }

    /// How many pods a workload is meant to have; nothing when there is no such workload.
    pub async fn replicas(&self, workload: &WorkloadName) -> Result<Option<i32>, Error> {
        let read = self.workloads(workload.kind).get_opt(&workload.name).await;
        let read = read.map_err(|source| refused("reading", workload)(source.into()))?;
        Ok(read.as_ref().map(wanted_replicas))
    }

    /// By the sub-resource; by the workload itself where only that may be changed.
    pub(crate) async fn set_replicas(&self, workload: &WorkloadName, replicas: i32) -> Result<(), ApiError> {
        let (workloads, name) = (self.workloads(workload.kind), &workload.name);
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let plain = PatchParams::default();
        match workloads.patch_scale(name, &plain, &patch).await.map_err(ApiError::from) {
            Err(error) if error.is_forbidden() => {}
            scaled => return scaled.map(drop),
        }
        workloads.patch(name, &plain, &patch).await.map(drop).map_err(ApiError::from)
    }
}

fn refused(deed: &'static str, workload: &WorkloadName) -> impl FnOnce(ApiError) -> Error {
    let workload = workload.clone();
    move |source| Error::Api { deed, workload, source }
}
