//! The environment in which the target's own program runs, as far as it can be read.
//!
//! `resolve` decides what the variables are; this file finds a pod to ask about and reads the config
//! maps and secrets that it names.

mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

pub use self::resolve::{Unknown, Variable};

use self::resolve::{Kind, Source, Sources};
use crate::Cluster;
use crate::api::ApiError;
use crate::shadow::{is_ours, is_ready};
use crate::target::{Exposed, selector_text};

/// The environment of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The pod that was asked about.
    pub pod: String,
    /// Its container.
    pub container: String,
    /// All variables, in the order in which they are set.
    pub variables: Vec<Variable>,
}

impl Environment {
    /// What could not be read.
    pub fn unknown(&self) -> impl Iterator<Item = &Variable> {
        self.variables.iter().filter(|variable| variable.value.is_err())
    }
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody runs.
    #[error("no pod of the target runs, so there is no environment to read")]
    NoPod,
    /// The pods can not be read.
    #[error("reading the pods of the target")]
    Pods(#[source] ApiError),
}

impl Cluster {
    /// Reads the environment of the container that serves the exposed ports, in a pod with these labels.
    /// What can not be read is noted in its variable.
    pub async fn environment(
        &self,
        labels: &BTreeMap<String, String>,
        exposed: &[Exposed],
    ) -> Result<Environment, Error> {
        let pods: Api<Pod> = self.objects();
        let listed = pods.list(&ListParams::default().labels(&selector_text(labels))).await;
        let listed = listed.map_err(|source| Error::Pods(source.into()))?;
        let pod = choose_pod(listed.items).ok_or(Error::NoPod)?;
        let container = choose_container(&pod, exposed).ok_or(Error::NoPod)?;
        let sources = self.read_sources(resolve::named(&container)).await;
        Ok(Environment {
            pod: pod.name_any(),
            variables: resolve::resolve(&pod, &container, &sources),
            container: container.name,
        })
    }

    async fn read_sources(&self, named: BTreeSet<(Kind, String)>) -> Sources {
        let reads = named.into_iter().map(|(kind, name)| async move {
            let read = match kind {
                Kind::ConfigMap => self.read_config_map(&name).await,
                Kind::Secret => self.read_secret(&name).await,
            };
            ((kind, name), read)
        });
        futures_util::future::join_all(reads).await.into_iter().collect()
    }

    async fn read_config_map(&self, name: &str) -> Source {
        let config_maps: Api<ConfigMap> = self.objects();
        let read = config_maps.get(name).await.map_err(|error| unread(&error.into()))?;
        Ok(read.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes())).collect())
    }

    async fn read_secret(&self, name: &str) -> Source {
        let secrets: Api<Secret> = self.objects();
        let read = secrets.get(name).await.map_err(|error| unread(&error.into()))?;
        Ok(read.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect())
    }
}

/// A missing object may be meant to be missing; nothing is said then.
fn unread(error: &ApiError) -> Option<String> {
    match error {
        ApiError::NotFound(_) => None,
        ApiError::Forbidden { right, .. } => Some(format!("the right to {right} is missing")),
        other => Some(other.to_string()),
    }
}

/// One that is ready, before all others; no shadow.
fn choose_pod(mut pods: Vec<Pod>) -> Option<Pod> {
    pods.retain(|pod| !is_ours(pod));
    pods.sort_by_key(|pod| (!is_ready(pod), pod.name_any()));
    pods.into_iter().next()
}

/// The one with an exposed port, else the first.
fn choose_container(pod: &Pod, exposed: &[Exposed]) -> Option<Container> {
    let containers = &pod.spec.as_ref()?.containers;
    let serves = |container: &&Container| {
        let mut ports = container.ports.iter().flatten();
        ports.any(|port| exposed.iter().any(|one| i32::from(one.pod) == port.container_port))
    };
    containers.iter().find(serves).or(containers.first()).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: bool, labels: serde_json::Value) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [
                {"name": "sidecar", "ports": [{"containerPort": 15000}]},
                {"name": "echo", "ports": [{"containerPort": 8080}]},
            ]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn exposed(pod: u16) -> Vec<Exposed> {
        vec![Exposed { laptop: 1, pod, service: 80, name: None, protocol: "TCP".into() }]
    }

    #[test]
    fn a_ready_pod_is_asked_about_and_no_shadow() {
        let all = vec![
            pod("a", true, json!({"kt-role": "shadow-exchange"})),
            pod("b", false, json!({})),
            pod("c", true, json!({})),
        ];

        assert_eq!(choose_pod(all).unwrap().name_any(), "c");
    }

    #[test]
    fn the_container_with_the_port_is_meant() {
        let pod = pod("a", true, json!({}));

        assert_eq!(choose_container(&pod, &exposed(8080)).unwrap().name, "echo");
        assert_eq!(choose_container(&pod, &exposed(9)).unwrap().name, "sidecar");
    }
}
