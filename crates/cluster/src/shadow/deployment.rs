//! A shadow in a Deployment: when its pod is lost, Kubernetes makes the next one by itself.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tokio::time::{sleep, timeout};

use super::failure::Error;
use super::plan::{self, Place};
use super::wanted::ShadowWanted;
use super::{Progress, Shadow, shadow};
use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::heartbeat::{Kind, ObjectRef};
use crate::target::selector_text;

impl Cluster {
    /// Those of the rights to wrap a shadow in a Deployment that the user lacks.
    pub async fn missing_to_deploy(&self) -> Result<Vec<Right>, ApiError> {
        let rights = ["create", "get", "delete", "patch"].map(|verb| (verb, "apps", "deployments"));
        self.missing_rights(&rights).await
    }

    pub(super) async fn make_in_deployment(
        &self,
        wanted: &ShadowWanted,
        place: &Place,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Shadow, Error> {
        let (deployment, namespace) = (wanted.name.clone(), place.namespace.clone());
        progress(Progress::DeployingIn { deployment, namespace });
        self.check_name(&wanted.name).await?;
        let config_map = self.create_config_map(wanted, place).await?;
        let made: Deployment = self.create(&plan::deployment(wanted, place), "deployment").await?;
        let owner = ObjectRef::new(Kind::Deployment, &made.name_any(), &made.uid().unwrap_or_default());
        self.own_config_map(config_map.as_ref(), &owner).await;
        let pod = self.pod_of(&made, wanted).await?;
        let running = self.wait_until_it_runs(&pod, wanted, progress).await?;
        let config_map = config_map.and_then(|config_map| config_map.uid());
        Ok(shadow(&running, Some(owner.uid), config_map, wanted, place))
    }

    /// The pod which the Deployment has by now, once it runs; nothing when the Deployment is gone. A
    /// lost pod that is still there, on a dead node perhaps, is deleted: else no other one would come.
    /// Cancel safe.
    pub async fn follow_shadow(
        &self,
        lost: &Shadow,
        wanted: &ShadowWanted,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Option<Shadow>, Error> {
        let deployments: Api<Deployment> = self.objects();
        let read = deployments.get_opt(&lost.name).await.map_err(reading(&lost.name))?;
        let lives =
            |read: &Deployment| read.metadata.deletion_timestamp.is_none() && read.uid() == lost.deployment;
        let Some(read) = read.filter(lives) else { return Ok(None) };
        let removed = self.delete_ours(Kind::Pod, &lost.pod).await;
        removed.map_err(|source| Error::Removing { name: lost.pod.clone(), source })?;
        let pod = self.pod_of(&read, wanted).await?;
        let running = self.wait_until_it_runs(&pod, wanted, progress).await?;
        progress(Progress::Ready { pod: running.name_any() });
        let status = running.status.clone().unwrap_or_default();
        Ok(Some(Shadow {
            pod: running.name_any(),
            uid: running.uid().unwrap_or_default(),
            address: status.pod_ip,
            node: running.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            labels: running.labels().clone(),
            ..lost.clone()
        }))
    }

    /// A name that the user chose may be taken.
    async fn check_name(&self, name: &str) -> Result<(), Error> {
        let there = self.any(Kind::Deployment).get_metadata_opt(name).await.map_err(reading(name))?;
        match there {
            None => Ok(()),
            Some(_) => {
                let source = ApiError::Exists(format!("deployments.apps \"{name}\" already exists"));
                Err(Error::Creating { kind: "deployment", name: name.to_owned(), source })
            }
        }
    }

    /// Waits for a living pod of the Deployment. A refusal of the pod is told as if we had made it.
    async fn pod_of(&self, deployment: &Deployment, wanted: &ShadowWanted) -> Result<Pod, Error> {
        let name = deployment.name_any();
        let selector = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone());
        let labels = selector_text(&selector.unwrap_or_default());
        let (pods, deployments): (Api<Pod>, Api<Deployment>) = (self.objects(), self.objects());
        let found = async {
            loop {
                let listed = pods.list(&ListParams::default().labels(&labels)).await;
                if let Some(pod) = newest(listed.map_err(reading(&name))?.items) {
                    return Ok(pod);
                }
                let read = deployments.get(&name).await.map_err(reading(&name))?;
                if let Some(message) = refusal(&read) {
                    let source = ApiError::Refused(message);
                    return Err(Error::Creating { kind: "pod", name: name.clone(), source });
                }
                sleep(self.settings().poll).await;
            }
        };
        let seconds = wanted.creation_timeout.as_secs();
        let late =
            |_| Error::NotInTime { pod: name.clone(), seconds, last: "no pod was made yet".to_owned() };
        timeout(wanted.creation_timeout, found).await.map_err(late)?
    }
}

fn newest(mut pods: Vec<Pod>) -> Option<Pod> {
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
    pods.pop()
}

/// Why no pod could be made.
fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failed = conditions.iter().find(|one| one.type_ == "ReplicaFailure" && one.status == "True")?;
    failed.message.clone()
}

fn reading(name: &str) -> impl FnOnce(kube::Error) -> Error {
    let pod = name.to_owned();
    move |source| Error::Waiting { pod, source: source.into() }
}
