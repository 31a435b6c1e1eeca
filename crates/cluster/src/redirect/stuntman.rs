//! The stuntman: a Service with the original selector, which stands in while the real one leads to
//! a shadow.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Error, api};
use crate::Cluster;
use crate::api::ApiError;
use crate::{heartbeat, marks, names};

type Selector = BTreeMap<String, String>;

/// How long (seconds) one that was made is taken for granted: nobody keeps it alive before it is used.
const TRUSTED: i64 = 60;

/// A stuntman that was made before its Service is redirected; nothing where none was made.
#[derive(Clone, Debug, Default)]
pub struct Stuntman(pub(super) Option<Service>);

impl Stuntman {
    /// The stuntman, where it is young and still stands in for the Service with this selector.
    pub(super) fn fit_for(
        &self,
        service: &Service,
        selector: Option<&Selector>,
        now: i64,
    ) -> Option<Service> {
        let made = self.0.as_ref()?;
        let (planned, beat) = (plan(service, selector, now), heartbeat::read(made.annotations())?);
        let is_young = (0..TRUSTED).contains(&(now - beat));
        let is_same = made.name_any() == planned.name_any()
            && super::selector_of(made) == super::selector_of(&planned)
            && wanted_ports(made) == wanted_ports(&planned);
        (is_young && is_same).then(|| made.clone())
    }
}

/// What the API server adds to a port is what it adds to the same port of the original.
fn wanted_ports(service: &Service) -> Vec<ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten()).map(same_port).collect()
}

/// The stuntman of a Service which selects (or did) the pods of `selector`.
fn plan(service: &Service, selector: Option<&Selector>, now: i64) -> Service {
    stand_in(service, &names::stuntman(&service.name_any()), selector, now)
}

/// A Service with the ports of another one, and other pods behind it.
pub(crate) fn stand_in(service: &Service, name: &str, selector: Option<&Selector>, now: i64) -> Service {
    let original = service.spec.clone().unwrap_or_default();
    let ports = original.ports.unwrap_or_default();
    let spec = ServiceSpec {
        selector: selector.cloned(),
        ports: (!ports.is_empty()).then(|| ports.iter().map(same_port).collect()),
        type_: Some("ClusterIP".to_owned()),
        ip_family_policy: original.ip_family_policy,
        publish_not_ready_addresses: original.publish_not_ready_addresses,
        // A router is the one caller of all pods: who has to stay with his pod stays with one for all.
        session_affinity: original.session_affinity,
        session_affinity_config: original.session_affinity_config,
        ..ServiceSpec::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: service.namespace(),
        labels: Some([(marks::CONTROL_BY.to_owned(), marks::KT.to_owned())].into()),
        annotations: Some([(marks::HEARTBEAT.to_owned(), now.to_string())].into()),
        ..ObjectMeta::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

/// The port as the cluster's users and meshes see it; a node port stays with the original.
fn same_port(port: &ServicePort) -> ServicePort {
    ServicePort { node_port: None, ..port.clone() }
}

impl Cluster {
    /// Makes the stuntman, or brings it up to date; nothing where Services can not be made.
    pub(super) async fn ensure_stuntman(
        &self,
        service: &Service,
        selector: Option<&Selector>,
    ) -> Result<Option<Service>, Error> {
        let services: Api<Service> = self.objects();
        let planned = plan(service, selector, self.time());
        let name = planned.name_any();
        match services.create(&PostParams::default(), &planned).await.map_err(ApiError::from) {
            Ok(made) => return Ok(Some(made)),
            Err(error) if error.exists() => {}
            Err(error) if error.is_forbidden() => {
                tracing::debug!(%error, "no stuntman");
                return Ok(None);
            }
            Err(source) => {
                return Err(Error::Api { deed: "creating service", service: name, source });
            }
        }
        let there = services.get(&name).await.map_err(api("reading service", &name))?;
        if !is_ours(&there) {
            return Err(Error::Stranger(name));
        }
        let mut selector = json!(planned.spec.as_ref().and_then(|spec| spec.selector.clone()));
        for key in super::selector_of(&there).keys() {
            if selector.get(key).is_none() {
                selector[key] = serde_json::Value::Null;
            }
        }
        let patch = json!({
            "metadata": {"annotations": planned.metadata.annotations},
            "spec": {"selector": selector, "ports": planned.spec.and_then(|spec| spec.ports)},
        });
        let patched = services.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(Some).map_err(api("updating service", &name))
    }

    /// Deletes the stuntman of `service`, if there is one and it is ours.
    pub(crate) async fn remove_stuntman(&self, service: &str) -> Result<(), Error> {
        let services: Api<Service> = self.objects();
        let name = names::stuntman(service);
        let there = services.get_opt(&name).await.map_err(api("reading service", &name))?;
        if !there.as_ref().is_some_and(is_ours) {
            return Ok(());
        }
        match services.delete(&name, &DeleteParams::default()).await.map_err(ApiError::from) {
            Err(source) if !source.is_not_found() => {
                Err(Error::Api { deed: "deleting service", service: name, source })
            }
            _ => Ok(()),
        }
    }
}

fn is_ours(service: &Service) -> bool {
    service.labels().get(marks::CONTROL_BY).is_some_and(|value| value == marks::KT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_made_is_used_while_it_is_young_and_the_service_is_the_same() {
        let service = |app: &str, port: u16| -> Service {
            let spec = json!({"selector": {"app": app}, "ports": [{"port": port, "protocol": "TCP"}]});
            serde_json::from_value(json!({"metadata": {"name": "echo"}, "spec": spec})).unwrap()
        };
        let selector = |service: &Service| Some(super::super::selector_of(service));
        let original = service("echo", 80);
        let made = Stuntman(Some(plan(&original, selector(&original).as_ref(), 1000)));
        let fits = |service: &Service, now| made.fit_for(service, selector(service).as_ref(), now).is_some();

        assert!(fits(&original, 1000) && fits(&original, 1059));
        assert!(!fits(&original, 1060));
        assert!(!fits(&service("other", 80), 1000) && !fits(&service("echo", 81), 1000));
        assert!(Stuntman::default().fit_for(&original, selector(&original).as_ref(), 1000).is_none());
    }

    #[test]
    fn the_stuntman_has_selector_and_ports_of_the_original() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "echo", "namespace": "dev", "labels": {"team": "a"}},
            "spec": {
                "type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"app": "echo"},
                "publishNotReadyAddresses": true, "sessionAffinity": "ClientIP",
                "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local",
                "ports": [{
                    "name": "grpc", "port": 80, "targetPort": "http", "protocol": "TCP",
                    "appProtocol": "grpc", "nodePort": 30000
                }]
            }
        }))
        .unwrap();

        let planned =
            serde_json::to_value(plan(&service, Some(&super::super::selector_of(&service)), 1000)).unwrap();

        let wanted = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "echo-kt-stuntman", "namespace": "dev", "labels": {"control-by": "kt"},
                "annotations": {"kt-last-heart-beat": "1000"}
            },
            "spec": {
                "type": "ClusterIP", "selector": {"app": "echo"},
                "publishNotReadyAddresses": true, "sessionAffinity": "ClientIP",
                "ports": [{
                    "name": "grpc", "port": 80, "targetPort": "http", "protocol": "TCP",
                    "appProtocol": "grpc"
                }]
            }
        });
        assert_eq!(planned, wanted);
    }
}
