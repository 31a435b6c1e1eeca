//! Shadows: what is wanted, what is planned from it, and how it comes to life.
//!
//! `wanted` holds the words, `borrow` finds an image that the namespace already runs, `plan` makes
//! the manifests, `refusal` knows which refusals have an answer, `verdict` reads what Kubernetes
//! reports about a pod, and this file carries it all out.

mod borrow;
mod deployment;
mod failure;
mod plan;
mod refusal;
mod verdict;
mod wait;
mod wanted;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

pub use self::borrow::Image;
pub use self::failure::{Error, Failure};
pub use self::plan::{Adjustments, Arch};
pub use self::refusal::Adjustment;
pub(crate) use self::verdict::{Verdict, of_container};
pub use self::wanted::{FOLLOWED, KEPT, Programs, Quota, ShadowPort, ShadowWanted};

use self::plan::Place;
use crate::Cluster;
use crate::api::ApiError;
use crate::heartbeat::{Kind, ObjectRef};
use crate::marks;

/// A shadow that runs.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// Name of the pod or of the Deployment around it, and of its config map if it has one.
    pub name: String,
    /// Name of the pod.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The Deployment's uid, when there is one around the pod.
    pub deployment: Option<String>,
    /// The config map's uid, when the program was carried in one.
    pub config_map: Option<String>,
    /// All labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Its address.
    pub address: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Where its image came from.
    pub image: Image,
    /// What the cluster did not want, and what is missing therefore.
    pub adjustments: Vec<Adjustment>,
    selected: BTreeMap<String, String>,
}

impl Shadow {
    /// The labels by which a Service selects this shadow and nothing else.
    pub fn mark(&self) -> BTreeMap<String, String> {
        self.selected.clone()
    }

    /// What has to be deleted for the shadow to be gone.
    pub fn object(&self) -> ObjectRef {
        match &self.deployment {
            Some(uid) => ObjectRef::new(Kind::Deployment, &self.name, uid),
            None => ObjectRef::new(Kind::Pod, &self.pod, &self.uid),
        }
    }
}

/// What happens while a shadow comes to life, in the words for the user.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Which image is used, and whose it is.
    Image(Image),
    /// The pod is being made.
    Deploying {
        /// Its name.
        pod: String,
        /// Where.
        namespace: String,
    },
    /// A Deployment for the pod is being made.
    DeployingIn {
        /// Its name.
        deployment: String,
        /// Where.
        namespace: String,
    },
    /// The cluster refused something, and it is tried without.
    Adjusted(Adjustment),
    /// What is being waited for.
    Waiting {
        /// Name of the pod.
        pod: String,
        /// In Kubernetes' words; empty when there are none yet.
        what: String,
        /// For how long it has been waited for.
        since: Duration,
    },
    /// The program runs.
    Ready {
        /// Name of the pod.
        pod: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Image(image) => image.fmt(f),
            Progress::Deploying { pod, namespace } => {
                write!(f, "Deploying shadow pod {pod} in namespace {namespace}")
            }
            Progress::DeployingIn { deployment, namespace } => {
                write!(f, "Creating shadow deployment {deployment} in namespace {namespace}")
            }
            Progress::Adjusted(adjustment) => adjustment.fmt(f),
            Progress::Waiting { pod, what, since } => {
                write!(f, "Waiting for pod {pod}")?;
                if since.as_secs() > 0 {
                    write!(f, " for {} s", since.as_secs())?;
                }
                f.write_str(" ...")?;
                if what.is_empty() { Ok(()) } else { write!(f, " ({what})") }
            }
            Progress::Ready { pod } => write!(f, "Pod {pod} is ready"),
        }
    }
}

