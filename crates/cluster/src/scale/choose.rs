//! Which workload the user means.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};

use super::{Error, Workload, refused};
use crate::Cluster;
use crate::api::ApiError;
use crate::marks;
use crate::target::{self, Target, TargetName, gitops};
use crate::workload::{self, WorkloadKind, WorkloadName};

impl Cluster {
    /// Finds the workload of that name, or the first whose pods the Service of that name selects.
    pub async fn find_workload(&self, name: &TargetName) -> Result<Workload, Error> {
        let target = match (self.find_target(name).await, name) {
            (Err(target::Error::Unserved(named)), _) => {
                let read = self.workloads(named.kind).get(&named.name).await;
                let read = read.map_err(|source| refused("reading", &named)(source.into()))?;
                return Ok(workload(named.kind, &read, None));
            }
            (found, _) => found?,
        };
        let kinds = match &target.workload {
            Some(named) => &[named.kind][..],
            None => &WorkloadKind::ALL,
        };
        for kind in kinds {
            let named = target.workload.as_ref().map(|named| named.name.as_str());
            let listed = self.list_workloads(*kind, &target.service).await?;
            if let Some(found) = choose(listed, named, &target.service, &target.selector) {
                return Ok(workload(*kind, &found, Some(target)));
            }
        }
        Err(Error::NoWorkload(target.service))
    }

    /// None of a kind that may not be read, but for Deployments: these have to be known.
    async fn list_workloads(&self, kind: WorkloadKind, service: &str) -> Result<Vec<DynamicObject>, Error> {
        let listed = self.workloads(kind).list(&ListParams::default()).await;
        match listed.map_err(ApiError::from) {
            Ok(listed) => Ok(listed.items),
            Err(error) if error.is_forbidden() && kind != WorkloadKind::Deployment => Ok(Vec::new()),
            Err(source) => Err(Error::Looking { service: service.to_owned(), source }),
        }
    }
}

/// The one that was named, else the first whose pods the Service selects; one of the Service's name
/// goes first. No shadow, and nothing that another workload keeps.
fn choose(
    workloads: Vec<DynamicObject>,
    named: Option<&str>,
    service: &str,
    selector: &BTreeMap<String, String>,
) -> Option<DynamicObject> {
    let fits = |one: &DynamicObject| match named {
        Some(name) => one.name_any() == name,
        None => is_selected(one, selector) && !workload::is_kept(one),
    };
    let is_shadow = |one: &DynamicObject| one.labels().contains_key(marks::ROLE);
    let mut found: Vec<DynamicObject> =
        workloads.into_iter().filter(|one| !is_shadow(one) && fits(one)).collect();
    found.sort_by_key(|one| (one.name_any() != service, one.name_any()));
    found.into_iter().next()
}

fn is_selected(one: &DynamicObject, selector: &BTreeMap<String, String>) -> bool {
    let labels = workload::pod_labels(one);
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn workload(kind: WorkloadKind, read: &DynamicObject, target: Option<Target>) -> Workload {
    let mut labels = workload::match_labels(read);
    labels.extend(target.iter().flat_map(|target| target.selector.clone()));
    let mut worn = workload::pod_labels(read);
    worn.retain(|label, _| !gitops::is_mark(label)); // who has put it there would remove what he did not make
    worn.extend(labels.clone());
    let kept = gitops::of(read, kind.word(), "/spec/replicas");
    Workload { name: WorkloadName::new(kind, &read.name_any()), labels, worn, kept, target }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, labels: serde_json::Value) -> DynamicObject {
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

    #[test]
    fn what_stands_in_for_pods_wears_their_labels_but_not_those_of_argo_cd() {
        let labels = json!({"app": "echo", "version": "v1", "argocd.argoproj.io/instance": "shop"});

        let found = workload(WorkloadKind::Deployment, &deployment("echo", labels), None);

        assert_eq!(found.labels, selector());
        assert_eq!(found.worn.keys().collect::<Vec<_>>(), ["app", "version"]);
    }

    #[test]
    fn shadows_and_what_another_workload_keeps_are_not_meant() {
        let mut shadow = deployment("a", json!({"app": "echo"}));
        shadow.labels_mut().insert("kt-role".into(), "shadow-exchange".into());
        let mut kept = deployment("b", json!({"app": "echo"}));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "1", "controller": true}]);
        kept.metadata.owner_references = serde_json::from_value(owner).unwrap();

        assert!(choose(vec![shadow, kept], None, "echo", &selector()).is_none());
    }
}
