//! A Deployment without pods while a shadow takes their calls, and its way back.
//!
//! How many pods it had stands in the shadow's [`marks::CONFIG`], so whoever finds the shadow can
//! undo it. While somebody changes the Deployment it carries the same lock as a Service does.

mod choose;
mod interferer;
mod locked;
mod wait;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

pub use self::interferer::Interferer;

use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::heartbeat;
use crate::marks::{self, Config, Role};
use crate::shadow;
use crate::target::{self, Target};

/// Why a Deployment is not scaled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the user named can not be found.
    #[error(transparent)]
    Target(#[from] target::Error),
    /// No Deployment has the pods of the Service.
    #[error("no deployment has the pods of service '{0}', only deployments can be exchanged by scale")]
    NoDeployment(String),
    /// There is nothing to scale down, and so nothing to remember.
    #[error("deployment '{0}' has no replicas already, cannot apply exchange")]
    Empty(String),
    /// Somebody has scaled it down, and lives.
    #[error(
        "deployment '{deployment}' is already exchanging by another user ({user}), cannot apply exchange"
    )]
    Exchanged {
        /// The Deployment.
        deployment: String,
        /// Login name of the other.
        user: String,
    },
    /// Somebody is changing it at this moment.
    #[error("another user ({owner}) is changing deployment '{deployment}', please try again later")]
    Locked {
        /// The Deployment.
        deployment: String,
        /// Who holds the lock.
        owner: String,
    },
    /// It changes all the time.
    #[error("deployment '{0}' changes all the time")]
    Busy(String),
    /// The API server refused.
    #[error("{deed} deployment {name}")]
    Api {
        /// What was done, e.g. `scaling`.
        deed: &'static str,
        /// To which Deployment.
        name: String,
        /// Why not.
        source: ApiError,
    },
}

/// A Deployment whose calls can be taken.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub deployment: String,
    /// The labels by which its pods are found: its own and those of the Service.
    pub labels: BTreeMap<String, String>,
    /// The Service that leads to it; it may have none.
    pub target: Option<Target>,
}

/// What became of a Deployment that was to be scaled back.
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
    /// Those of the rights to scale that the user lacks: the sub-resource or the Deployment will do.
    pub async fn missing_to_scale(&self) -> Result<Vec<Right>, ApiError> {
        let read = [("get", "apps", "deployments"), ("list", "apps", "deployments")];
        let mut missing = self.missing_rights(&read).await?;
        let either = [("patch", "apps", "deployments/scale"), ("patch", "apps", "deployments")];
        let neither = self.missing_rights(&either).await?;
        if neither.len() == either.len() {
            missing.extend(neither);
        }
        Ok(missing)
    }

    /// Scales a Deployment to nothing. Cancel safety: it may be done, [`Cluster::scale_back`] undoes it.
    pub async fn scale_to_nothing(&self, deployment: &str) -> Result<(), Error> {
        self.set_replicas(deployment, 0).await.map_err(refused("scaling", deployment))
    }

    /// Gives a Deployment its replicas back, if it has none and nobody but the shadows `ours` stands
    /// in for it.
    pub async fn scale_back(&self, deployment: &str, replicas: i32, ours: &[String]) -> Result<Back, Error> {
        match self.replicas(deployment).await? {
            None => return Ok(Back::Gone),
            Some(0) => {}
            Some(now) => return Ok(Back::Changed(now)),
        }
        if let Some(user) = self.exchanger(deployment, ours).await? {
            return Ok(Back::Taken(user));
        }
        match self.set_replicas(deployment, replicas).await {
            Ok(()) => Ok(Back::Done),
            Err(error) if error.is_not_found() => Ok(Back::Gone),
            Err(error) => Err(refused("scaling", deployment)(error)),
        }
    }

    /// How many pods a Deployment is meant to have; nothing when there is no such Deployment.
    pub async fn replicas(&self, deployment: &str) -> Result<Option<i32>, Error> {
        let deployments: Api<Deployment> = self.objects();
        let read = deployments.get_opt(deployment).await;
        let read = read.map_err(|source| refused("reading", deployment)(source.into()))?;
        Ok(read.as_ref().map(wanted_replicas))
    }

    /// Who lives and stands in for a Deployment, but for the shadows `ours`.
    async fn exchanger(&self, deployment: &str, ours: &[String]) -> Result<Option<String>, Error> {
        let pods: Api<Pod> = self.objects();
        let label = format!("{}={}", marks::ROLE, Role::Exchange.label());
        let listed = pods.list(&ListParams::default().labels(&label)).await;
        let listed = listed.map_err(|source| refused("reading the shadows of", deployment)(source.into()))?;
        let stale = i64::try_from(self.settings().stale.as_secs()).unwrap_or(i64::MAX);
        let is_ours = |pod: &&Pod| ours.iter().any(|shadow| shadow::has_pod(shadow, &pod.name_any()));
        let others = listed.items.iter().filter(|pod| !is_ours(pod));
        let mut living = others.filter(|pod| {
            pod.metadata.deletion_timestamp.is_none()
                && stands_for(pod, deployment)
                && heartbeat::read(pod.annotations()).is_none_or(|beat| self.time() - beat <= stale)
        });
        let user = |pod: &Pod| pod.annotations().get(marks::USER).cloned().unwrap_or_default();
        Ok(living.next().map(user))
    }

    /// By the sub-resource; by the Deployment itself where only that may be changed.
    pub(crate) async fn set_replicas(&self, deployment: &str, replicas: i32) -> Result<(), ApiError> {
        let deployments: Api<Deployment> = self.objects();
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let plain = PatchParams::default();
        match deployments.patch_scale(deployment, &plain, &patch).await.map_err(ApiError::from) {
            Err(error) if error.is_forbidden() => {}
            scaled => return scaled.map(drop),
        }
        deployments.patch(deployment, &plain, &patch).await.map(drop).map_err(ApiError::from)
    }
}

fn wanted_replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1) // Kubernetes' default
}

fn stands_for(shadow: &Pod, deployment: &str) -> bool {
    let config = shadow.annotations().get(marks::CONFIG).map(|text| Config::parse(text));
    config.and_then(|config| config.app).as_deref() == Some(deployment)
}

fn refused(deed: &'static str, name: &str) -> impl FnOnce(ApiError) -> Error {
    let name = name.to_owned();
    move |source| Error::Api { deed, name, source }
}
