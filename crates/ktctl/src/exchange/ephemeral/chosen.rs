//! What the user means: a service with all its pods, or one pod.

use std::collections::BTreeMap;

use kt_cluster::Cluster;
use kt_cluster::ephemeral::Pods;
use kt_cluster::target::{Expose, Exposed, Target, TargetName, Way};
use tracing::info;

use crate::inbound;

/// How a pod is named as a target.
const POD: &str = "pod/";

/// Whose callers come here.
pub(super) struct Chosen {
    /// In words.
    pub(super) title: String,
    /// The Service, if that is what was named.
    pub(super) service: Option<String>,
    pub(super) pods: Pods,
    pub(super) exposed: Vec<Exposed>,
    /// Labels of the pods, or of the one.
    pub(super) labels: BTreeMap<String, String>,
}

impl Chosen {
    pub(super) async fn find(cluster: &Cluster, name: &str, pairs: &[Expose]) -> anyhow::Result<Chosen> {
        match name.strip_prefix(POD) {
            Some(pod) => Chosen::pod(cluster, pod, pairs).await,
            None => Chosen::service(cluster.find_target(&TargetName::parse(name)?).await?, pairs),
        }
    }

    fn service(target: Target, pairs: &[Expose]) -> anyhow::Result<Chosen> {
        inbound::warn_of_kind(&target, Way::Inside)?;
        let title = match &target.workload {
            Some(workload) => {
                info!("{workload} is reached by service '{}', whose pods are exchanged", target.service);
                workload.to_string()
            }
            None => format!("service '{}'", target.service),
        };
        Ok(Chosen {
            title,
            exposed: target.resolve(pairs)?,
            pods: Pods::Selected(target.selector.clone()),
            labels: target.selector,
            service: Some(target.service),
        })
    }

    async fn pod(cluster: &Cluster, name: &str, pairs: &[Expose]) -> anyhow::Result<Chosen> {
        let pods = Pods::Named(name.to_owned());
        let running = cluster.running_pods(&pods).await?;
        Ok(Chosen {
            title: format!("pod '{name}'"),
            service: None,
            exposed: pairs.iter().map(of_pod).collect(),
            labels: running.into_iter().next().map(|pod| pod.labels).unwrap_or_default(),
            pods,
        })
    }
}

/// A pod is called on its own ports.
fn of_pod(pair: &Expose) -> Exposed {
    Exposed {
        laptop: pair.laptop,
        pod: pair.cluster,
        service: pair.cluster,
        name: None,
        protocol: if pair.udp { "UDP" } else { "TCP" }.into(),
    }
}
