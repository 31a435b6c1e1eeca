//! One read of the namespace: what is ours, and what is done to Services. All that `recover`,
//! `clean`, the sweep at start, `birdseye` and the dashboard decide upon.

mod activity;
mod connectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

pub use self::activity::{Activity, Run, State};
pub use self::connectors::{Connector, Connectors};

use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::ephemeral;
use crate::heartbeat::{self, Kind, ObjectRef};
use crate::marks::{self, Config, Role};
use crate::redirect;
use crate::workload::{WorkloadKind, WorkloadName, pod_labels};

/// How many objects one answer of the API server brings.
const PAGE: u32 = 500;

/// The namespace as it was read.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Pods, Deployments and config maps that a `ktctl` made.
    pub ours: Vec<Ours>,
    /// All Services.
    pub services: Vec<ServiceSeen>,
    /// Workloads that somebody has locked, as far as they can be read.
    pub locked: Vec<Locked>,
    /// Pods in which somebody leads callers away (exchange in mode ephemeral).
    pub inside: Vec<Inside>,
    /// Kinds that could not be read, with the right that is missing.
    pub missing: Vec<(Kind, Right)>,
}

/// An object that a `ktctl` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Which.
    pub object: ObjectRef,
    /// What it is for; nothing for what has no role, e.g. a rectifier pod.
    pub role: Option<Role>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its last heartbeat; nothing counts as alive.
    pub heartbeat: Option<i64>,
    /// What it stands for.
    pub config: Config,
    /// The developer.
    pub user: Option<String>,
    /// His machine.
    pub host: Option<String>,
    /// How he does it, as far as the object says.
    pub how: How,
    /// Is it on its way out?
    pub terminating: bool,
}

/// How a run is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct How {
    /// Its mode.
    pub mode: Option<String>,
    /// Its ports, as typed.
    pub ports: Option<String>,
    /// By which requests come to it, as `key:value`.
    pub mark: Option<String>,
}

/// A pod in which somebody leads callers away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// Who.
    pub user: String,
    /// His machine.
    pub host: Option<String>,
}

/// A workload that somebody has locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Which.
    pub workload: WorkloadName,
    /// Since when (unix seconds).
    pub since: i64,
    /// The labels of its pods.
    pub pods: BTreeMap<String, String>,
}

impl Locked {
    /// Does a Service with this selector lead to its pods?
    pub fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        !selector.is_empty() && selector.iter().all(|(key, value)| self.pods.get(key) == Some(value))
    }
}

/// What a Service's record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// There is none.
    None,
    /// The original selector, which may have been absent.
    Selector(Option<BTreeMap<String, String>>),
    /// It can not be read.
    Damaged,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSeen {
    /// Which.
    pub object: ObjectRef,
    /// What it selects.
    pub selector: BTreeMap<String, String>,
    /// What it selected before it was redirected.
    pub record: Record,
    /// Since when it is locked (unix seconds).
    pub lock: Option<i64>,
    /// Did a `ktctl` make it?
    pub ours: bool,
    /// Its last heartbeat, if it is ours.
    pub heartbeat: Option<i64>,
    /// Has it any annotation?
    pub annotated: bool,
    /// Is it on its way out?
    pub terminating: bool,
}

impl Overview {
    /// Could this kind be read?
    pub fn knows(&self, kind: Kind) -> bool {
        !self.missing.iter().any(|(missing, _)| *missing == kind)
    }

    /// Who leads callers away inside of pods with this selector.
    pub fn users_inside(&self, selector: &BTreeMap<String, String>) -> BTreeSet<String> {
        self.inside(selector).map(|pod| pod.user.clone()).collect()
    }

    /// Pods with this selector in which somebody leads callers away.
    fn inside(&self, selector: &BTreeMap<String, String>) -> impl Iterator<Item = &Inside> {
        self.inside.iter().filter(|pod| {
            !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        })
    }

    /// A Service by its name.
    pub fn service(&self, name: &str) -> Option<&ServiceSeen> {
        self.services.iter().find(|service| service.object.name == name)
    }

    /// The Deployment of ours around a pod of ours: it has the sign of life for both.
    pub fn deployment_of(&self, pod: &Ours) -> Option<&Ours> {
        let target = pod.labels.get(marks::TARGET).filter(|_| pod.object.kind == Kind::Pod)?;
        let mut deployments = self.ours.iter().filter(|ours| ours.object.kind == Kind::Deployment);
        deployments.find(|deployment| deployment.labels.get(marks::TARGET) == Some(target))
    }

    /// Pods and Deployments of ours which a selector selects, or is meant to: keys that somebody
    /// applied on top of a redirect do not count.
    pub fn selected(&self, selector: &BTreeMap<String, String>) -> impl Iterator<Item = &Ours> {
        let selector = redirect::mark_of(selector);
        self.ours.iter().filter(move |ours| {
            ours.object.kind != Kind::ConfigMap
                && !selector.is_empty()
                && selector.iter().all(|(key, value)| ours.labels.get(key) == Some(value))
        })
    }
}

