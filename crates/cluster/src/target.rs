//! What a command is about: a Service, found by the names that users type.

mod expose;
pub(crate) mod gitops;
mod kind;
mod ports;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};

pub use self::expose::{BadExpose, Expose};
pub use self::gitops::GitOps;
pub use self::kind::{Caution, Unfit, Way};
pub use self::ports::{Exposed, NoSuchPort, ServedPort, distinguish, shadow_ports};

use crate::Cluster;
use crate::api::ApiError;
use crate::workload::{WorkloadKind, WorkloadName, pod_labels};

/// Why there is no target.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The word names no kind of target.
    #[error(
        "can not use '{0}' as a target, please give the name of a service, service/<name>, deployment/<name>, statefulset/<name> or replicaset/<name>"
    )]
    BadName(String),
    /// Nothing has this name.
    #[error("neither a service nor a deployment '{name}' exists in namespace {namespace}")]
    Nothing {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// There is no such Service.
    #[error("service '{name}' does not exist in namespace {namespace}")]
    NoService {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// There is no such workload.
    #[error("{workload} does not exist in namespace {namespace}")]
    NoWorkload {
        /// Which.
        workload: WorkloadName,
        /// Where it was looked for.
        namespace: String,
    },
    /// No Service leads to the workload.
    #[error("no service selects the pods of {0}")]
    Unserved(WorkloadName),
    /// The API server did not tell.
    #[error("reading {what}")]
    Reading {
        /// What was asked for.
        what: String,
        /// Why not.
        source: ApiError,
    },
}

/// What the user typed as a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetName {
    /// A Service, or else a Deployment.
    Any(String),
    /// `service/x` or `svc/x`.
    Service(String),
    /// `deployment/x`, `statefulset/x`, `replicaset/x`, or shorter.
    Workload(WorkloadName),
}

impl TargetName {
    /// Reads `name`, `service/name`, `svc/name`, `deployment/name`, `deploy/name` and so on.
    pub fn parse(text: &str) -> Result<TargetName, Error> {
        let (kind, name) = text.split_once('/').unwrap_or(("", text));
        if name.is_empty() || name.contains('/') {
            return Err(Error::BadName(text.to_owned()));
        }
        let name = name.to_owned();
        match kind {
            "" => Ok(TargetName::Any(name)),
            "service" | "svc" => Ok(TargetName::Service(name)),
            kind => match WorkloadKind::parse(kind) {
                Some(kind) => Ok(TargetName::Workload(WorkloadName { kind, name })),
                None => Err(Error::BadName(text.to_owned())),
            },
        }
    }
}

/// A Service that was found, as it was then.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the Service.
    pub service: String,
    /// Its uid.
    pub uid: String,
    /// The workload which the user named instead.
    pub workload: Option<WorkloadName>,
    /// What the Service selects; empty for none.
    pub selector: BTreeMap<String, String>,
    as_read: Service,
    pods: Vec<Pod>,
}

impl Target {
    /// The ports of the Service that `asked` means.
    pub fn resolve(&self, asked: &[Expose]) -> Result<Vec<Exposed>, NoSuchPort> {
        ports::resolve(&self.as_read, &self.pods, asked)
    }

    /// Can callers of the Service be brought to a laptop in this way? Tells what is different then.
    pub fn check(&self, way: Way) -> Result<Vec<Caution>, Unfit> {
        kind::check(&self.as_read, way)
    }

    /// The first of these TCP ports, as callers of the Service call it.
    pub fn called_port(&self, exposed: &[Exposed]) -> Option<u16> {
        let port = exposed.iter().find(|port| port.protocol == "TCP")?;
        Some(if kind::is_headless(&self.as_read) { port.pod } else { port.service })
    }

    /// All ports of the Service.
    pub fn ports(&self) -> Result<Vec<ServedPort>, NoSuchPort> {
        ports::all(&self.as_read, &self.pods)
    }
}

impl Cluster {
    /// Finds the Service that the user means; a Deployment's name leads to its Service.
    pub async fn find_target(&self, name: &TargetName) -> Result<Target, Error> {
        match name {
            TargetName::Service(name) => match self.read_service(name).await? {
                Some(service) => self.target(service, None).await,
                None => Err(Error::NoService { name: name.clone(), namespace: self.place_name() }),
            },
            TargetName::Workload(workload) => match self.read_workload(workload).await? {
                Some(read) => self.service_of(workload, &read).await,
                None => Err(Error::NoWorkload { workload: workload.clone(), namespace: self.place_name() }),
            },
            TargetName::Any(name) => {
                if let Some(service) = self.read_service(name).await? {
                    return self.target(service, None).await;
                }
                let deployment = WorkloadName::new(WorkloadKind::Deployment, name);
                match self.read_workload(&deployment).await {
                    Ok(Some(read)) => self.service_of(&deployment, &read).await,
                    Err(Error::Reading { source, .. }) if !source.is_forbidden() => {
                        Err(Error::Reading { what: format!("deployment {name}"), source })
                    }
                    _ => Err(Error::Nothing { name: name.clone(), namespace: self.place_name() }),
                }
            }
        }
    }

