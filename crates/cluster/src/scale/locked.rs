//! The lock on a Deployment from the first look until it is scaled down.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Error, refused, wanted_replicas};
use crate::Cluster;
use crate::api::ApiError;
use crate::marks;
use crate::redirect::{Owner, lock};

/// How often it is tried to change a Deployment that changes under us.
const ROUNDS: u32 = 10;

impl Cluster {
    /// Locks a Deployment, and tells how many replicas it is meant to have. Fails at once when
    /// somebody else is at it, or when it has no replicas. Where only the sub-resource may be
    /// changed there is no lock.
    ///
    /// Cancel safety: a lock taken by a dropped call expires (180 s).
    pub async fn lock_deployment(&self, name: &str, owner: &Owner) -> Result<i32, Error> {
        for _ in 0..ROUNDS {
            let read = self.read_existing(name).await?;
            if let Some(held) = lock::held(&read, self.time(), self.settings().lock_expiry) {
                let owner = held.owner.unwrap_or_else(|| "unknown".to_owned());
                return Err(Error::Locked { deployment: name.to_owned(), owner });
            }
            if let Some(user) = self.exchanger(name, &[]).await? {
                return Err(Error::Exchanged { deployment: name.to_owned(), user });
            }
            let replicas = wanted_replicas(&read);
            if replicas == 0 {
                return Err(Error::Empty(name.to_owned()));
            }
            let patch = lock::patch(&read, &json!(self.time().to_string()), &json!(owner.to_string()));
            if self.patch_deployment("locking", name, patch).await? {
                return Ok(replicas);
            }
        }
        Err(Error::Busy(name.to_owned()))
    }

    /// Takes the lock away if it is the owner's (`user@host pid`). Content when it is gone.
    pub async fn unlock_deployment(&self, name: &str, owner: &str) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let read = match self.read_existing(name).await {
                Err(Error::Api { source, .. }) if source.is_not_found() => return Ok(()),
                read => read?,
            };
            let is_ours = read.annotations().get(marks::LOCK_OWNER).is_some_and(|held| held == owner);
            if !is_ours || self.patch_deployment("unlocking", name, lock::unlock_patch(&read)).await? {
                return Ok(());
            }
        }
        Err(Error::Busy(name.to_owned()))
    }

    async fn read_existing(&self, name: &str) -> Result<Deployment, Error> {
        let deployments: Api<Deployment> = self.objects();
        deployments.get(name).await.map_err(|source| refused("reading", name)(source.into()))
    }

    /// False when somebody else has changed it since it was read.
    async fn patch_deployment(&self, deed: &'static str, name: &str, patch: Value) -> Result<bool, Error> {
        let deployments: Api<Deployment> = self.objects();
        let patched = deployments.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched.map_err(ApiError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) if error.is_forbidden() => {
                tracing::debug!(%error, deployment = name, "there is no lock without the right to patch");
                Ok(true)
            }
            Err(error) => Err(refused(deed, name)(error)),
        }
    }
}
