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

impl Cluster {
    /// Fails when somebody lives whose shadow takes the place of pods with these labels. Content where
    /// pods may not be listed.
    pub async fn check_not_scaled(&self, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let shadows = match self.exchanging_shadows(labels).await {
            Err(error) if error.is_forbidden() => return Ok(()),
            Err(source) => return Err(Error::Shadows(source)),
            Ok(shadows) => shadows,
        };
        let mut living = shadows.iter().filter(|pod| self.is_living(pod));
        match living.find_map(|pod| Some((stands_for(pod)?, user(pod)))) {
            Some((workload, user)) => Err(Error::Exchanged { workload, user }),
            None => Ok(()),
        }
    }

    /// Who lives and stands in for a workload, but for the shadows `ours`.
    pub(super) async fn exchanger(
        &self,
        workload: &WorkloadName,
        ours: &[String],
    ) -> Result<Option<String>, Error> {
        let shadows = self.exchanging_shadows(&BTreeMap::new()).await;
        let shadows = shadows.map_err(refused("reading the shadows of", workload))?;
        let is_ours = |pod: &Pod| ours.iter().any(|shadow| shadow::has_pod(shadow, &pod.name_any()));
        let mut others = shadows
            .iter()
            .filter(|pod| !is_ours(pod) && stands_for(pod).as_ref() == Some(workload) && self.is_living(pod));
        Ok(others.next().map(user))
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

fn stands_for(shadow: &Pod) -> Option<WorkloadName> {
    shadow.annotations().get(marks::CONFIG).and_then(|text| Config::parse(text).workload())
}

fn user(shadow: &Pod) -> String {
    shadow.annotations().get(marks::USER).cloned().unwrap_or_default()
}
