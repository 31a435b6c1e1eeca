//! The stuntman: a Service with the original selector, which stands in while the real one leads to
//! a shadow.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
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

    /// Deletes the stuntman of a Service that was led back, unless somebody redirects it again. Content
    /// when there is none.
    pub async fn remove_stuntman(&self, service: &str) -> Result<(), Error> {
        let seen = self.stuntman(service).await?;
        let read = self.service_if_any(service).await?;
        match read.is_some_and(|read| read.annotations().contains_key(marks::SELECTOR)) {
            true => Ok(()),
            false => self.remove_seen_stuntman(service, seen).await,
        }
    }

    /// The same for who holds no lock: what somebody makes who has locked the Service stays, too.
    pub(crate) async fn remove_unused_stuntman(&self, service: &str) -> Result<(), Error> {
        let seen = self.stuntman(service).await?;
        match self.is_in_use(service).await? {
            true => Ok(()),
            false => self.remove_seen_stuntman(service, seen).await,
        }
    }

    /// The stuntman of a Service, if it is ours.
    pub(super) async fn stuntman(&self, service: &str) -> Result<Option<Service>, Error> {
        let there = self.service_if_any(&names::stuntman(service)).await?;
        Ok(there.filter(is_ours))
    }

    /// Deletes the stuntman as it was `seen` before the Service was put back. Since then somebody may
    /// have made it his own, for a redirect of his.
    pub(super) async fn remove_seen_stuntman(
        &self,
        service: &str,
        seen: Option<Service>,
    ) -> Result<(), Error> {
        let (services, name): (Api<Service>, String) = (self.objects(), names::stuntman(service));
        let mut seen = seen;
        for _ in 0..super::ROUNDS {
            let Some(stuntman) = &seen else { return Ok(()) };
            match services.delete(&name, &only_this(stuntman)).await.map_err(ApiError::from) {
                Ok(_) => {
                    tracing::info!("Stuntman service {name} removed");
                    return Ok(());
                }
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) if error.is_conflict() => {} // a heartbeat, or somebody else
                Err(source) => return Err(Error::Api { deed: "deleting service", service: name, source }),
            }
            seen = self.stuntman(service).await?;
            if self.is_in_use(service).await? {
                return Ok(());
            }
        }
        Err(Error::Busy(name))
    }

    /// Does somebody redirect the Service, or is about to?
    async fn is_in_use(&self, service: &str) -> Result<bool, Error> {
        let read = self.service_if_any(service).await?;
        let has = |key| read.as_ref().is_some_and(|read| read.annotations().contains_key(key));
        Ok(has(marks::SELECTOR) || has(marks::LOCK))
    }
}

/// Nothing but the object as it was read.
pub(crate) fn only_this(read: &Service) -> DeleteParams {
    let preconditions = Preconditions { uid: read.uid(), resource_version: read.resource_version() };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

fn is_ours(service: &Service) -> bool {
    service.labels().get(marks::CONTROL_BY).is_some_and(|value| value == marks::KT)
}
