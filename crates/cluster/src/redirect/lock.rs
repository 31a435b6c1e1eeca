//! The lock on a Service while somebody changes it.
//!
//! `kt-lock` stays plain seconds, as old clients read it; who holds it stands beside it.

use std::fmt;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Error, ROUNDS};
use crate::Cluster;
use crate::marks;

/// Who locks: the developer, the machine and the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Login name.
    pub user: String,
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} {}", self.user, self.host, self.pid)
    }
}

/// A lock that we hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    service: String,
    since: String,
    owner: String,
}

impl Lock {
    /// The locked Service.
    pub fn service(&self) -> &str {
        &self.service
    }
}

/// Somebody else's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// The Service.
    pub service: String,
    /// Who holds it; nothing for an old client.
    pub owner: Option<String>,
    /// For how long.
    pub age: Duration,
}

impl fmt::Display for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Another user is occupying service {}, waiting for lock ...", self.service)?;
        match &self.owner {
            Some(owner) => write!(f, " ({owner}, for {} s)", self.age.as_secs()),
            None => Ok(()),
        }
    }
}

impl Cluster {
    /// Locks a Service; waits for others within limits, and tells about each round.
    ///
    /// Cancel safety: a lock taken by a dropped call expires (180 s).
    pub async fn lock(
        &self,
        service: &str,
        owner: &Owner,
        waiting: &(dyn Fn(&LockWait) + Sync),
    ) -> Result<Lock, Error> {
        let settings = self.settings();
        let mut wait = None;
        for round in 0..settings.lock_rounds {
            if round > 0 {
                tokio::time::sleep(settings.lock_retry).await;
            }
            let read = self.service(service).await?;
            // What is held by this very process was being done when its end began.
            let by_others = |held: &LockWait| held.owner.as_deref() != Some(&owner.to_string());
            if let Some(held) = held(&read, self.time(), settings.lock_expiry).filter(by_others) {
                waiting(&held);
                wait = Some(held);
                continue;
            }
            let (since, owner) = (self.time().to_string(), owner.to_string());
            let patch = patch(&read, &json!(since), &json!(owner));
            if self.patched("locking service", service, &patch).await? {
                return Ok(Lock { service: service.to_owned(), since, owner });
            }
        }
        let age = Duration::ZERO;
        let wait = wait.unwrap_or(LockWait { service: service.to_owned(), owner: None, age });
        Err(Error::Locked { service: service.to_owned(), wait: Box::new(wait) })
    }

    /// Gives the lock back, if it is still ours. Content when the Service is gone.
    pub async fn unlock(&self, lock: &Lock) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let Some(read) = self.service_if_any(&lock.service).await? else { return Ok(()) };
            let annotation = |key| read.annotations().get(key).map(String::as_str);
            let ours = annotation(marks::LOCK) == Some(&lock.since)
                && annotation(marks::LOCK_OWNER).is_none_or(|owner| owner == lock.owner);
            if !ours || self.patched("unlocking service", &lock.service, &unlock_patch(&read)).await? {
                return Ok(());
            }
        }
        Err(Error::Busy(lock.service.clone()))
    }

    /// Takes the lock away if it is the owner's (`user@host pid`), who does not live any more or never
    /// learned that he got it. Content when it is gone.
    pub async fn unlock_held(&self, service: &str, owner: &str) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let Some(read) = self.service_if_any(service).await? else { return Ok(()) };
            let is_theirs = read.annotations().get(marks::LOCK_OWNER).is_some_and(|held| held == owner);
            if !is_theirs || self.patched("unlocking service", service, &unlock_patch(&read)).await? {
                return Ok(());
            }
        }
        Err(Error::Busy(service.to_owned()))
    }
}

/// The moment of the lock, whoever's it is; of one that can not be read, 0.
pub(crate) fn locked_since(object: &impl ResourceExt) -> Option<i64> {
    object.annotations().get(marks::LOCK).map(|lock| lock.trim().parse().unwrap_or(0))
}

/// The lock of somebody else that still binds. One that can not be read binds nobody.
pub(crate) fn held(object: &impl ResourceExt, now: i64, expiry: Duration) -> Option<LockWait> {
    let since: i64 = object.annotations().get(marks::LOCK)?.trim().parse().ok()?;
    let age = Duration::from_secs(now.saturating_sub(since).max(0).unsigned_abs());
    (age <= expiry).then(|| LockWait {
        service: object.name_any(),
        owner: object.annotations().get(marks::LOCK_OWNER).cloned(),
        age,
    })
}

/// Takes the lock away, whoever's it is.
pub(crate) fn unlock_patch(object: &impl ResourceExt) -> Value {
    patch(object, &Value::Null, &Value::Null)
}

pub(crate) fn patch(object: &impl ResourceExt, since: &Value, owner: &Value) -> Value {
    json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "uid": object.uid(),
        "annotations": {marks::LOCK: since, marks::LOCK_OWNER: owner},
    }})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(180);

    fn service(annotations: Value) -> Service {
        let service = json!({"metadata": {"name": "echo", "annotations": annotations}});
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn a_young_lock_binds_and_names_its_owner() {
        let locked = service(json!({"kt-lock": "1000", "kt-lock-owner": "ann@box 7"}));

        let wait = held(&locked, 1020, EXPIRY).unwrap();

        let wanted = "Another user is occupying service echo, waiting for lock ... (ann@box 7, for 20 s)";
        assert_eq!(wait.to_string(), wanted);
    }

    #[test]
    fn a_lock_of_an_old_client_binds_too() {
        let wait = held(&service(json!({"kt-lock": "1000"})), 1000, EXPIRY).unwrap();

        assert_eq!(wait.to_string(), "Another user is occupying service echo, waiting for lock ...");
    }

    #[test]
    fn an_expired_or_unreadable_lock_binds_nobody() {
        assert_eq!(held(&service(json!({"kt-lock": "1000"})), 1181, EXPIRY), None);
        assert_eq!(held(&service(json!({"kt-lock": "yes"})), 1000, EXPIRY), None);
        assert_eq!(held(&service(json!({})), 1000, EXPIRY), None);
    }
}
