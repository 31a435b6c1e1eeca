//! The lock on a workload from the first look until it is scaled down.

use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use serde_json::{Value, json};

use super::{Error, StandIn, refused};
use crate::Cluster;
use crate::api::ApiError;
use crate::marks;
use crate::redirect::{Owner, lock};
use crate::workload::{WorkloadKind, WorkloadName, wanted_replicas};

/// How often it is tried to change a Deployment that changes under us.
const ROUNDS: u32 = 10;

/// A workload that was found free, or is to be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many replicas it is meant to have when nobody exchanges it.
    pub replicas: i32,
    /// Who stands in for it until we do.
    pub taken: Option<StandIn>,
}

impl Cluster {
    /// Locks a workload, and tells how many replicas it is meant to have. Fails at once when somebody
    /// else than `from`, from whom it is taken over, is at it, or when it has no replicas. Where only
    /// the sub-resource may be changed there is no lock.
    ///
    /// Cancel safety: a lock taken by a dropped call expires (180 s).
    pub async fn lock_workload(
        &self,
        workload: &WorkloadName,
        owner: &Owner,
        from: Option<&str>,
    ) -> Result<Counted, Error> {
        for _ in 0..ROUNDS {
            let read = self.read_existing(workload).await?;
            if let Some(held) = lock::held(&read, self.time(), self.settings().lock_expiry) {
                let owner = held.owner.unwrap_or_else(|| "unknown".to_owned());
                return Err(Error::Locked { workload: workload.clone(), owner });
            }
            let counted = count(workload, wanted_replicas(&read), self.stand_in(workload, &[]).await?, from)?;
            let patch = lock::patch(&read, &json!(self.time().to_string()), &json!(owner.to_string()));
            if self.patch_workload("locking", workload, patch).await? {
                return Ok(counted);
            }
        }
        Err(Error::Busy(workload.clone()))
    }

    /// Takes the lock away if it is the owner's (`user@host pid`). Content when it is gone.
    pub async fn unlock_workload(&self, workload: &WorkloadName, owner: &str) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let read = match self.read_existing(workload).await {
                Err(Error::Api { source, .. }) if source.is_not_found() => return Ok(()),
                read => read?,
            };
            let is_ours = read.annotations().get(marks::LOCK_OWNER).is_some_and(|held| held == owner);
            if !is_ours || self.patch_workload("unlocking", workload, lock::unlock_patch(&read)).await? {
                self.forget_copies(workload, owner).await;
                return Ok(());
            }
        }
        Err(Error::Busy(workload.clone()))
    }

    /// Kubernetes copies a Deployment's annotations to its ReplicaSet, and leaves them there: a roll-back
    /// would bring the lock again. Where they may not be changed it stays so.
    async fn forget_copies(&self, workload: &WorkloadName, owner: &str) {
        if workload.kind != WorkloadKind::Deployment {
            return;
        }
        let sets = self.workloads(WorkloadKind::ReplicaSet);
        let listed = sets.list_metadata(&ListParams::default()).await;
        let listed = listed.map(|listed| listed.items).unwrap_or_default();
        let is_copy = |set: &&PartialObjectMeta<DynamicObject>| {
            set.owner_references().iter().any(|one| one.name == workload.name)
                && set.annotations().get(marks::LOCK_OWNER).is_some_and(|held| held == owner)
        };
        for set in listed.iter().filter(is_copy) {
            let patch = Patch::Merge(lock::unlock_patch(set));
            if let Err(error) = sets.patch_metadata(&set.name_any(), &PatchParams::default(), &patch).await {
                tracing::debug!(%error, set = set.name_any(), "a copy of the lock stays");
            }
        }
    }

    async fn read_existing(&self, workload: &WorkloadName) -> Result<DynamicObject, Error> {
        let read = self.workloads(workload.kind).get(&workload.name).await;
        read.map_err(|source| refused("reading", workload)(source.into()))
    }

    /// False when somebody else has changed it since it was read.
    async fn patch_workload(
        &self,
        deed: &'static str,
        workload: &WorkloadName,
        patch: Value,
    ) -> Result<bool, Error> {
        let workloads = self.workloads(workload.kind);
        let patched = workloads.patch(&workload.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched.map_err(ApiError::from) {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) if error.is_forbidden() => {
                tracing::debug!(%error, %workload, "there is no lock without the right to patch");
                Ok(true)
            }
            Err(error) => Err(refused(deed, workload)(error)),
        }
    }
}

/// How many replicas a workload with `now` of them is meant to have: who stands in for it knows better.
fn count(
    workload: &WorkloadName,
    now: i32,
    there: Option<StandIn>,
    from: Option<&str>,
) -> Result<Counted, Error> {
    let replicas = match &there {
        Some(there) if from != Some(&there.user) => {
            return Err(Error::Exchanged { workload: workload.clone(), user: there.user.clone() });
        }
        Some(there) => there.replicas.unwrap_or(now),
        None => now,
    };
    match replicas {
        0 => Err(Error::Empty(workload.clone())),
        replicas => Ok(Counted { replicas, taken: there }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> WorkloadName {
        WorkloadName::from("echo".to_owned())
    }

    fn ann() -> StandIn {
        StandIn {
            pod: "echo-kt-exchange-abcde".into(),
            user: "ann".into(),
            workload: workload(),
            replicas: Some(3),
        }
    }

    #[test]
    fn whoever_takes_a_workload_over_remembers_what_it_had_before_the_first_one() {
        let counted = count(&workload(), 0, Some(ann()), Some("ann")).unwrap();

        assert_eq!(counted, Counted { replicas: 3, taken: Some(ann()) });
    }

    #[test]
    fn it_is_taken_only_from_whom_the_user_was_asked_about() {
        for from in [None, Some("bob")] {
            let refused = count(&workload(), 0, Some(ann()), from).unwrap_err().to_string();
            assert!(refused.contains("is already exchanging by another user (ann)"), "{refused}");
        }
    }

    #[test]
    fn what_has_no_replicas_and_nobody_who_remembers_them_is_refused() {
        assert!(matches!(count(&workload(), 0, None, Some("ann")), Err(Error::Empty(_))));
        assert_eq!(count(&workload(), 2, None, None).unwrap(), Counted { replicas: 2, taken: None });
    }
}
