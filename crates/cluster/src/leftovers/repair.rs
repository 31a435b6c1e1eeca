//! Carrying repairs out, each on its own: a right that is missing for one stops no other.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};

use super::{Repair, SETTLE, StandsFor};
use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::heartbeat::{self, ObjectRef};
use crate::marks::{self, Role};
use crate::redirect;
use crate::workload::{WorkloadName, wanted_replicas};

/// What a repair found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Nothing was left to do.
    Gone,
    /// The object has come to life again, or is somebody else's now; it was left alone.
    Alive,
    /// It stands for something that could not be put right; it was left alone.
    Needed,
}

/// Why a repair failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A Service could not be put back.
    #[error(transparent)]
    Redirect(#[from] redirect::Error),
    /// The API server refused.
    #[error("{deed}")]
    Api {
        /// The repair, e.g. `delete pod x`.
        deed: String,
        /// Why not.
        source: ApiError,
    },
}

impl Error {
    /// The right that the user lacks, if that is why.
    pub fn missing_right(&self) -> Option<&Right> {
        match self {
            Error::Redirect(redirect::Error::Api { source, .. }) | Error::Api { source, .. } => {
                match source {
                    ApiError::Forbidden { right, .. } => Some(right),
                    _ => None,
                }
            }
            Error::Redirect(_) => None,
        }
    }
}

impl Cluster {
    /// Carries a plan out in its order, and goes on after failures; but what stands for a Service or
    /// a workload stays when that could not be put right.
    ///
    /// Cancel safety: every step is one request which leaves no half-done state, but of a meshed service
    /// the stuntman may stay.
    pub async fn repair_all(&self, plan: &[Repair]) -> Vec<(Repair, Result<Outcome, Error>)> {
        let mut done: Vec<(Repair, Result<Outcome, Error>)> = Vec::new();
        for repair in plan {
            let outcome = match is_needed(repair, &done) {
                true => Ok(Outcome::Needed),
                false => self.repair(repair).await,
            };
            match &outcome {
                Ok(outcome) => tracing::debug!(%repair, ?outcome, "repaired"),
                Err(error) => tracing::debug!(%repair, %error, "not repaired"),
            }
            done.push((repair.clone(), outcome));
        }
        done
    }

    /// Carries one step out.
    async fn repair(&self, repair: &Repair) -> Result<Outcome, Error> {
        let failed = |source| Error::Api { deed: repair.to_string(), source };
        match repair {
            Repair::RestoreService { service, selects } => {
                Ok(match self.lead_to_originals(service, selects).await? {
                    redirect::Restored::Done => Outcome::Done,
                    redirect::Restored::NotOurs => Outcome::Alive,
                    redirect::Restored::Gone => Outcome::Gone,
                })
            }
            Repair::Scale { workload, replicas } => self.scale(workload, *replicas).await.map_err(failed),
            Repair::UnlockWorkload { workload, since } => {
                self.unlock_seen_workload(workload, *since).await.map_err(failed)
            }
            Repair::Unlock { service, since } => self.unlock_seen(service, *since).await,
            Repair::Delete { object, beat, .. } => self.delete(object, *beat).await.map_err(failed),
            Repair::Pause(pause) => {
                tokio::time::sleep(*pause).await;
                Ok(Outcome::Done)
            }
        }
    }

    /// Callers come to a router for a moment yet, and it leads them to the stuntman and the versions.
    async fn lead_to_originals(
        &self,
        service: &str,
        selects: &BTreeMap<String, String>,
    ) -> Result<redirect::Restored, redirect::Error> {
        let role = selects.get(marks::ROLE).and_then(|role| Role::parse(role));
        if role != Some(Role::Router) {
            return self.restore_service(service, selects).await;
        }
        let restored = self.lead_back(service, selects).await?;
        if restored == redirect::Restored::Done {
            tokio::time::sleep(SETTLE).await;
        }
        self.remove_unused_stuntman(service).await?;
        Ok(restored)
    }

    /// Deletes an object; with a `beat` only while that is its heartbeat. Content when it is gone.
    pub async fn delete(&self, object: &ObjectRef, beat: Option<i64>) -> Result<Outcome, ApiError> {
        let objects = self.any(object.kind);
        let Some(there) = objects.get_metadata_opt(&object.name).await? else {
            return Ok(Outcome::Gone);
        };
        if !object.uid.is_empty() && there.uid().is_some_and(|uid| uid != object.uid) {
            return Ok(Outcome::Gone);
        }
        if beat.is_some() && heartbeat::read(there.annotations()) != beat {
            return Ok(Outcome::Alive);
        }
        let only_this = Preconditions {
            uid: there.uid(),
            // A heartbeat in between makes another version, and the deletion void.
            resource_version: there.resource_version().filter(|_| beat.is_some()),
        };
        delete(&objects, &object.name, only_this).await
    }

