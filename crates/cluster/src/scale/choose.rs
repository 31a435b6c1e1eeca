//! Which Deployment the user means.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::{Error, Workload, refused};
use crate::Cluster;
use crate::target::{self, Target, TargetName};

impl Cluster {
    /// Finds the Deployment of that name, or the first whose pods the Service of that name selects.
    pub async fn find_workload(&self, name: &TargetName) -> Result<Workload, Error> {
        let target = match (self.find_target(name).await, name) {
            (Err(target::Error::Unserved(deployment)), _) => {
                let found = self.read_deployment(&deployment).await?;
                let gone = || Error::NoDeployment(deployment.clone());
                return Ok(workload(&found.ok_or_else(gone)?, None));
            }
            (found, _) => found?,
        };
        let deployments: Api<Deployment> = self.objects();
        let listed = deployments.list(&ListParams::default()).await;
        let listed = listed.map_err(|source| refused("looking for the", &target.service)(source.into()))?;
        let named = target.deployment.as_deref();
        let found = choose(listed.items, named, &target.service, &target.selector);
        let none = || Error::NoDeployment(target.service.clone());
        Ok(workload(&found.ok_or_else(none)?, Some(target)))
    }
}

/// The one that was named, else the first whose pods the Service selects; one of the Service's name
/// goes first.
fn choose(
    deployments: Vec<Deployment>,
    named: Option<&str>,
    service: &str,
    selector: &BTreeMap<String, String>,
) -> Option<Deployment> {
    let is_shadow = |deployment: &&Deployment| deployment.labels().contains_key(crate::marks::ROLE);
    let fits = |deployment: &Deployment| match named {
        Some(name) => deployment.name_any() == name,
        None => is_selected(deployment, selector),
    };
    let mut found: Vec<Deployment> =
        deployments.into_iter().filter(|one| !is_shadow(&one)).filter(fits).collect();
    found.sort_by_key(|deployment| (deployment.name_any() != service, deployment.name_any()));
    found.into_iter().next()
}

fn is_selected(deployment: &Deployment, selector: &BTreeMap<String, String>) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let Some(labels) = template.and_then(|metadata| metadata.labels.as_ref()) else { return false };
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn workload(deployment: &Deployment, target: Option<Target>) -> Workload {
    let selector = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone());
    let mut labels = selector.unwrap_or_default();
    labels.extend(target.iter().flat_map(|target| target.selector.clone()));
    Workload { deployment: deployment.name_any(), labels, target }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, labels: serde_json::Value) -> Deployment {
        let spec = json!({
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}},
        });
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn selector() -> BTreeMap<String, String> {
        [("app".to_owned(), "echo".to_owned())].into()
    }

    #[test]
    fn a_services_deployment_is_the_first_whose_pods_it_selects() {
        let all = vec![
            deployment("z", json!({"app": "echo", "tier": "back"})),
            deployment("b", json!({"app": "echo"})),
            deployment("a", json!({"app": "other"})),
        ];

        assert_eq!(choose(all.clone(), None, "echo", &selector()).unwrap().name_any(), "b");
        assert_eq!(choose(all, None, "z", &selector()).unwrap().name_any(), "z");
    }

    #[test]
    fn the_deployment_that_was_named_goes_before_all_others() {
        let all = vec![deployment("a", json!({"app": "echo"})), deployment("b", json!({"app": "echo"}))];

        assert_eq!(choose(all, Some("b"), "a", &selector()).unwrap().name_any(), "b");
    }

    #[test]
    fn a_service_that_selects_nothing_has_no_deployment() {
        let all = vec![deployment("echo", json!({"app": "echo"}))];

        assert!(choose(all, None, "echo", &BTreeMap::new()).is_none());
    }
}