impl Cluster {
    /// Makes the wanted shadow and waits until its program runs.
    ///
    /// What is refused for a reason that has an answer is made once more without it, and said.
    /// A failure removes what was made. Cancel safety: dropping this leaves the pod and the config
    /// map called `wanted.name`, which [`Cluster::delete_shadow`] removes.
    pub async fn ensure_shadow(
        &self,
        wanted: &ShadowWanted,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Shadow, Error> {
        let image = self.choose_image(wanted).await?;
        progress(Progress::Image(image.clone()));
        let mut place = self.place(&image).await;
        let made = self.make_until_it_runs(wanted, &mut place, progress).await;
        match made {
            Ok(shadow) => {
                progress(Progress::Ready { pod: shadow.pod.clone() });
                Ok(shadow)
            }
            Err(error) if error.made_nothing(wanted) => Err(error),
            Err(error) => {
                if let Err(left) = self.delete_shadow(&wanted.name).await {
                    tracing::warn!(pod = wanted.name, error = %left, "the shadow stays behind");
                }
                Err(error)
            }
        }
    }

    /// Deletes a shadow: its pod or Deployment, and its config map if it has one. Content when they are
    /// gone; what has its name and was made by nobody of us stays.
    pub async fn delete_shadow(&self, name: &str) -> Result<(), ApiError> {
        let (pod, deployment, config_map) = tokio::join!(
            self.delete_ours(Kind::Pod, name),
            self.delete_ours(Kind::Deployment, name),
            self.delete_ours(Kind::ConfigMap, name)
        );
        pod?;
        for optional in [deployment, config_map] {
            match optional {
                // Whoever may not delete them did not make one.
                Err(error) if error.is_forbidden() => {}
                result => result?,
            }
        }
        Ok(())
    }

    async fn delete_ours(&self, kind: Kind, name: &str) -> Result<(), ApiError> {
        let objects = self.any(kind);
        let there = objects.get_metadata_opt(name).await?;
        let is_ours = |labels: &BTreeMap<String, String>| {
            labels.get(marks::CONTROL_BY).is_some_and(|value| value == marks::KT)
                || labels.contains_key(marks::ROLE)
        };
        let Some(there) = there.filter(|there| is_ours(there.labels())) else { return Ok(()) };
        let only_this = Preconditions { uid: there.uid(), resource_version: None };
        let this = DeleteParams { preconditions: Some(only_this), ..DeleteParams::background() };
        match objects.delete(name, &this).await.map(drop).map_err(ApiError::from) {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            result => result,
        }
    }

    /// Where and when the shadow is made, with no refusal known yet.
    async fn place(&self, image: &Image) -> Place {
        let arch = match image {
            Image::Given(_) => None,
            Image::Borrowed { node, .. } => Some(self.read_arch(node.as_deref()).await),
        };
        Place {
            namespace: self.namespace().to_owned(),
            now: self.time(),
            mark: crate::names::target_mark(),
            image: image.clone(),
            arch,
            adjustments: Adjustments::default(),
        }
    }

    /// The architecture of the image's node where nodes may be read, else that of the API server.
    async fn read_arch(&self, node: Option<&str>) -> Arch {
        let nodes: Api<Node> = Api::all(self.client());
        let read = match node {
            Some(name) => nodes.get(name).await.ok(),
            None => None,
        };
        read.and_then(|node| node.status?.node_info)
            .and_then(|info| Arch::parse(&info.architecture))
            .or_else(|| Arch::parse(self.platform().rsplit('/').next()?))
            .unwrap_or(Arch::X86_64)
    }

    /// The image that the user named, else one that the namespace already runs.
    async fn choose_image(&self, wanted: &ShadowWanted) -> Result<Image, Error> {
        if let Some(image) = &wanted.image {
            return Ok(Image::Given(image.clone()));
        }
        let pods: Api<Pod> = self.objects();
        let listed = pods.list(&ListParams::default()).await;
        let listed = listed.map_err(|source| Error::Images {
            namespace: self.namespace().to_owned(),
            source: source.into(),
        })?;
        borrow::choose(&listed.items, &wanted.borrow_from)
            .ok_or_else(|| Error::NoImage { namespace: self.namespace().to_owned() })
    }

    async fn make_until_it_runs(
        &self,
        wanted: &ShadowWanted,
        place: &mut Place,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Shadow, Error> {
        loop {
            let failed = match self.make(wanted, place, progress).await {
                Ok(shadow) => return Ok(shadow),
                Err(failed) => failed,
            };
            let Some(adjustment) = refusal::answer(&failed, wanted, place) else {
                return Err(failed);
            };
            place.adjust(&adjustment);
            place.mark = crate::names::target_mark(); // pods of the first try may still be there
            progress(Progress::Adjusted(adjustment));
            let removed = self.delete_shadow(&wanted.name).await;
            removed.map_err(|source| Error::Removing { name: wanted.name.clone(), source })?;
        }
    }

    /// Makes the objects once and waits for the pod.
    async fn make(
        &self,
        wanted: &ShadowWanted,
        place: &Place,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Shadow, Error> {
        if wanted.deployment {
            return self.make_in_deployment(wanted, place, progress).await;
        }
        let (pod, namespace) = (wanted.name.clone(), place.namespace.clone());
        progress(Progress::Deploying { pod, namespace });
        let config_map = self.create_config_map(wanted, place).await?;
        let pod: Pod = self.create(&plan::pod(wanted, place), "pod").await?;
        let owner = ObjectRef::new(Kind::Pod, &pod.name_any(), &pod.uid().unwrap_or_default());
        let owning = self.own_config_map(config_map.as_ref(), &owner);
        let (running, ()) = tokio::join!(self.wait_until_it_runs(&pod, wanted, progress), owning);
        Ok(shadow(&running?, None, config_map.and_then(|config_map| config_map.uid()), wanted, place))
    }

    async fn create_config_map(
        &self,
        wanted: &ShadowWanted,
        place: &Place,
    ) -> Result<Option<ConfigMap>, Error> {
        match plan::config_map(wanted, place)? {
            Some(config_map) => self.create(&config_map, "config map").await.map(Some),
            None => Ok(None),
        }
    }

    async fn create<K>(&self, object: &K, kind: &'static str) -> Result<K, Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let made = self.objects::<K>().create(&PostParams::default(), object).await;
        let name = object.name_any();
        made.map_err(|source| Error::Creating { kind, name, source: source.into() })
    }

    /// Makes the pod, or the Deployment around it, the owner of its config map, so that both go
    /// together whoever deletes the owner.
    async fn own_config_map(&self, config_map: Option<&ConfigMap>, owner: &ObjectRef) {
        let Some(config_map) = config_map else { return };
        let owner = serde_json::json!({"metadata": {"ownerReferences": [owner.as_owner()]}});
        let config_maps: Api<ConfigMap> = self.objects();
        let patch = Patch::Merge(&owner);
        let name = config_map.name_any();
        if let Err(error) = config_maps.patch(&name, &PatchParams::default(), &patch).await {
            tracing::debug!(%error, config_map = name, "the config map stays without an owner");
        }
    }
}

fn shadow(
    pod: &Pod,
    deployment: Option<String>,
    config_map: Option<String>,
    wanted: &ShadowWanted,
    place: &Place,
) -> Shadow {
    Shadow {
        name: wanted.name.clone(),
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        deployment,
        config_map,
        address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        image: place.image.clone(),
        adjustments: place.adjustments.list(),
        selected: plan::selected(wanted, place),
        labels: pod.labels().clone(),
    }
}

/// Is a pod of this name that of a shadow, or of the Deployment that is the shadow?
pub(crate) fn has_pod(shadow: &str, pod: &str) -> bool {
    pod.strip_prefix(shadow).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Is the pod one that a `ktctl` made?
pub(crate) fn is_ours(pod: &Pod) -> bool {
    pod.labels().get(marks::CONTROL_BY).is_some_and(|value| value == marks::KT)
        || pod.labels().contains_key(marks::ROLE)
}

/// Is every container of the pod ready, and the pod not on its way out?
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|conditions| {
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
}