    /// Only what has no replicas: somebody may have scaled it before us.
    async fn scale(&self, workload: &WorkloadName, replicas: i32) -> Result<Outcome, ApiError> {
        let read = self.workloads(workload.kind).get_opt(&workload.name).await?;
        if read.as_ref().map(wanted_replicas) != Some(0) {
            return Ok(Outcome::Gone);
        }
        match self.set_replicas(workload, replicas).await {
            Ok(()) => Ok(Outcome::Done),
            Err(error) if error.is_not_found() => Ok(Outcome::Gone),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of the moment `since` away, or any.
    async fn unlock_seen_workload(
        &self,
        workload: &WorkloadName,
        since: Option<i64>,
    ) -> Result<Outcome, ApiError> {
        let workloads = self.workloads(workload.kind);
        let Some(read) = workloads.get_opt(&workload.name).await? else { return Ok(Outcome::Gone) };
        if let Some(left_alone) = other_lock(&read, since) {
            return Ok(left_alone);
        }
        let patch = Patch::Merge(redirect::unlock_patch(&read));
        let patched = workloads.patch(&workload.name, &PatchParams::default(), &patch).await;
        match patched.map_err(ApiError::from) {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if error.is_conflict() => Ok(Outcome::Alive),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of the moment `since` away, or any.
    async fn unlock_seen(&self, service: &str, since: Option<i64>) -> Result<Outcome, Error> {
        let Some(read) = self.service_if_any(service).await? else { return Ok(Outcome::Gone) };
        if let Some(left_alone) = other_lock(&read, since) {
            return Ok(left_alone);
        }
        let patch = redirect::unlock_patch(&read);
        let patched = self.patched("unlocking service", service, &patch).await?;
        Ok(if patched { Outcome::Done } else { Outcome::Alive })
    }
}

/// What to say of a lock that is not the one of the moment `since`: somebody else has it by now.
fn other_lock(object: &impl ResourceExt, since: Option<i64>) -> Option<Outcome> {
    match (redirect::locked_since(object), since) {
        (None, _) => Some(Outcome::Gone),
        (Some(now), Some(seen)) if now != seen => Some(Outcome::Alive),
        _ => None,
    }
}

/// Does the object stand for something that could not be put right?
fn is_needed(repair: &Repair, done: &[(Repair, Result<Outcome, Error>)]) -> bool {
    let Repair::Delete { stands_for: Some(needed), .. } = repair else { return false };
    done.iter().any(|(repair, outcome)| outcome.is_err() && puts_right(repair, needed))
}

fn puts_right(repair: &Repair, needed: &StandsFor) -> bool {
    match (repair, needed) {
        (Repair::RestoreService { service, .. }, StandsFor::Service(needed)) => service == needed,
        (Repair::Scale { workload, .. }, StandsFor::Workload(needed)) => workload == needed,
        _ => false,
    }
}

async fn delete(
    objects: &Api<DynamicObject>,
    name: &str,
    only_this: Preconditions,
) -> Result<Outcome, ApiError> {
    let only_this = DeleteParams { preconditions: Some(only_this), ..DeleteParams::background() };
    match objects.delete(name, &only_this).await.map_err(ApiError::from) {
        Ok(_) => Ok(Outcome::Done),
        Err(error) if error.is_not_found() => Ok(Outcome::Gone),
        Err(error) if error.is_conflict() => Ok(Outcome::Alive),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Kind;

    fn restored(outcome: Result<Outcome, Error>) -> Vec<(Repair, Result<Outcome, Error>)> {
        vec![(Repair::RestoreService { service: "echo".into(), selects: Default::default() }, outcome)]
    }

    fn delete(stands_for: Option<StandsFor>) -> Repair {
        Repair::Delete { object: ObjectRef::new(Kind::Pod, "x", ""), beat: None, stands_for }
    }

    #[test]
    fn a_lock_that_somebody_took_since_the_look_is_left_alone() {
        let locked = |annotations| -> k8s_openapi::api::core::v1::Service {
            serde_json::from_value(serde_json::json!({"metadata": {"annotations": annotations}})).unwrap()
        };
        let (free, fresh) = (locked(serde_json::json!({})), locked(serde_json::json!({"kt-lock": "1000"})));

        assert_eq!(other_lock(&fresh, Some(700)), Some(Outcome::Alive));
        assert_eq!(other_lock(&fresh, Some(1000)), None);
        assert_eq!(other_lock(&fresh, None), None, "to recover a service ends whatever is there");
        assert_eq!(other_lock(&free, Some(700)), Some(Outcome::Gone));
    }

    #[test]
    fn a_shadow_stays_while_its_service_can_not_be_put_back() {
        let of = |service: &str| delete(Some(StandsFor::Service(service.into())));
        let failed = restored(Err(redirect::Error::Busy("echo".into()).into()));

        assert!(is_needed(&of("echo"), &failed));
        assert!(!is_needed(&of("other"), &failed));
        assert!(!is_needed(&delete(None), &failed));
        assert!(!is_needed(&of("echo"), &restored(Ok(Outcome::Done))));
    }

    #[test]
    fn a_shadow_stays_while_its_workload_has_no_replicas_for_only_it_knows_how_many() {
        let of = |workload: &str| delete(Some(StandsFor::Workload(String::from(workload).into())));
        let scaled =
            |outcome| vec![(Repair::Scale { workload: String::from("echo").into(), replicas: 2 }, outcome)];
        let failed = scaled(Err(redirect::Error::Busy("echo".into()).into()));

        assert!(is_needed(&of("echo"), &failed));
        assert!(!is_needed(&of("statefulset/echo"), &failed));
        assert!(!is_needed(&delete(Some(StandsFor::Service("echo".into()))), &failed));
        assert!(!is_needed(&of("echo"), &scaled(Ok(Outcome::Done))));
    }
}
