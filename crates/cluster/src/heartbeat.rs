//! Heartbeats: the sign of life which every object of ours carries, in cluster time.

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, PartialObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Cluster;
use crate::api::ApiError;
use crate::marks;

/// A kind of object that can be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A pod.
    Pod,
    /// A config map.
    ConfigMap,
    /// A Service.
    Service,
    /// A Deployment.
    Deployment,
}

impl Kind {
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Kind::Pod => ApiResource::erase::<Pod>(&()),
            Kind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Kind::Service => ApiResource::erase::<Service>(&()),
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Pod => "pod",
            Kind::ConfigMap => "configmap",
            Kind::Service => "service",
            Kind::Deployment => "deployment",
        })
    }
}

/// One object of ours in the namespace. It can be written into a journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid: an object of the same name made later is another one. Empty for any.
    pub uid: String,
}

impl ObjectRef {
    /// A reference to one object.
    pub fn new(kind: Kind, name: &str, uid: &str) -> ObjectRef {
        ObjectRef { kind, name: name.to_owned(), uid: uid.to_owned() }
    }

    /// The object as the owner of others, which go with it.
    pub(crate) fn as_owner(&self) -> serde_json::Value {
        let resource = self.kind.resource();
        json!({
            "apiVersion": resource.api_version, "kind": resource.kind, "name": self.name, "uid": self.uid,
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Cluster {
    /// Writes the time into all `objects`, at once.
    ///
    /// An object that is gone, or was replaced by another one of its name, is an error of its own
    /// entry. [`crate::Settings::next_heartbeat`] says when to come again.
    pub async fn beat(&self, objects: &[ObjectRef]) -> Vec<(ObjectRef, Result<(), ApiError>)> {
        let beats = objects.iter().map(|object| async {
            let beaten = self.beat_once(object).await;
            (object.clone(), beaten)
        });
        futures_util::future::join_all(beats).await
    }

    async fn beat_once(&self, object: &ObjectRef) -> Result<(), ApiError> {
        let now = self.time().to_string();
        let mut beat = json!({"metadata": {"annotations": {marks::HEARTBEAT: now}}});
        if !object.uid.is_empty() {
            beat["metadata"]["uid"] = json!(object.uid);
        }
        self.annotate(object, &beat).await
    }

    /// Sends a merge patch of metadata.
    async fn annotate(&self, object: &ObjectRef, patch: &serde_json::Value) -> Result<(), ApiError> {
        let objects = self.any(object.kind);
        let patch = Patch::Merge(patch);
        let patched: kube::Result<PartialObjectMeta<DynamicObject>> =
            objects.patch_metadata(&object.name, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(ApiError::from)
    }

    /// The objects of a kind, whatever is in them.
    pub(crate) fn any(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), self.namespace(), &kind.resource())
    }
}

/// The time in a heartbeat annotation; nothing when it is missing or can not be read, which counts
/// as alive.
pub(crate) fn read(annotations: &std::collections::BTreeMap<String, String>) -> Option<i64> {
    annotations.get(marks::HEARTBEAT)?.trim().parse().ok()
}
