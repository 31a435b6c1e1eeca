//! A Service that did not exist before, and leads to a shadow.
//!
//! The shadow's pod belongs to the Service: whoever deletes the Service ends the preview, while a
//! shadow that is lost can be replaced and the Service keeps its address.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::Cluster;
use crate::api::ApiError;
use crate::heartbeat::{self, Kind, ObjectRef};
use crate::shadow::Shadow;
use crate::{marks, redirect};

/// A Service as `preview` wants it.
#[derive(Clone, Debug)]
pub struct PreviewWanted {
    /// Its name.
    pub service: String,
    /// Its ports, which are those of the shadow, too, with their protocols: `TCP` or `UDP`.
    pub ports: BTreeSet<(u16, &'static str)>,
    /// Shall it be reached from outside of the cluster, by a load balancer?
    pub external: bool,
    /// Login name of the developer.
    pub user: String,
    /// The labels by which the shadow is selected.
    pub ours: BTreeMap<String, String>,
}

/// Why there is no such Service, or why it stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken by a Service that no `ktctl` made.
    #[error("service '{0}' already exists")]
    Exists(String),
    /// Another user previews under the same name, and lives.
    #[error("service '{service}' is already previewed by {user}")]
    Previewed {
        /// The Service.
        service: String,
        /// The other user.
        user: String,
    },
    /// A dead run left it.
    #[error("service '{0}' was left behind by a dead run")]
    Left(String),
    /// The API server refused.
    #[error("{deed} service {service}")]
    Api {
        /// What was done, e.g. `creating`.
        deed: &'static str,
        /// To which Service.
        service: String,
        /// Why not.
        source: ApiError,
    },
}

/// May a Service be called so?
pub fn is_service_name(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    let legal = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    starts && name.len() <= 63 && name.chars().all(legal) && !name.ends_with('-')
}

