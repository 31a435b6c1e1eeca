//! A rule of the cluster's administrator: which pods a namespace does not take.

use std::time::Duration;

use serde_json::json;

use crate::{Cluster, wait_until};

/// A `ValidatingAdmissionPolicy` for one namespace; it goes when this is dropped.
#[derive(Debug)]
pub struct Policy<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Policy<'a> {
    /// Refuses pods for which `expression` (CEL) is false, with this message, and waits until `refused`,
    /// a pod, is.
    ///
    /// # Panics
    /// When the API server does not take it, or does not follow it within half a minute.
    pub fn new(cluster: &'a Cluster, expression: &str, message: &str, refused: &serde_json::Value) -> Self {
        Self::on(cluster, ("CREATE", "pods"), expression, message, || cluster.try_pod(refused).map(drop))
    }

    /// The same for what is done (`UPDATE`) to any resource; waits until `refused` is.
    ///
    /// # Panics
    /// As above.
    pub fn on(
        cluster: &'a Cluster,
        (operation, resource): (&str, &str),
        expression: &str,
        message: &str,
        refused: impl Fn() -> Result<(), String>,
    ) -> Self {
        let name = format!("{}-{resource}", cluster.namespace());
        let only_here = json!({"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace()}});
        let what = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": [operation], "resources": [resource]});
        let (version, metadata) = ("admissionregistration.k8s.io/v1", json!({"name": name}));
        let policy = json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": {
            "matchConstraints": {"resourceRules": [what]},
            "validations": [{"expression": expression, "message": message}]}});
        let binding = json!({"apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": only_here}}});
        cluster.apply(&format!("{policy}\n---\n{binding}"));
        let policy = Self { cluster, name };
        wait_until("the policy is followed", Duration::from_secs(30), || {
            refused().is_err_and(|said| said.contains(message)).then_some(())
        });
        policy
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
            if let Err(said) = self.cluster.kubectl(&["delete", kind, &self.name]) {
                eprintln!("{kind} {} stays: {said}", self.name);
            }
        }
    }
}
