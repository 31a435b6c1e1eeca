//! A meshed Service: its router, and the Services of those who joined.
//!
//! Who gets what stands in an annotation of the router's pod, as text which only the router and the
//! laptops read. It changes by patches that name the version they are for, so of two laptops that
//! change it at the same time one has to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::Cluster;
use crate::api::ApiError;
use crate::heartbeat::{self, Kind, ObjectRef};
use crate::redirect::{self, Occupied, Redirected, Stuntman};
use crate::{marks, names};

/// How long what is on its way out is waited for, and how often it is looked at.
const GONE_WITHIN: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Why a Service is not meshed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has the same mark, and lives.
    #[error("Another user is meshing service '{service}' via version '{mark}', {advice}")]
    Taken {
        /// The Service.
        service: String,
        /// The value of the mark.
        mark: String,
        /// What to do.
        advice: &'static str,
    },
    /// What a dead run has left does not go away.
    #[error("{0} is on its way out and does not come to its end")]
    Lingers(String),
    /// The Service can not be redirected.
    #[error(transparent)]
    Redirect(#[from] redirect::Error),
    /// The API server refused.
    #[error("{deed} {name}")]
    Api {
        /// What was done, e.g. `reading pod`.
        deed: &'static str,
        /// To which object.
        name: String,
        /// Why not.
        source: ApiError,
    },
}

/// A router that runs.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its pod, and its config map if it has one.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The labels by which the Service selects it.
    pub mark: BTreeMap<String, String>,
    /// Who gets what; nothing when it is not one of ours.
    pub routes: Option<String>,
    /// How many have joined, older clients too.
    pub count: usize,
    /// Who of us has joined a router that is not one of ours: names and marks of versions.
    pub joined: BTreeMap<String, String>,
    carried: bool,
    version: Option<String>,
}

impl Router {
    /// What its users keep alive: also when it was made anew.
    pub fn objects(&self) -> Vec<ObjectRef> {
        let pod = ObjectRef::new(Kind::Pod, &self.name, "");
        let program = self.carried.then(|| ObjectRef::new(Kind::ConfigMap, &self.name, ""));
        [pod].into_iter().chain(program).collect()
    }

    /// How many have joined of whom nothing is known but their living versions. `known` are those of
    /// whom more is known; they are counted, too.
    pub fn strangers(&self, known: &BTreeSet<String>, living: &BTreeSet<String>) -> usize {
        self.count.saturating_sub(known.len()).min(living.difference(known).count())
    }

    fn read(pod: &Pod) -> Router {
        let mut mark = pod.labels().clone();
        mark.retain(|key, _| key == marks::ROLE || key == marks::TARGET);
        let annotation = |key| pod.annotations().get(key);
        let joined = annotation(marks::JOINED).and_then(|text| serde_json::from_str(text).ok());
        Router {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            mark,
            routes: annotation(marks::ROUTES).cloned(),
            count: annotation(marks::REF_COUNT).and_then(|count| count.parse().ok()).unwrap_or_default(),
            joined: joined.unwrap_or_default(),
            carried: is_carried(pod),
            version: pod.resource_version(),
        }
    }
}

/// The Service of one who joined, as it is wanted.
#[derive(Clone, Debug)]
pub struct MeshWanted {
    /// The Service that is meshed.
    pub service: String,
    /// Name of the new one.
    pub name: String,
    /// `key:value`, for people and other clients.
    pub mark: String,
    /// Login name of the developer.
    pub user: String,
    /// The labels by which the shadow is selected.
    pub ours: BTreeMap<String, String>,
}

impl Cluster {
    /// May this Service, whose pods have these labels, be meshed? Fails with who is there, in the words
    /// for the user. That others mesh it is no obstacle.
    pub async fn check_meshable(
        &self,
        service: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let exchanged = |service, user| redirect::Error::from(Occupied::MeshExchanged { service, user });
        match self.check_redirectable(service).await {
            Err(redirect::Error::Occupied(Occupied::Meshed { .. })) => {}
            Err(redirect::Error::Occupied(Occupied::Exchanged { service, user })) => {
                return Err(exchanged(service, user).into());
            }
            result => result?,
        }
        match self.stand_ins(labels).await {
            Err(error) if error.is_forbidden() => Ok(()),
            Err(source) => Err(refused("reading the shadows of service", service, source)),
            Ok(all) => match all.into_iter().next() {
                Some(there) => Err(exchanged(service.to_owned(), there.user).into()),
                None => Ok(()),
            },
        }
    }