impl Cluster {
    /// Reads the namespace. A kind which may not be read is noted and left out; any other failure
    /// fails the whole.
    pub async fn overview(&self) -> Result<Overview, ApiError> {
        let (pods, config_maps, services, deployments, locked) = tokio::join!(
            self.list_all::<Pod>(None),
            self.list_all::<ConfigMap>(Some("control-by=kt")),
            self.list_all::<Service>(None),
            self.list_all::<Deployment>(Some("control-by=kt")),
            self.locked_workloads(),
        );
        let mut seen = Overview { locked, ..Overview::default() };
        let pods = seen.or_note(Kind::Pod, pods)?;
        seen.ours.extend(pods.iter().filter(|pod| crate::shadow::is_ours(pod)).map(ours(Kind::Pod)));
        seen.inside.extend(pods.iter().filter_map(inside));
        let deployments = seen.or_note(Kind::Deployment, deployments)?;
        seen.ours.extend(deployments.iter().map(ours(Kind::Deployment)));
        let config_maps = seen.or_note(Kind::ConfigMap, config_maps)?;
        seen.ours.extend(config_maps.iter().map(ours(Kind::ConfigMap)));
        let services = seen.or_note(Kind::Service, services)?;
        seen.services.extend(services.iter().map(service));
        Ok(seen)
    }

    /// What can not be read is no workload that we could unlock.
    async fn locked_workloads(&self) -> Vec<Locked> {
        let kinds = WorkloadKind::ALL.map(|kind| self.locked_of_kind(kind));
        let read = futures_util::future::join_all(kinds).await;
        read.into_iter().flat_map(Result::unwrap_or_default).collect()
    }

    async fn locked_of_kind(&self, kind: WorkloadKind) -> Result<Vec<Locked>, ApiError> {
        let workloads = self.workloads(kind);
        let listed = workloads.list_metadata(&ListParams::default()).await?;
        let mut all = Vec::new();
        for found in listed.items.iter().filter(|one| is_locked(*one)) {
            let read = workloads.get(&found.name_any()).await?;
            let since = redirect::locked_since(&read);
            let workload = WorkloadName::new(kind, &read.name_any());
            all.extend(since.map(|since| Locked { workload, since, pods: pod_labels(&read) }));
        }
        Ok(all)
    }

    /// Every object of a kind in the namespace, page by page.
    async fn list_all<K>(&self, labels: Option<&str>) -> Result<Vec<K>, ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        list_pages(&self.objects(), labels).await
    }
}

/// Every object that `api` lists, page by page.
pub(crate) async fn list_pages<K>(api: &kube::Api<K>, labels: Option<&str>) -> Result<Vec<K>, ApiError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut page = ListParams::default().limit(PAGE);
    page.label_selector = labels.map(ToOwned::to_owned);
    let mut all = Vec::new();
    loop {
        let mut listed = api.list(&page).await?;
        all.append(&mut listed.items);
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(all),
        }
    }
}

impl Overview {
    fn or_note<K>(&mut self, kind: Kind, read: Result<Vec<K>, ApiError>) -> Result<Vec<K>, ApiError> {
        match read {
            Err(ApiError::Forbidden { right, .. }) => {
                tracing::debug!(%right, "a part of the namespace can not be read");
                self.missing.push((kind, *right));
                Ok(Vec::new())
            }
            read => read,
        }
    }
}

fn inside(pod: &Pod) -> Option<Inside> {
    let ephemeral::Exchanger { user, host, .. } = ephemeral::exchanger(pod)?;
    Some(Inside { labels: pod.labels().clone(), user, host })
}

/// A Deployment's annotations stand on its ReplicaSet, too; there they lock nothing.
fn is_locked<K: Resource>(workload: &K) -> bool {
    let is_kept = workload.owner_references().iter().any(|owner| owner.controller == Some(true));
    !is_kept && workload.annotations().contains_key(marks::LOCK)
}

fn reference<K: Resource>(kind: Kind, object: &K) -> ObjectRef {
    ObjectRef::new(kind, &object.name_any(), &object.uid().unwrap_or_default())
}

fn ours<K: Resource>(kind: Kind) -> impl Fn(&K) -> Ours {
    move |object| {
        let annotation = |key| object.annotations().get(key).cloned();
        Ours {
            object: reference(kind, object),
            role: object.labels().get(marks::ROLE).and_then(|role| Role::parse(role)),
            labels: object.labels().clone(),
            heartbeat: heartbeat::read(object.annotations()),
            config: annotation(marks::CONFIG).map(|text| Config::parse(&text)).unwrap_or_default(),
            user: annotation(marks::USER),
            host: annotation(marks::HOST),
            how: How {
                mode: annotation(marks::MODE),
                ports: annotation(marks::EXPOSE),
                mark: annotation(marks::VERSION_MARK),
            },
            terminating: object.meta().deletion_timestamp.is_some(),
        }
    }
}

fn service(service: &Service) -> ServiceSeen {
    let ours = service.labels().get(marks::CONTROL_BY).is_some_and(|value| value == marks::KT);
    let record = match redirect::read_record(service) {
        None => Record::None,
        Some(Ok(selector)) => Record::Selector(selector),
        Some(Err(_)) => Record::Damaged,
    };
    ServiceSeen {
        object: reference(Kind::Service, service),
        selector: redirect::selector_of(service),
        record,
        lock: redirect::locked_since(service),
        ours,
        heartbeat: heartbeat::read(service.annotations()).filter(|_| ours),
        annotated: !service.annotations().is_empty(),
        terminating: service.metadata.deletion_timestamp.is_some(),
    }
}