fn plan(wanted: &PreviewWanted, namespace: &str, now: i64) -> Service {
    let annotations = [(marks::HEARTBEAT, now.to_string()), (marks::USER, wanted.user.clone())];
    let words = |pairs: &[(&str, String)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let metadata = ObjectMeta {
        name: Some(wanted.service.clone()),
        namespace: Some(namespace.to_owned()),
        labels: Some(words(&[(marks::CONTROL_BY, marks::KT.to_owned())])),
        annotations: Some(words(&annotations)),
        ..ObjectMeta::default()
    };
    let port = |(port, protocol): &(u16, &str)| ServicePort {
        name: Some(if *protocol == "TCP" { format!("kt-{port}") } else { format!("kt-{port}-udp") }),
        port: i32::from(*port),
        target_port: Some(IntOrString::Int(i32::from(*port))),
        protocol: Some((*protocol).to_owned()),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some(if wanted.external { "LoadBalancer" } else { "ClusterIP" }.to_owned()),
        selector: Some(wanted.ours.clone()),
        ports: Some(wanted.ports.iter().map(port).collect()),
        ..ServiceSpec::default()
    };
    Service { metadata, spec: Some(spec), status: None }
}

/// Who is in the way, in the words for the user.
fn taken(there: &Service, now: i64, stale: i64) -> Error {
    let service = there.name_any();
    if there.labels().get(marks::CONTROL_BY).map(String::as_str) != Some(marks::KT) {
        return Error::Exists(service);
    }
    if heartbeat::read(there.annotations()).is_some_and(|beat| now - beat > stale) {
        return Error::Left(service);
    }
    match there.annotations().get(marks::USER).filter(|user| !user.is_empty()) {
        Some(user) => Error::Previewed { service, user: user.clone() },
        None => Error::Exists(service),
    }
}

/// Does the Service lead to the shadow with these labels? Labels of the user are no sign.
fn leads_to(service: &Service, ours: &BTreeMap<String, String>) -> bool {
    let target = redirect::selector_of(service).remove(marks::TARGET);
    target.is_some() && target.as_ref() == ours.get(marks::TARGET)
}

impl Cluster {
    /// Fails with who is there when the name is taken.
    pub async fn check_previewable(&self, service: &str) -> Result<(), Error> {
        match self.service_there(service).await? {
            Some(there) => Err(self.taken(&there)),
            None => Ok(()),
        }
    }

    /// Makes the Service. Cancel safety: it may be there; [`Cluster::remove_preview`] undoes it.
    pub async fn make_preview(&self, wanted: &PreviewWanted) -> Result<ObjectRef, Error> {
        let services: Api<Service> = self.objects();
        let planned = plan(wanted, self.namespace(), self.time());
        match services.create(&PostParams::default(), &planned).await.map_err(ApiError::from) {
            Ok(made) => {
                let uid = made.uid().unwrap_or_default();
                Ok(ObjectRef::new(Kind::Service, &wanted.service, &uid))
            }
            Err(error) if error.exists() => {
                let there = self.service_there(&wanted.service).await?;
                Err(there.map_or(Error::Exists(wanted.service.clone()), |there| self.taken(&there)))
            }
            Err(source) => Err(failed("creating", &wanted.service)(source)),
        }
    }

    /// Makes the Service the owner of a shadow, so that both go together whoever deletes the
    /// Service. Where pods can not be changed they stay apart, which only others notice.
    pub async fn own_shadow(&self, service: &ObjectRef, shadow: &Shadow) {
        let owner = json!({"metadata": {"ownerReferences": [service.as_owner()]}});
        let ObjectRef { kind, name, .. } = shadow.object();
        let patched = self.any(kind).patch(&name, &PatchParams::default(), &Patch::Merge(&owner)).await;
        if let Err(error) = patched {
            tracing::debug!(%error, name, "the shadow stays without an owner");
        }
    }

    /// Is the Service there, and does it lead to the shadows with the labels `ours`?
    pub async fn is_previewed(&self, service: &str, ours: &BTreeMap<String, String>) -> Result<bool, Error> {
        let there = self.service_there(service).await?;
        Ok(there.is_some_and(|there| leads_to(&there, ours)))
    }

    /// Deletes the Service if it leads to the shadows with the labels `ours`; tells whether it did.
    /// Content when it is gone, or somebody else's by now.
    pub async fn remove_preview(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
    ) -> Result<bool, Error> {
        let there = self.service_there(service).await?;
        let Some(there) = there.filter(|there| leads_to(there, ours)) else { return Ok(false) };
        let only_this = Preconditions { uid: there.uid(), resource_version: None };
        let this = DeleteParams { preconditions: Some(only_this), ..DeleteParams::background() };
        let services: Api<Service> = self.objects();
        match services.delete(service, &this).await.map_err(ApiError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(source) => Err(failed("deleting", service)(source)),
        }
    }

    fn taken(&self, there: &Service) -> Error {
        let stale = i64::try_from(self.settings().stale.as_secs()).unwrap_or(i64::MAX);
        taken(there, self.time(), stale)
    }

    async fn service_there(&self, name: &str) -> Result<Option<Service>, Error> {
        let services: Api<Service> = self.objects();
        let read = services.get_opt(name).await;
        read.map_err(ApiError::from).map_err(failed("reading", name))
    }
}

fn failed(deed: &'static str, service: &str) -> impl FnOnce(ApiError) -> Error {
    let service = service.to_owned();
    move |source| Error::Api { deed, service, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 10_000;

    fn wanted() -> PreviewWanted {
        PreviewWanted {
            service: "mine".into(),
            ports: [(80, "TCP"), (8080, "TCP"), (8080, "UDP")].into(),
            external: false,
            user: "alice".into(),
            ours: [("kt-role".to_owned(), "shadow-preview".to_owned()), ("kt-target".into(), "abc".into())]
                .into(),
        }
    }

    fn planned() -> Service {
        plan(&wanted(), "dev", NOW)
    }

    #[test]
    fn the_service_leads_to_the_shadow_by_ports_of_the_same_numbers() {
        let planned = serde_json::to_value(planned()).unwrap();

        let wanted = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "mine", "namespace": "dev", "labels": {"control-by": "kt"},
                "annotations": {"kt-last-heart-beat": "10000", "kt-user": "alice"}
            },
            "spec": {
                "type": "ClusterIP", "selector": {"kt-role": "shadow-preview", "kt-target": "abc"},
                "ports": [
                    {"name": "kt-80", "port": 80, "targetPort": 80, "protocol": "TCP"},
                    {"name": "kt-8080", "port": 8080, "targetPort": 8080, "protocol": "TCP"},
                    {"name": "kt-8080-udp", "port": 8080, "targetPort": 8080, "protocol": "UDP"}
                ]
            }
        });
        assert_eq!(planned, wanted);
    }

    #[test]
    fn an_external_one_asks_for_a_load_balancer() {
        let external = plan(&PreviewWanted { external: true, ..wanted() }, "dev", NOW);

        assert_eq!(external.spec.unwrap().type_.as_deref(), Some("LoadBalancer"));
    }

    #[test]
    fn who_is_in_the_way_is_named() {
        let mut strange = planned();
        strange.metadata.labels = None;

        assert_eq!(taken(&strange, NOW, 300).to_string(), "service 'mine' already exists");
        assert_eq!(taken(&planned(), NOW, 300).to_string(), "service 'mine' is already previewed by alice");
        let left = "service 'mine' was left behind by a dead run";
        assert_eq!(taken(&planned(), NOW + 301, 300).to_string(), left);
    }

    #[test]
    fn a_service_of_another_run_is_not_ours() {
        let mut others = wanted().ours;
        others.insert("kt-target".into(), "xyz".into());

        assert!(leads_to(&planned(), &wanted().ours));
        assert!(!leads_to(&planned(), &others));
        assert!(!leads_to(&planned(), &BTreeMap::new()));
    }

    #[test]
    fn names_that_kubernetes_would_refuse_are_known() {
        for good in ["a", "my-service-2", &"a".repeat(63)] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", "2nd", "-a", "a-", "My", "a.b", "a_b", "svc/a", &"a".repeat(64)] {
            assert!(!is_service_name(bad), "{bad}");
        }
    }
}