    /// Sees to it that `name` is free for the version `mark` of `service`: what a dead run has left
    /// is removed, a living one is an error.
    pub async fn free_version(
        &self,
        service: &str,
        name: &str,
        mark: &str,
        is_random: bool,
    ) -> Result<(), Error> {
        let services: Api<Service> = self.objects();
        let there = services.get_opt(name).await.map_err(api("reading service", name))?;
        let Some(there) = there else { return self.wait_until_gone(name).await };
        let advice = match is_random {
            true => "please retry or use '--versionMark' parameter to spcify an uniq one",
            false => "please specify a different version mark",
        };
        let taken = || Error::Taken { service: service.to_owned(), mark: mark.to_owned(), advice };
        if self.lives(&there) || there.labels().get(marks::CONTROL_BY).map(String::as_str) != Some(marks::KT)
        {
            return Err(taken());
        }
        match services.delete(name, &redirect::only_this(&there)).await.map_err(ApiError::from) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_conflict() => return Err(taken()), // it has come to life
            Err(source) => return Err(refused("deleting service", name, source)),
        }
        self.delete_shadow(name).await.map_err(|source| refused("deleting pod", name, source))?;
        self.wait_until_gone(name).await
    }

    /// The router of a Service, once one that ends has ended; nothing when there is none, and
    /// nothing when the one there is dead: that one is removed.
    pub async fn find_router(&self, service: &str) -> Result<Option<Router>, Error> {
        let name = names::router(service);
        let Some(pod) = self.pod_if_any(&name).await? else { return Ok(None) };
        // Who made it may have left, and of older clients only that one keeps it alive.
        let dead = !self.lives(&pod) && self.living_versions(service).await?.is_empty();
        if pod.metadata.deletion_timestamp.is_none() && !dead {
            return Ok(Some(Router::read(&pod)));
        }
        if dead {
            self.remove_router(service).await?;
        }
        self.wait_until_gone(&name).await?;
        Ok(None)
    }

    /// The router of a Service as it stands, whether it lives or not.
    pub async fn router_if_any(&self, service: &str) -> Result<Option<Router>, Error> {
        Ok(self.pod_if_any(&names::router(service)).await?.as_ref().map(Router::read))
    }

    /// The same, but nothing of one that ends already.
    pub async fn present_router(&self, service: &str) -> Result<Option<Router>, Error> {
        let pod = self.pod_if_any(&names::router(service)).await?;
        Ok(pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()).as_ref().map(Router::read))
    }

    /// The router of a Service, if it ends.
    pub async fn ending_router(&self, service: &str) -> Result<Option<Router>, Error> {
        let pod = self.pod_if_any(&names::router(service)).await?;
        Ok(pod.filter(|pod| pod.metadata.deletion_timestamp.is_some()).as_ref().map(Router::read))
    }

    /// The pod that does the work of a router which is made anew.
    pub async fn stand_in_router(&self, service: &str) -> Result<Option<Router>, Error> {
        let pod = self.pod_if_any(&names::stand_in_router(service)).await?;
        Ok(pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()).as_ref().map(Router::read))
    }

    /// Writes who gets what, and how many there are; false when somebody else has changed it since
    /// the router was read.
    pub async fn write_routes(&self, router: &Router, routes: &str, count: usize) -> Result<bool, Error> {
        self.write_router(router, &json!({marks::ROUTES: routes, marks::REF_COUNT: count.to_string()})).await
    }

    /// Writes who of us has joined a router that is not one of ours, and how many there are; false
    /// when somebody else has changed it since the router was read.
    pub async fn write_joined(
        &self,
        router: &Router,
        joined: &BTreeMap<String, String>,
        count: usize,
    ) -> Result<bool, Error> {
        let joined = (!joined.is_empty()).then(|| json!(joined).to_string());
        self.write_router(router, &json!({marks::JOINED: joined, marks::REF_COUNT: count.to_string()})).await
    }

    async fn write_router(&self, router: &Router, annotations: &Value) -> Result<bool, Error> {
        let patch = json!({"metadata": {
            "uid": router.uid, "resourceVersion": router.version, "annotations": annotations,
        }});
        let pods: Api<Pod> = self.objects();
        let patched = pods.patch(&router.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.map_err(ApiError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(source) => Err(refused("changing pod", &router.name, source)),
        }
    }

    /// Deletes the router's pod and config map, and what stands in for it. Content when they are gone.
    pub async fn remove_router(&self, service: &str) -> Result<(), Error> {
        let name = names::router(service);
        let (router, stand_in) =
            tokio::join!(self.delete_shadow(&name), self.remove_stand_in_router(service));
        router.map_err(|source| refused("deleting pod", &name, source))?;
        stand_in
    }

    /// Deletes what stands in for the router. Content when it is gone.
    pub async fn remove_stand_in_router(&self, service: &str) -> Result<(), Error> {
        let name = names::stand_in_router(service);
        self.delete_shadow(&name).await.map_err(|source| refused("deleting pod", &name, source))
    }

    /// Makes the Service of one who joins, with the ports of the meshed one; closed, it leads nowhere
    /// until [`Cluster::open_version`]. Cancel safety: it may be there; [`Cluster::remove_preview`]
    /// undoes it.
    pub async fn make_version(&self, wanted: &MeshWanted, is_open: bool) -> Result<(), Error> {
        let services: Api<Service> = self.objects();
        let meshed = services.get(&wanted.service).await.map_err(api("reading service", &wanted.service))?;
        let mut selector = wanted.ours.clone();
        selector.extend((!is_open).then(|| (marks::CLOSED.to_owned(), marks::KT.to_owned())));
        let mut planned = redirect::stand_in(&meshed, &wanted.name, Some(&selector), self.time());
        let told = [
            (marks::USER, &wanted.user),
            (marks::VERSION_MARK, &wanted.mark),
            (marks::TARGET_SERVICE, &wanted.service),
        ];
        let annotations = planned.metadata.annotations.get_or_insert_default();
        annotations.extend(told.map(|(key, value)| (key.to_owned(), value.clone())));
        let made = services.create(&PostParams::default(), &planned).await;
        made.map(drop).map_err(api("creating service", &wanted.name))
    }

    /// Lets the Service of one who joins lead to the shadow.
    pub async fn open_version(&self, wanted: &MeshWanted) -> Result<(), Error> {
        let services: Api<Service> = self.objects();
        let patch = json!({"spec": {"selector": {marks::CLOSED: null}}});
        let patched = services.patch(&wanted.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(api("changing service", &wanted.name))
    }

    /// Does a Service of this name exist, made by a `ktctl` that lives?
    pub async fn is_version_alive(&self, name: &str) -> Result<bool, Error> {
        let services: Api<Service> = self.objects();
        let there = services.get_opt(name).await.map_err(api("reading service", name))?;
        Ok(there.is_some_and(|there| self.lives(&there)))
    }

    /// Leads the Service to the router, unless it does already. `stuntman` was made before.
    ///
    /// Cancel safety: as [`Cluster::redirect`].
    pub async fn lead_to_router(
        &self,
        service: &str,
        mark: &BTreeMap<String, String>,
        stuntman: &Stuntman,
    ) -> Result<Redirected, Error> {
        match self.redirected_to(service, mark).await? {
            Some(redirected) => Ok(redirected),
            None => Ok(self.redirect(service, mark, stuntman).await?),
        }
    }

    /// Adds labels to a pod, so that Services may find it; with nothing as a value they go.
    pub async fn label_pod(
        &self,
        name: &str,
        labels: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        let pods: Api<Pod> = self.objects();
        let patch = json!({"metadata": {"labels": labels}});
        let patched = pods.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(api("changing pod", name))
    }

    /// The versions of a Service whose makers live, older clients too.
    pub async fn living_versions(&self, service: &str) -> Result<BTreeSet<String>, Error> {
        let services: Api<Service> = self.objects();
        let ours = ListParams::default().labels(&format!("{}={}", marks::CONTROL_BY, marks::KT));
        let listed = services.list(&ours).await.map_err(api("listing the versions of service", service))?;
        let is_version = |there: &Service| names::is_version_of(service, &there.name_any());
        let versions = listed.iter().filter(|there| is_version(there) && self.lives(*there));
        Ok(versions.map(ResourceExt::name_any).collect())
    }

    /// Is the heartbeat of an object young enough?
    fn lives(&self, object: &impl ResourceExt) -> bool {
        let stale = i64::try_from(self.settings().stale.as_secs()).unwrap_or(i64::MAX);
        heartbeat::read(object.annotations()).is_none_or(|beat| self.time() - beat <= stale)
    }

    async fn pod_if_any(&self, name: &str) -> Result<Option<Pod>, Error> {
        let pods: Api<Pod> = self.objects();
        pods.get_opt(name).await.map_err(api("reading pod", name))
    }

    async fn wait_until_gone(&self, pod: &str) -> Result<(), Error> {
        let gone = async {
            while self.pod_if_any(pod).await?.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        timeout(GONE_WITHIN, gone).await.unwrap_or_else(|_| Err(Error::Lingers(format!("pod {pod}"))))
    }
}

/// Does the pod run a program out of the config map of its own name?
fn is_carried(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.config_map.as_ref()).any(|map| map.name == pod.name_any())
}

fn api(deed: &'static str, name: &str) -> impl FnOnce(kube::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Api { deed, name, source: source.into() }
}

fn refused(deed: &'static str, name: &str, source: ApiError) -> Error {
    Error::Api { deed, name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(String::from).into()
    }

    fn counted(count: &str) -> Router {
        let pod = json!({"metadata": {"name": "r", "annotations": {"kt-ref-count": count}}});
        Router::read(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn strangers_are_those_who_are_counted_and_live() {
        let known = names(["a", "b"]);

        assert_eq!(counted("3").strangers(&known, &names(["a", "b", "old"])), 1);
        // It was counted, and was killed.
        assert_eq!(counted("3").strangers(&known, &names(["a", "b"])), 0);
        // It has left, and its Service is on its way out.
        assert_eq!(counted("2").strangers(&known, &names(["a", "b", "old"])), 0);
        assert_eq!(counted("what").strangers(&known, &names(["old"])), 0);
    }

    #[test]
    fn only_a_router_with_its_program_in_a_config_map_has_one_to_keep_alive() {
        let pod = json!({"metadata": {"name": "r"}, "spec": {"containers": [],
            "volumes": [{"name": "program", "configMap": {"name": "r"}}]}});
        let carried = Router::read(&serde_json::from_value(pod).unwrap());

        assert_eq!((carried.objects().len(), counted("1").objects().len()), (2, 1));
    }
}