    fn place_name(&self) -> String {
        self.namespace().to_owned()
    }

    async fn read_service(&self, name: &str) -> Result<Option<Service>, Error> {
        let services: Api<Service> = self.objects();
        services.get_opt(name).await.map_err(reading(&format!("service {name}")))
    }

    async fn read_workload(&self, workload: &WorkloadName) -> Result<Option<DynamicObject>, Error> {
        let WorkloadName { kind, name } = workload;
        self.workloads(*kind).get_opt(name).await.map_err(reading(&format!("{kind} {name}")))
    }

    async fn service_of(&self, workload: &WorkloadName, read: &DynamicObject) -> Result<Target, Error> {
        let services: Api<Service> = self.objects();
        let listed = services.list(&ListParams::default()).await.map_err(reading("services"))?;
        match choose_service(listed.items, &workload.name, &pod_labels(read)) {
            Some(service) => self.target(service, Some(workload.clone())).await,
            None => Err(Error::Unserved(workload.clone())),
        }
    }

    async fn target(&self, service: Service, workload: Option<WorkloadName>) -> Result<Target, Error> {
        let selector = selector_of(&service);
        let pods = if selector.is_empty() { Vec::new() } else { self.selected(&selector).await? };
        let (name, uid) = (service.name_any(), service.uid().unwrap_or_default());
        Ok(Target { service: name, uid, workload, selector, as_read: service, pods })
    }

    /// The pods which a selector selects; none where they can not be read.
    async fn selected(&self, selector: &BTreeMap<String, String>) -> Result<Vec<Pod>, Error> {
        let pods: Api<Pod> = self.objects();
        let listed = pods.list(&ListParams::default().labels(&selector_text(selector))).await;
        match listed.map_err(ApiError::from) {
            Ok(listed) => Ok(listed.items),
            Err(error) if error.is_forbidden() => Ok(Vec::new()),
            Err(source) => Err(Error::Reading { what: "pods".to_owned(), source }),
        }
    }
}

/// The Service of a workload: the one of the same name, else the first that selects its pods.
fn choose_service(
    services: Vec<Service>,
    deployment: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Service> {
    let selects = |service: &Service| {
        let selector = selector_of(service);
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let mut found: Vec<Service> = services.into_iter().filter(|one| selects(one)).collect();
    found.sort_by_key(|service| (service.name_any() != deployment, service.name_any()));
    found.into_iter().next()
}

/// What a Service selects; while it is redirected, what it selected before.
fn selector_of(service: &Service) -> BTreeMap<String, String> {
    let recorded = service.annotations().get(crate::marks::SELECTOR);
    let recorded = recorded.and_then(|record| serde_json::from_str(record).ok());
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
    recorded.or(selector).unwrap_or_default()
}

/// A selector as the API's query takes it.
pub(crate) fn selector_text(selector: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn reading(what: &str) -> impl FnOnce(kube::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Reading { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, selector: serde_json::Value) -> Service {
        let service = json!({"metadata": {"name": name}, "spec": {"selector": selector}});
        serde_json::from_value(service).unwrap()
    }

    fn labels() -> BTreeMap<String, String> {
        [("app", "echo"), ("tier", "back")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn targets_have_short_and_long_forms() {
        let parsed = |text| TargetName::parse(text).unwrap();

        assert_eq!(parsed("x"), TargetName::Any("x".into()));
        assert_eq!((parsed("svc/x"), parsed("service/x")), (parsed("svc/x"), parsed("svc/x")));
        let workload = |kind| TargetName::Workload(WorkloadName::new(kind, "x"));
        assert_eq!(parsed("deploy/x"), workload(WorkloadKind::Deployment));
        assert_eq!(
            (parsed("sts/x"), parsed("statefulset/x")),
            (parsed("sts/x"), workload(WorkloadKind::StatefulSet))
        );
        assert!(TargetName::parse("pod/x").is_err());
        assert!(TargetName::parse("svc/").is_err());
    }

    #[test]
    fn a_deployments_service_is_the_one_that_selects_its_pods() {
        let services = vec![
            service("none", json!(null)),
            service("stranger", json!({"app": "other"})),
            service("wide", json!({"app": "echo"})),
            service("narrow", json!({"app": "echo", "tier": "front"})),
        ];

        let found = choose_service(services, "echo", &labels()).unwrap();

        assert_eq!(found.name_any(), "wide");
    }

    #[test]
    fn a_service_of_the_deployments_name_goes_first() {
        let services = vec![service("a", json!({"app": "echo"})), service("echo", json!({"tier": "back"}))];

        assert_eq!(choose_service(services, "echo", &labels()).unwrap().name_any(), "echo");
    }
}
