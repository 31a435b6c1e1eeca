//! Kinds of Services: which of them can be led to a laptop, and what is different there. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::ResourceExt;

use super::gitops::{self, GitOps};

/// How callers are to come to a laptop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Service leads to a shadow instead of its pods.
    Redirect,
    /// A shadow takes the place of the pods.
    Replace,
    /// The Service leads to a router before its pods.
    Route,
    /// A shadow is one more pod.
    Join,
    /// Callers are led away inside of its pods.
    Inside,
}

/// Why a Service can not be led to a laptop at all, or not in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is a name for something outside.
    #[error("service '{service}' is an alias of {target} (type ExternalName), it can not be redirected")]
    Alias {
        /// The Service.
        service: String,
        /// The name behind it.
        target: String,
    },
    /// Its addresses are written by hand or by a program.
    #[error("service '{0}' has no selector, it can not be redirected")]
    NoSelector(String),
    /// Each node knows its own pods only, and the shadow is on one node.
    #[error(
        "service '{0}' has internalTrafficPolicy Local: callers on other nodes than the shadow's would reach nobody"
    )]
    NodeLocal(String),
}

/// What the user should know of a Service before it is led to his laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caution {
    /// Its name resolves to addresses of pods.
    Headless(String),
    /// From outside each node leads to its own pods only.
    ExternalLocal(String),
    /// As with internalTrafficPolicy Local, but the pods are still there.
    NodeLocal(String),
    /// Callers stay with the pod that they came to first.
    Sticky(String),
    /// A program writes it anew whenever it differs from its source.
    Kept(GitOps),
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caution::Headless(service) => write!(
                f,
                "service '{service}' is headless: who has resolved its name before goes on calling the same pod until he resolves it again, now and at the end; names of single pods may not resolve meanwhile"
            ),
            Caution::ExternalLocal(service) => write!(
                f,
                "service '{service}' has externalTrafficPolicy Local: callers from outside of the cluster come here only by the node of the shadow pod"
            ),
            Caution::NodeLocal(service) => write!(
                f,
                "service '{service}' has internalTrafficPolicy Local: only callers on the node of the shadow pod can come here"
            ),
            Caution::Sticky(service) => write!(
                f,
                "service '{service}' has sessionAffinity ClientIP: all callers without the mark reach one and the same of its pods"
            ),
            Caution::Kept(keeper) => keeper.fmt(f),
        }
    }
}

/// Fails when the Service can not be led to a laptop in this way; tells what is different otherwise.
pub(super) fn check(service: &Service, way: Way) -> Result<Vec<Caution>, Unfit> {
    let (name, spec) = (service.name_any(), service.spec.clone().unwrap_or_default());
    if let Some(target) = spec.external_name.filter(|_| spec.type_.as_deref() == Some("ExternalName")) {
        return Err(Unfit::Alias { service: name, target });
    }
    if super::selector_of(service).is_empty() {
        return Err(Unfit::NoSelector(name));
    }
    if way == Way::Inside {
        return Ok(Vec::new()); // they come to the pods as ever
    }
    let is_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    if is_local && way != Way::Join {
        return Err(Unfit::NodeLocal(name));
    }
    let is_headless = is_headless(service) && way != Way::Join;
    let from_outside = spec.external_traffic_policy.as_deref() == Some("Local") && way != Way::Join;
    let is_sticky = spec.session_affinity.as_deref() == Some("ClientIP") && way == Way::Route;
    let kept = match way {
        Way::Redirect | Way::Route => gitops::of(service, "service", "/spec/selector"),
        Way::Replace | Way::Join | Way::Inside => None, // it stays as it is
    };
    let cautions = [
        is_headless.then(|| Caution::Headless(name.clone())),
        from_outside.then(|| Caution::ExternalLocal(name.clone())),
        is_local.then(|| Caution::NodeLocal(name.clone())),
        is_sticky.then_some(Caution::Sticky(name)),
        kept.map(Caution::Kept),
    ];
    Ok(cautions.into_iter().flatten().collect())
}

/// Does its name resolve to the addresses of its pods? They are called on their own ports.
pub(super) fn is_headless(service: &Service) -> bool {
    let address = |spec: &ServiceSpec| spec.cluster_ip.as_deref() == Some("None");
    service.spec.as_ref().is_some_and(address)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        let mut service = json!({"metadata": {"name": "echo"}, "spec": {"selector": {"app": "echo"}}});
        service["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(service).unwrap()
    }

    fn cautions(spec: Value, way: Way) -> Vec<Caution> {
        check(&service(spec), way).unwrap()
    }

    fn refused(spec: Value, way: Way) -> String {
        check(&service(spec), way).unwrap_err().to_string()
    }

    const ALL: [Way; 5] = [Way::Redirect, Way::Replace, Way::Route, Way::Join, Way::Inside];

    #[test]
    fn an_ordinary_service_needs_no_word() {
        let ordinary = json!({"type": "NodePort", "publishNotReadyAddresses": true,
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"});

        for way in ALL {
            assert_eq!(cautions(ordinary.clone(), way), [], "{way:?}");
        }
    }

    #[test]
    fn what_has_no_pods_of_its_own_is_refused_in_every_way() {
        for way in ALL {
            let alias = refused(json!({"type": "ExternalName", "externalName": "db.corp"}), way);
            assert!(alias.contains("alias of db.corp"), "{alias}");
            let by_hand = refused(json!({"selector": null}), way);
            assert!(by_hand.contains("no selector"), "{by_hand}");
        }
    }

    #[test]
    fn a_service_whose_nodes_keep_to_themselves_can_only_be_joined() {
        let local = json!({"internalTrafficPolicy": "Local"});

        for way in [Way::Redirect, Way::Replace, Way::Route] {
            assert!(refused(local.clone(), way).contains("internalTrafficPolicy Local"), "{way:?}");
        }
        assert_eq!(cautions(local, Way::Join), [Caution::NodeLocal("echo".into())]);
    }

    #[test]
    fn what_is_different_is_said() {
        let headless = json!({"clusterIP": "None"});
        let outside = json!({"externalTrafficPolicy": "Local"});
        let sticky = json!({"sessionAffinity": "ClientIP"});

        assert_eq!(cautions(headless, Way::Redirect), [Caution::Headless("echo".into())]);
        assert_eq!(cautions(outside, Way::Replace), [Caution::ExternalLocal("echo".into())]);
        assert_eq!(cautions(sticky.clone(), Way::Route), [Caution::Sticky("echo".into())]);
        assert_eq!(cautions(sticky, Way::Redirect), [], "there is one laptop only");
    }
}
