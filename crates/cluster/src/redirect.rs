//! Redirecting a Service to a shadow, and putting it back.
//!
//! The record of what was selected before rides in the same patch as the change, so there is no
//! moment in which one exists without the other. `check` decides whether a Service may be
//! redirected, `record` makes the patches, `stuntman` the stand-in, `lock` keeps two users apart,
//! and `guard` watches over it all.

mod check;
mod guard;
pub(crate) mod lock;
mod record;
mod stuntman;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::check::Occupied;
pub use self::guard::{GuardEnd, GuardEvent};
pub use self::lock::{Lock, LockWait, Owner};

pub(crate) use self::lock::{locked_since, unlock_patch};
pub(crate) use self::record::{mark_of, read as read_record, selector as selector_of};
pub use self::stuntman::Stuntman;
pub(crate) use self::stuntman::{only_this, stand_in};

use self::check::Standing;
use crate::Cluster;
use crate::api::ApiError;
use crate::marks::{self, Role};
use crate::target::selector_text;

/// How often a change is tried again when somebody else changes the Service at the same time.
const ROUNDS: usize = 8;

/// Why a Service is not redirected, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Service is gone.
    #[error("service '{0}' does not exist any more")]
    Gone(String),
    /// It is in use, or can not be redirected at all.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// Somebody holds the lock.
    #[error("failed to obtain kt lock of service {service}, please try again later")]
    Locked {
        /// The Service.
        service: String,
        /// Who holds it, where that is known, and for how long.
        wait: Box<LockWait>,
    },
    /// A Service of the stuntman's name is not ours.
    #[error("service {0} exists, but not created by kt")]
    Stranger(String),
    /// Everybody changes the Service all the time.
    #[error("service {0} is being changed by somebody else, please try again later")]
    Busy(String),
    /// The API server refused.
    #[error("{deed} {service}")]
    Api {
        /// What was done, e.g. `locking service`.
        deed: &'static str,
        /// To which Service.
        service: String,
        /// Why not.
        source: ApiError,
    },
}

/// A Service that leads to a shadow of ours. It can be written into a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirected {
    /// Its name.
    pub service: String,
    /// Its uid.
    pub uid: String,
    /// What it selected before.
    pub original: Option<BTreeMap<String, String>>,
    /// What it selects now.
    pub ours: BTreeMap<String, String>,
    /// Name of the Service which leads to the original pods; nothing where none could be made.
    pub stuntman: Option<String>,
}

/// What putting back found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The Service is as it was.
    Done,
    /// It did not lead to us any more; nothing was changed but traces of ours.
    NotOurs,
    /// It does not exist any more.
    Gone,
}

impl Cluster {
    /// May this Service be redirected? Fails with who is there, in the words for the user.
    ///
    /// What a dead run left behind is no obstacle; [`Cluster::redirect`] puts it back first.
    pub async fn check_redirectable(&self, service: &str) -> Result<(), Error> {
        let read = self.service(service).await?;
        self.standing(&read).await.map(drop)
    }

    /// Puts a Service back that a dead run has left redirected; tells whether it was. Fails as
    /// [`Cluster::check_redirectable`] does.
    pub async fn put_back_leftover(&self, service: &str) -> Result<bool, Error> {
        let read = self.service(service).await?;
        match self.standing(&read).await? {
            Standing::Free => Ok(false),
            Standing::Leftover => {
                self.restore_service(service, &selector_of(&read)).await?;
                Ok(true)
            }
        }
    }

    /// Redirects a Service to the pods with the labels `ours`. The stuntman is the one that was made
    /// before; without a fit one it is made first.
    ///
    /// Cancel safety: dropped half-way, the stuntman may stay behind, and the Service may be
    /// redirected with its record; [`Cluster::restore_service`] undoes both.
    pub async fn redirect(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
        stuntman: &Stuntman,
    ) -> Result<Redirected, Error> {
        self.redirect_from(service, ours, false, stuntman).await
    }

    /// The same, even if somebody lives who exchanges the Service: his guard sees it, and ends his run.
    pub async fn take_over(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
    ) -> Result<Redirected, Error> {
        self.redirect_from(service, ours, true, &Stuntman::default()).await
    }

