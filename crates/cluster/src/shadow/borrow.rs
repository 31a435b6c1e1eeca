//! Which image carries the program when the user named none: one that the namespace already runs.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;

use super::{is_ours, is_ready};

/// The annotation by which a pod names its main container.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Containers that were put into a pod by somebody else.
const SIDECARS: [&str; 4] = ["istio-proxy", "linkerd-proxy", "envoy", "vault-agent"];

/// An image and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The user named it; the program is in it.
    Given(String),
    /// A pod of the namespace runs it; the program is carried into it.
    Borrowed {
        /// The image.
        image: String,
        /// The pod that runs it.
        pod: String,
        /// The node which has it.
        node: Option<String>,
        /// The pod's pull secrets.
        pull_secrets: Vec<String>,
    },
}

impl Image {
    /// The image's name.
    pub fn name(&self) -> &str {
        match self {
            Image::Given(image) | Image::Borrowed { image, .. } => image,
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Image::Given(image) => write!(f, "Using image {image}"),
            Image::Borrowed { image, pod, .. } => {
                write!(f, "Using image {image} of pod {pod}, no registry needed")
            }
        }
    }
}

/// The image of a ready pod, the target's (by its labels) first.
pub(super) fn choose(pods: &[Pod], target: &BTreeMap<String, String>) -> Option<Image> {
    let usable = |pod: &&Pod| is_ready(pod) && !is_ours(pod) && runs_linux(pod);
    let of_target = |pod: &&Pod| !target.is_empty() && selects(target, pod);
    let mut candidates: Vec<&Pod> = pods.iter().filter(usable).collect();
    candidates.sort_by_key(|pod| (!of_target(pod), pod.name_any()));
    candidates.into_iter().find_map(borrowed)
}

/// Does the selector select the pod?
pub(crate) fn selects(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
}

fn borrowed(pod: &Pod) -> Option<Image> {
    let spec = pod.spec.as_ref()?;
    let secrets = spec.image_pull_secrets.iter().flatten();
    Some(Image::Borrowed {
        image: main_container(pod)?.image.clone()?,
        pod: pod.name_any(),
        node: spec.node_name.clone(),
        pull_secrets: secrets.map(|secret| secret.name.clone()).collect(),
    })
}

fn main_container(pod: &Pod) -> Option<&Container> {
    let containers = &pod.spec.as_ref()?.containers;
    let named = pod.annotations().get(DEFAULT_CONTAINER);
    let is_named = |container: &&Container| Some(&container.name) == named;
    let is_main = |container: &&Container| !SIDECARS.contains(&container.name.as_str());
    containers
        .iter()
        .find(is_named)
        .or_else(|| containers.iter().find(is_main))
        .or_else(|| containers.first())
}

fn runs_linux(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let system = spec.and_then(|spec| spec.node_selector.as_ref()?.get("kubernetes.io/os"));
    system.is_none_or(|system| system == "linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, app: &str, image: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"app": app}},
            "spec": {
                "nodeName": "node1",
                "imagePullSecrets": [{"name": "registry"}],
                "containers": [{"name": "istio-proxy", "image": "proxy"}, {"name": "main", "image": image}]
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}
        }))
        .unwrap()
    }

    fn echo() -> BTreeMap<String, String> {
        BTreeMap::from([("app".to_owned(), "echo".to_owned())])
    }

    #[test]
    fn the_targets_image_is_borrowed_with_its_secrets() {
        let pods = [pod("a", "other", "other:1"), pod("b", "echo", "echo:1")];

        let image = choose(&pods, &echo()).unwrap();

        assert_eq!(image.name(), "echo:1");
        let Image::Borrowed { pull_secrets, node, .. } = image else { panic!() };
        assert_eq!((pull_secrets, node.as_deref()), (vec!["registry".to_owned()], Some("node1")));
    }

    #[test]
    fn without_a_target_any_ready_pod_will_do() {
        let pods = [pod("a", "other", "other:1")];

        assert_eq!(choose(&pods, &BTreeMap::new()).unwrap().name(), "other:1");
        assert_eq!(choose(&pods, &echo()).unwrap().name(), "other:1");
    }

    #[test]
    fn pods_of_ours_and_pods_that_are_not_ready_lend_nothing() {
        let mut ours = pod("a", "echo", "echo:1");
        ours.labels_mut().insert("control-by".into(), "kt".into());
        let mut broken = pod("b", "echo", "echo:1");
        broken.status = None;

        assert_eq!(choose(&[ours, broken], &echo()), None);
    }
}
