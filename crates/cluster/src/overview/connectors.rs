//! Who is connected to the cluster.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Resource, ResourceExt};

use super::list_pages;
use crate::Cluster;
use crate::api::ApiError;
use crate::marks::{self, Role};
use crate::{heartbeat, shadow};

/// The shadow of somebody's `connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// Where it is.
    pub namespace: String,
    /// The developer; nothing when he is not known.
    pub user: Option<String>,
    /// His machine.
    pub host: Option<String>,
    /// The last sign of life, unix seconds.
    pub heartbeat: Option<i64>,
}

/// Whose shadows were found, and where was looked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connectors {
    /// One for each shadow.
    pub found: Vec<Connector>,
    /// The whole cluster could be read, not only the namespace.
    pub whole_cluster: bool,
}

impl Cluster {
    /// Reads who is connected: in the whole cluster, or in the namespace where that is not allowed.
    pub async fn connectors(&self) -> Result<Connectors, ApiError> {
        let label = format!("{}={}", marks::ROLE, Role::Connect.label());
        let (pods, whole_cluster) = match list_pages(&Api::<Pod>::all(self.client()), Some(&label)).await {
            Err(error) if error.is_forbidden() => (list_pages(&self.objects(), Some(&label)).await?, false),
            listed => (listed?, true),
        };
        let deployments: Api<Deployment> =
            if whole_cluster { Api::all(self.client()) } else { self.objects() };
        let deployments = match list_pages(&deployments, Some(&label)).await {
            Err(error) if error.is_forbidden() => Vec::new(),
            listed => listed?,
        };
        // A shadow Deployment says whose it is, and its pod says nothing.
        let alone = pods.iter().filter(|pod| shadow::is_ours(pod) && pod.owner_references().is_empty());
        let found = alone.filter_map(connector).chain(deployments.iter().filter_map(connector)).collect();
        Ok(Connectors { found, whole_cluster })
    }
}

/// Who stands behind a shadow, unless it is on its way out.
fn connector<K: Resource>(shadow: &K) -> Option<Connector> {
    let annotation = |key| shadow.annotations().get(key).filter(|word| !word.is_empty()).cloned();
    shadow.meta().deletion_timestamp.is_none().then(|| Connector {
        namespace: shadow.namespace().unwrap_or_default(),
        user: annotation(marks::USER),
        host: annotation(marks::HOST),
        heartbeat: heartbeat::read(shadow.annotations()),
    })
}
