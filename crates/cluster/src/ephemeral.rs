//! A container of ours inside the pods of a service, for a while: it has the right to lead their
//! callers elsewhere, and nothing about the Service changes.
//!
//! Kubernetes can add such a container to a pod that runs, but neither remove nor restart it: what has
//! ended stays listed until the pod is replaced. `plan` says what is added, `standing` what is there
//! already, `running` waits for its begin and its end, `follow` finds the pods.

mod failure;
mod follow;
mod plan;
mod running;
mod standing;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};

pub use self::failure::Error;
pub use self::running::Ended;
pub(crate) use self::standing::exchanger;
pub use self::standing::{Exchanger, Standing};

use self::failure::{reading, refused};
use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::shadow::ShadowPort;

/// The first version of Kubernetes that can do it without being told to.
const SINCE: (u32, u32) = (1, 23);

/// What is to be added to pods, for whom.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// An image with the program.
    pub image: String,
    /// Pull the image even if it is on the node.
    pub force_update: bool,
    /// Login name of the developer.
    pub user: String,
    /// His machine.
    pub host: String,
    /// The ports whose callers are led away.
    pub ports: Vec<ShadowPort>,
    /// How long it may take until the program runs.
    pub creation_timeout: Duration,
}

/// Which pods are meant.
#[derive(Clone, Debug)]
pub enum Pods {
    /// Those which a Service selects, now and later.
    Selected(BTreeMap<String, String>),
    /// This one.
    Named(String),
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its address, which its own programs can call, too.
    pub address: IpAddr,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    pod: Pod,
}

/// A container of ours in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The pod.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container.
    pub container: String,
    /// Where its program waits for us, on the pod's loopback.
    pub port: u16,
}

impl Cluster {
    /// Fails when the cluster can not add containers to pods that run.
    pub fn check_ephemeral(&self) -> Result<(), Error> {
        match self.version_number() >= SINCE {
            true => Ok(()),
            false => Err(Error::TooOld(self.version().to_owned())),
        }
    }

    /// Those of the rights to add a container that the user lacks.
    pub async fn missing_to_add(&self) -> Result<Vec<Right>, ApiError> {
        self.missing_rights(&[("patch", "", "pods/ephemeralcontainers")]).await
    }

    /// Would the cluster take the container? Nothing is changed.
    pub async fn try_to_add(&self, pod: &Running, wanted: &Wanted) -> Result<(), Error> {
        self.patch_with(pod, wanted, &PatchParams::default().dry_run()).await.map(drop)
    }

    /// Adds a container. It stays listed for as long as the pod exists, whatever becomes of it.
    pub async fn add(&self, pod: &Running, wanted: &Wanted) -> Result<Added, Error> {
        self.patch_with(pod, wanted, &PatchParams::default()).await
    }

    async fn patch_with(&self, pod: &Running, wanted: &Wanted, how: &PatchParams) -> Result<Added, Error> {
        let pods: Api<Pod> = self.objects();
        // Another try may have added one since the pod was seen.
        let read = pods.get(&pod.name).await.map_err(|error| reading(&pod.name)(error.into()))?;
        if let Some(running) = Running::read(read.clone()) {
            running.check(&wanted.user, &wanted.host, self.time())?;
        }
        let (added, patch) = plan::patch(&read, wanted);
        let patched = pods.patch_ephemeral_containers(&pod.name, how, &Patch::Strategic(patch)).await;
        patched.map(|_| added).map_err(|error| refused(&pod.name, error.into()))
    }
}

impl Running {
    /// A pod as it was read; nothing when it does not run, is on its way out, or is a helper of ours.
    fn read(pod: Pod) -> Option<Running> {
        let status = pod.status.as_ref()?;
        let runs = status.phase.as_deref() == Some("Running") && pod.metadata.deletion_timestamp.is_none();
        let address = status.pod_ip.as_ref()?.parse().ok()?;
        (runs && !crate::shadow::is_ours(&pod)).then(|| Running {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            address,
            labels: pod.labels().clone(),
            pod,
        })
    }
}