    /// Makes the stuntman of a Service that is to be redirected soon: nodes learn of one change at a
    /// time, and this one is then behind them. Makes none where the Service is meshed already.
    ///
    /// Cancel safety: as [`Cluster::redirect`].
    pub async fn make_stuntman(&self, service: &str) -> Result<Stuntman, Error> {
        for _ in 0..ROUNDS {
            match self.free(service, false).await {
                Ok(Some((read, original))) => {
                    return self.ensure_stuntman(&read, original.as_ref()).await.map(Stuntman);
                }
                Ok(None) => {}
                Err(Error::Occupied(Occupied::Meshed { .. })) => return Ok(Stuntman::default()),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy(service.to_owned()))
    }

    async fn redirect_from(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
        takes_over: bool,
        made: &Stuntman,
    ) -> Result<Redirected, Error> {
        for _ in 0..ROUNDS {
            let Some((read, original)) = self.free(service, takes_over).await? else { continue };
            let stuntman = match made.fit_for(&read, original.as_ref(), self.time()) {
                Some(made) => Some(made),
                None => self.ensure_stuntman(&read, original.as_ref()).await?,
            };
            let patch = record::redirect_patch(&read, original.as_ref(), ours);
            if self.patched("switching service", service, &patch).await? {
                return Ok(Redirected {
                    service: service.to_owned(),
                    uid: read.uid().unwrap_or_default(),
                    original,
                    ours: ours.clone(),
                    stuntman: stuntman.as_ref().map(ResourceExt::name_any),
                });
            }
        }
        Err(Error::Busy(service.to_owned()))
    }

    /// The Service and what it selects of its own; nothing when it has to be looked at again, as what
    /// a dead run left was put back.
    async fn free(
        &self,
        service: &str,
        takes_over: bool,
    ) -> Result<Option<(Service, Option<BTreeMap<String, String>>)>, Error> {
        let read = self.service(service).await?;
        let original = match self.standing(&read).await {
            Ok(Standing::Leftover) => {
                self.restore_to_record(&read).await?;
                return Ok(None);
            }
            Ok(Standing::Free) => read.spec.as_ref().and_then(|spec| spec.selector.clone()),
            Err(Error::Occupied(Occupied::Exchanged { .. })) if takes_over => {
                record::read(&read).and_then(Result::ok).flatten()
            }
            Err(error) => return Err(error),
        };
        Ok(Some((read, original)))
    }

    /// Does the Service lead to our pods, or was it only applied anew? False when somebody has put it
    /// back, or leads it elsewhere.
    pub async fn is_redirected(&self, redirected: &Redirected) -> Result<bool, Error> {
        let read = self.service_if_any(&redirected.service).await?;
        Ok(read.is_some_and(|read| record::leads_to(&selector_of(&read), &redirected.ours)))
    }

    /// The Service as one that leads to the pods with the labels `ours` by now; nothing when it
    /// does not.
    pub(crate) async fn redirected_to(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
    ) -> Result<Option<Redirected>, Error> {
        let read = self.service(service).await?;
        let recorded = record::read(&read).and_then(Result::ok);
        let Some(original) = recorded.filter(|_| selector_of(&read) == *ours) else { return Ok(None) };
        let stuntman = self.service_if_any(&crate::names::stuntman(service)).await?;
        Ok(Some(Redirected {
            service: service.to_owned(),
            uid: read.uid().unwrap_or_default(),
            original,
            ours: ours.clone(),
            stuntman: stuntman.as_ref().map(ResourceExt::name_any),
        }))
    }

    /// Puts the Service back, if it still leads to us, and removes the stuntman.
    ///
    /// Content when the Service, the stuntman or both are gone.
    pub async fn restore(&self, redirected: &Redirected) -> Result<Restored, Error> {
        let Redirected { service, ours, original, .. } = redirected;
        self.restore_or_else(service, ours, original.clone()).await
    }

    /// The same by name, for whoever knows only what the Service was to select. A lost record is
    /// made up for by what the stuntman selects.
    pub async fn restore_service(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
    ) -> Result<Restored, Error> {
        let otherwise = self.told_by_stuntman(service).await?;
        self.restore_or_else(service, ours, otherwise).await
    }

    /// The same, but the stuntman stays for a router that leads there: callers come to it for a moment
    /// yet. [`Cluster::remove_stuntman`] ends it.
    pub async fn lead_back(&self, service: &str, ours: &BTreeMap<String, String>) -> Result<Restored, Error> {
        let otherwise = self.told_by_stuntman(service).await?;
        self.put_back(service, ours, otherwise).await.map(|(restored, _)| restored)
    }

    async fn told_by_stuntman(&self, service: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
        let stuntman = self.service_if_any(&crate::names::stuntman(service)).await?;
        Ok(stuntman.map(|stuntman| selector_of(&stuntman)).filter(|selector| !selector.is_empty()))
    }

    async fn restore_or_else(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
        otherwise: Option<BTreeMap<String, String>>,
    ) -> Result<Restored, Error> {
        let (restored, stuntman) = self.put_back(service, ours, otherwise).await?;
        self.remove_seen_stuntman(service, stuntman).await?;
        Ok(restored)
    }

    /// Says also which stuntman is of no use any more.
    async fn put_back(
        &self,
        service: &str,
        ours: &BTreeMap<String, String>,
        otherwise: Option<BTreeMap<String, String>>,
    ) -> Result<(Restored, Option<Service>), Error> {
        for _ in 0..ROUNDS {
            let stuntman = self.stuntman(service).await?; // as it is while the Service is still ours
            let Some(read) = self.service_if_any(service).await? else {
                return Ok((Restored::Gone, stuntman));
            };
            let Some(step) = record::plan_restore(&read, ours, otherwise.as_ref()) else {
                return Ok((Restored::NotOurs, None));
            };
            if let Some(patch) = &step.patch
                && !self.patched("putting back service", service, patch).await?
            {
                continue;
            }
            return Ok((if step.was_ours { Restored::Done } else { Restored::NotOurs }, stuntman));
        }
        Err(Error::Busy(service.to_owned()))
    }

    /// Puts back what a dead run left.
    async fn restore_to_record(&self, read: &Service) -> Result<(), Error> {
        let name = read.name_any();
        let recorded = record::read(read).and_then(Result::ok);
        if let Some(original) = recorded {
            let patch = record::restore_patch(read, original.as_ref());
            self.patched("putting back service", &name, &patch).await?;
        }
        Ok(())
    }

    /// Who uses the Service now?
    async fn standing(&self, service: &Service) -> Result<Standing, Error> {
        let selector = mark_of(&selector_of(service));
        let pods = match selector.contains_key(crate::marks::ROLE) {
            true => self.pods_selected(&selector, &service.name_any()).await?,
            false => Vec::new(),
        };
        match check::check(service, &pods, self.time(), self.settings().stale) {
            Err(Occupied::Meshed { service, .. }) => {
                let users = self.meshing_users(&service).await;
                Err(Occupied::Meshed { service, users }.into())
            }
            result => Ok(result?),
        }
    }

    /// Who meshes a Service, by the shadows of its versions; nobody when they can not be read.
    async fn meshing_users(&self, service: &str) -> Vec<String> {
        let mark = [(marks::ROLE.to_owned(), Role::Mesh.label().to_owned())].into();
        let pods = self.pods_selected(&mark, service).await.unwrap_or_default();
        let shadows = pods.iter().filter(|pod| crate::names::is_version_of(service, &pod.name_any()));
        let users = shadows.filter_map(|pod| pod.annotations().get(marks::USER).cloned());
        users.collect::<BTreeSet<_>>().into_iter().collect()
    }

    async fn pods_selected(
        &self,
        selector: &BTreeMap<String, String>,
        service: &str,
    ) -> Result<Vec<Pod>, Error> {
        let pods: Api<Pod> = self.objects();
        let listed = pods.list(&ListParams::default().labels(&selector_text(selector))).await;
        let failed = api("reading the pods of service", service);
        listed.map(|listed| listed.items).map_err(failed)
    }

    async fn service(&self, name: &str) -> Result<Service, Error> {
        let read = self.service_if_any(name).await?;
        read.ok_or_else(|| Error::Gone(name.to_owned()))
    }

    pub(crate) async fn service_if_any(&self, name: &str) -> Result<Option<Service>, Error> {
        let services: Api<Service> = self.objects();
        services.get_opt(name).await.map_err(api("reading service", name))
    }

    /// Sends a merge patch that names the version it is for; false when there is a newer one.
    pub(crate) async fn patched(
        &self,
        deed: &'static str,
        service: &str,
        patch: &Value,
    ) -> Result<bool, Error> {
        let services: Api<Service> = self.objects();
        let patched = services.patch(service, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched.map_err(ApiError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(source) => Err(Error::Api { deed, service: service.to_owned(), source }),
        }
    }
}

fn api(deed: &'static str, service: &str) -> impl FnOnce(kube::Error) -> Error {
    let service = service.to_owned();
    move |source| Error::Api { deed, service, source: source.into() }
}
