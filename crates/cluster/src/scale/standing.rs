//! Who stands in for a workload.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Error, refused};
use crate::Cluster;
use crate::api::ApiError;
use crate::heartbeat;
use crate::marks::{self, Config, Role};
use crate::shadow;
use crate::target::selector_text;
use crate::workload::WorkloadName;

/// A shadow in the place of a workload's pods, whose run lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The shadow's pod.
    pub pod: String,
    /// Login name of the developer.
    pub user: String,
    /// What it stands in for.
    pub workload: WorkloadName,
    /// How many replicas that had.
    pub replicas: Option<i32>,
}

impl Cluster {
    /// Who lives and stands in for pods with these labels, or for any without labels.
    pub async fn stand_ins(&self, labels: &BTreeMap<String, String>) -> Result<Vec<StandIn>, ApiError> {
        let shadows = self.exchanging_shadows(labels).await?;
        Ok(shadows.iter().filter(|pod| self.is_living(pod)).filter_map(StandIn::read).collect())
    }

    /// Who lives and stands in for a workload, but for the shadows `ours`.
    pub async fn stand_in(&self, workload: &WorkloadName, ours: &[String]) -> Result<Option<StandIn>, Error> {
        let all =
            self.stand_ins(&BTreeMap::new()).await.map_err(refused("reading the shadows of", workload))?;
        Ok(all.into_iter().find(|one| one.workload == *workload && !one.is_of(ours)))
    }

    /// Fails when somebody lives whose shadow takes the place of pods with these labels. Content where
    /// pods may not be listed.
    pub async fn check_not_scaled(&self, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let all = match self.stand_ins(labels).await {
            Err(error) if error.is_forbidden() => return Ok(()),
            all => all.map_err(Error::Shadows)?,
        };
        match all.into_iter().next() {
            Some(StandIn { workload, user, .. }) => Err(Error::Exchanged { workload, user }),
            None => Ok(()),
        }
    }

    async fn exchanging_shadows(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Pod>, ApiError> {
        let role = (marks::ROLE.to_owned(), Role::Exchange.label().to_owned());
        let labels = labels.clone().into_iter().chain([role]).collect();
        let pods: Api<Pod> = self.objects();
        let listed = pods.list(&ListParams::default().labels(&selector_text(&labels))).await?;
        Ok(listed.items)
    }

    fn is_living(&self, pod: &Pod) -> bool {
        let stale = i64::try_from(self.settings().stale.as_secs()).unwrap_or(i64::MAX);
        pod.metadata.deletion_timestamp.is_none()
            && heartbeat::read(pod.annotations()).is_none_or(|beat| self.time() - beat <= stale)
    }
}

impl StandIn {
    fn read(shadow: &Pod) -> Option<StandIn> {
        let annotation = |key| shadow.annotations().get(key);
        let config = Config::parse(annotation(marks::CONFIG)?);
        Some(StandIn {
            pod: shadow.name_any(),
            user: annotation(marks::USER).cloned().unwrap_or_default(),
            workload: config.workload()?,
            replicas: config.replicas,
        })
    }

    /// Is it the pod of one of these shadows?
    pub fn is_of(&self, shadows: &[String]) -> bool {
        shadows.iter().any(|shadow| shadow::has_pod(shadow, &self.pod))
    }
}
