//! Programs that write objects anew whenever they differ from their source: Argo CD and Flux. Pure.
//!
//! They are known by the labels and annotations that they put on what they have written.

use std::fmt;

use kube::{Resource, ResourceExt};

/// Who writes an object anew, and how he is told not to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitOps {
    tool: Tool,
    /// In Kubernetes' words for users, e.g. `service`.
    kind: &'static str,
    name: String,
    /// The field of ours.
    pointer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tool {
    ArgoCd { application: String },
    Kustomization { name: String },
    HelmRelease { name: String },
}

const ARGO_LABEL: &str = "argocd.argoproj.io/instance";
const ARGO_TRACKING: &str = "argocd.argoproj.io/tracking-id";
const KUSTOMIZATION: &str = "kustomize.toolkit.fluxcd.io/name";
const KUSTOMIZE_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
const KUSTOMIZE_SSA: &str = "kustomize.toolkit.fluxcd.io/ssa";
const HELM_RELEASE: &str = "helm.toolkit.fluxcd.io/name";
const HELM_DRIFT: &str = "helm.toolkit.fluxcd.io/driftDetection";

/// Who writes `object` anew; nothing when nobody does, or when he was told to leave it alone.
pub(crate) fn of<K: Resource>(object: &K, kind: &'static str, pointer: &'static str) -> Option<GitOps> {
    let tool = tool(object)?;
    Some(GitOps { tool, kind, name: object.name_any(), pointer })
}

/// Is it a label by which one of them knows what is his own?
pub(crate) fn is_mark(label: &str) -> bool {
    [ARGO_LABEL, KUSTOMIZATION, HELM_RELEASE].contains(&label)
}

fn tool<K: Resource>(object: &K) -> Option<Tool> {
    let (labels, annotations) = (object.labels(), object.annotations());
    let says = |key: &str, values: &[&str]| {
        annotations.get(key).is_some_and(|said| values.iter().any(|value| said.eq_ignore_ascii_case(value)))
    };
    // "<application>:<group>/<kind>:<namespace>/<name>"
    let tracked = annotations.get(ARGO_TRACKING).and_then(|id| id.split(':').next());
    if let Some(application) = tracked.or_else(|| labels.get(ARGO_LABEL).map(String::as_str)) {
        return Some(Tool::ArgoCd { application: application.to_owned() });
    }
    if let Some(name) = labels.get(KUSTOMIZATION) {
        let is_left =
            says(KUSTOMIZE_RECONCILE, &["disabled"]) || says(KUSTOMIZE_SSA, &["IfNotPresent", "Ignore"]);
        return (!is_left).then(|| Tool::Kustomization { name: name.clone() });
    }
    let name = labels.get(HELM_RELEASE)?;
    (!says(HELM_DRIFT, &["disabled"])).then(|| Tool::HelmRelease { name: name.clone() })
}

impl fmt::Display for GitOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GitOps { tool, kind, name, pointer } = self;
        write!(f, "{kind} '{name}' is kept by {tool}, which may put it back at any time; ")?;
        match tool {
            Tool::ArgoCd { .. } => write!(
                f,
                "to have it left alone, add to the application's spec.ignoreDifferences: {{{}kind: {}, name: {name}, jsonPointers: [{pointer}]}}, and RespectIgnoreDifferences=true to its syncOptions",
                if *kind == "service" { "" } else { "group: apps, " },
                api_kind(kind),
            ),
            Tool::Kustomization { .. } => write!(
                f,
                "to have it left alone, annotate it: kubectl annotate {kind}/{name} {KUSTOMIZE_RECONCILE}=disabled (or in its source: {KUSTOMIZE_SSA}: IfNotPresent)"
            ),
            Tool::HelmRelease { .. } => write!(
                f,
                "to have it left alone, add to the release's spec.driftDetection.ignore: {{paths: [{pointer}], target: {{kind: {}, name: {name}}}}}",
                api_kind(kind),
            ),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tool::ArgoCd { application } => write!(f, "Argo CD (application {application})"),
            Tool::Kustomization { name } => write!(f, "Flux (kustomization {name})"),
            Tool::HelmRelease { name } => write!(f, "Flux (helm release {name})"),
        }
    }
}

fn api_kind(kind: &str) -> &'static str {
    match kind {
        "service" => "Service",
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        _ => "ReplicaSet",
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    use super::*;

    fn said(labels: Value, annotations: Value) -> Option<String> {
        let metadata = json!({"name": "echo", "labels": labels, "annotations": annotations});
        let service: Service = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        of(&service, "service", "/spec/selector").map(|found| found.to_string())
    }

    #[test]
    fn argo_cd_is_known_by_its_label_and_by_its_tracking_id() {
        let rule = "{kind: Service, name: echo, jsonPointers: [/spec/selector]}";
        let by_label = said(json!({"argocd.argoproj.io/instance": "shop"}), json!({})).unwrap();
        let tracking = json!({"argocd.argoproj.io/tracking-id": "shop:/Service:dev/echo"});
        let by_annotation = said(json!({}), tracking).unwrap();

        assert!(by_label.contains("Argo CD (application shop)") && by_label.contains(rule), "{by_label}");
        assert_eq!(by_annotation, by_label);
    }

    #[test]
    fn flux_is_known_by_its_two_labels() {
        let kustomization = said(json!({"kustomize.toolkit.fluxcd.io/name": "apps"}), json!({})).unwrap();
        let helm = said(json!({"helm.toolkit.fluxcd.io/name": "shop"}), json!({})).unwrap();

        assert!(kustomization.contains("Flux (kustomization apps)"), "{kustomization}");
        assert!(kustomization.contains("kustomize.toolkit.fluxcd.io/reconcile=disabled"), "{kustomization}");
        assert!(helm.contains("Flux (helm release shop)"), "{helm}");
        assert!(helm.contains("{paths: [/spec/selector], target: {kind: Service, name: echo}}"), "{helm}");
    }

    #[test]
    fn what_is_left_alone_already_needs_no_word() {
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});

        for (key, value) in [("reconcile", "disabled"), ("ssa", "IfNotPresent")] {
            let annotations = json!({format!("kustomize.toolkit.fluxcd.io/{key}"): value});
            assert_eq!(said(labels.clone(), annotations), None, "{key}");
        }
        assert_eq!(said(json!({"app.kubernetes.io/managed-by": "Helm"}), json!({})), None);
    }
}
