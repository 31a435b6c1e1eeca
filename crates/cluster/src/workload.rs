//! What keeps a number of pods: Deployments, StatefulSets and ReplicaSets, by one way of looking at them.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};

use crate::Cluster;

/// A kind of workload whose number of pods can be set, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// Keeps a ReplicaSet for each version.
    #[default]
    Deployment,
    /// Keeps pods with names.
    StatefulSet,
    /// Keeps pods that are all alike.
    ReplicaSet,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [WorkloadKind; 3] =
        [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::ReplicaSet];

    /// Kubernetes' word for rights.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "deployments",
            WorkloadKind::StatefulSet => "statefulsets",
            WorkloadKind::ReplicaSet => "replicasets",
        }
    }

    /// Kubernetes' word in a reference.
    pub(crate) fn api_kind(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
            WorkloadKind::ReplicaSet => "ReplicaSet",
        }
    }

    /// The word for users.
    pub(crate) fn word(self) -> &'static str {
        match self {
            WorkloadKind::Deployment => "deployment",
            WorkloadKind::StatefulSet => "statefulset",
            WorkloadKind::ReplicaSet => "replicaset",
        }
    }

    /// Reads the words that users type, long and short.
    pub fn parse(word: &str) -> Option<WorkloadKind> {
        match word {
            "deployment" | "deploy" => Some(WorkloadKind::Deployment),
            "statefulset" | "sts" => Some(WorkloadKind::StatefulSet),
            "replicaset" | "rs" => Some(WorkloadKind::ReplicaSet),
            _ => None,
        }
    }

    fn resource(self) -> ApiResource {
        match self {
            WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
            WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            WorkloadKind::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A workload. It is written as `x`, which is a Deployment, or as `statefulset/x`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct WorkloadName {
    /// What it is.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl WorkloadName {
    /// A workload by its kind and name.
    pub fn new(kind: WorkloadKind, name: &str) -> WorkloadName {
        WorkloadName { kind, name: name.to_owned() }
    }

    /// As it is written into journals and lists.
    pub fn text(&self) -> String {
        match self.kind {
            WorkloadKind::Deployment => self.name.clone(),
            kind => format!("{kind}/{}", self.name),
        }
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}

impl From<String> for WorkloadName {
    fn from(text: String) -> WorkloadName {
        let typed = text.split_once('/').and_then(|(kind, name)| Some((WorkloadKind::parse(kind)?, name)));
        match typed {
            Some((kind, name)) => WorkloadName::new(kind, name),
            None => WorkloadName { kind: WorkloadKind::Deployment, name: text },
        }
    }
}

impl From<WorkloadName> for String {
    fn from(name: WorkloadName) -> String {
        name.text()
    }
}

impl Cluster {
    /// The workloads of a kind, whatever is in them.
    pub(crate) fn workloads(&self, kind: WorkloadKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), self.namespace(), &kind.resource())
    }
}

/// How many pods it is meant to have.
pub(crate) fn wanted_replicas(workload: &DynamicObject) -> i32 {
    number(workload, "/spec/replicas").unwrap_or(1) // Kubernetes' default
}

/// How many are ready.
pub(crate) fn ready_replicas(workload: &DynamicObject) -> i32 {
    number(workload, "/status/readyReplicas").unwrap_or(0)
}

/// Has it as many ready pods as it is meant to have, and none besides?
pub(crate) fn is_settled(workload: &DynamicObject) -> bool {
    let observed = workload.data.pointer("/status/observedGeneration").and_then(serde_json::Value::as_i64);
    let wanted = wanted_replicas(workload);
    // An older status is about another number.
    observed >= workload.metadata.generation
        && ready_replicas(workload) == wanted
        && number(workload, "/status/replicas").unwrap_or(0) == wanted
}

/// The labels of its pods.
pub(crate) fn pod_labels(workload: &DynamicObject) -> BTreeMap<String, String> {
    words(workload, "/spec/template/metadata/labels")
}

/// The labels by which it finds its pods.
pub(crate) fn match_labels(workload: &DynamicObject) -> BTreeMap<String, String> {
    words(workload, "/spec/selector/matchLabels")
}

/// Is it kept by another workload, as a Deployment's ReplicaSet is?
pub(crate) fn is_kept(workload: &DynamicObject) -> bool {
    workload.owner_references().iter().any(|owner| owner.controller == Some(true))
}

fn number(workload: &DynamicObject, pointer: &str) -> Option<i32> {
    workload.data.pointer(pointer)?.as_i64()?.try_into().ok()
}

fn words(workload: &DynamicObject, pointer: &str) -> BTreeMap<String, String> {
    let words = workload.data.pointer(pointer).cloned().unwrap_or_default();
    serde_json::from_value(words).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(generation: i64, wanted: i32, status: serde_json::Value) -> DynamicObject {
        let spec = json!({"replicas": wanted});
        let workload = json!({"metadata": {"generation": generation}, "spec": spec, "status": status});
        serde_json::from_value(workload).unwrap()
    }

    #[test]
    fn all_pods_have_to_be_ready() {
        let some = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 1});
        let all = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2});

        assert!(!is_settled(&workload(2, 2, some)));
        assert!(is_settled(&workload(2, 2, all)));
    }

    #[test]
    fn a_status_from_before_the_change_does_not_count() {
        let before = json!({"observedGeneration": 1});

        assert!(!is_settled(&workload(2, 0, before)));
        assert!(is_settled(&workload(2, 0, json!({"observedGeneration": 2}))));
    }

    #[test]
    fn names_are_written_as_journals_of_the_version_before_have_them() {
        let deployment = WorkloadName::new(WorkloadKind::Deployment, "echo");
        let set = WorkloadName::new(WorkloadKind::StatefulSet, "db");

        assert_eq!(serde_json::to_value(&deployment).unwrap(), json!("echo"));
        assert_eq!(serde_json::to_value(&set).unwrap(), json!("statefulset/db"));
        assert_eq!(WorkloadName::from("echo".to_owned()), deployment);
        assert_eq!(WorkloadName::from("sts/db".to_owned()), set);
    }
}
