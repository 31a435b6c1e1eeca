//! Watching over a redirected Service for as long as its shadow lives.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, ResourceExt};

use super::{Error, Redirected, record};
use crate::Cluster;
use crate::api::ApiError;
use crate::marks;
use crate::watch::Watched;

/// What the guard sees and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEvent {
    /// Somebody applied the Service anew; it will be redirected again after the pause.
    Reapplied {
        /// The pause.
        after: Duration,
    },
    /// The Service leads to the shadow again.
    RedirectedAgain,
    /// The Service was deleted; if it returns, it will be redirected.
    ServiceDeleted,
    /// The cluster can not be asked for the moment, or refused.
    Trouble(String),
}

/// Why there is nothing left to guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardEnd {
    /// The shadow is gone: evicted, or somebody recovered the Service.
    ShadowGone,
    /// Somebody else took the Service over.
    TakenOver {
        /// Who, where that is known.
        user: Option<String>,
    },
}

impl fmt::Display for GuardEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GuardEnd::ShadowGone => f.write_str("the shadow pod was removed"),
            GuardEnd::TakenOver { user: Some(user) } => {
                write!(f, "the service was taken over by another user ({user})")
            }
            GuardEnd::TakenOver { user: None } => f.write_str("the service was taken over by another user"),
        }
    }
}

/// What a state of the Service means.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Ours,
    Deleted,
    Reapplied,
    TakenOver,
}

fn see(service: Option<&Service>, redirected: &Redirected) -> Seen {
    let Some(service) = service else { return Seen::Deleted };
    let selector = record::selector(service);
    if selector == redirected.ours && service.annotations().contains_key(marks::SELECTOR) {
        Seen::Ours
    } else if record::leads_to(&selector, &redirected.ours) || !selector.contains_key(marks::ROLE) {
        Seen::Reapplied
    } else {
        Seen::TakenOver
    }
}

impl Cluster {
    /// Redirects the Service again whenever somebody applies it anew, until the shadow is gone or
    /// the Service is somebody else's.
    ///
    /// Cancel safety: may be dropped at any time.
    pub async fn guard(
        &self,
        redirected: &Redirected,
        shadow: &str,
        said: &(dyn Fn(GuardEvent) + Sync),
    ) -> GuardEnd {
        let poll = self.settings().poll;
        let mut services: Watched<Service> = Watched::new(self.objects(), &redirected.service, poll);
        let mut shadows: Watched<Pod> = Watched::new(self.objects(), shadow, poll);
        let mut troubled = false;
        loop {
            let state = tokio::select! {
                state = services.next() => state,
                state = shadows.next() => match state {
                    Ok(Some(pod)) if pod.metadata.deletion_timestamp.is_none() => continue,
                    Ok(_) => return GuardEnd::ShadowGone,
                    Err(error) => Err(error),
                },
            };
            let quiet = |event: GuardEvent| match (&event, troubled) {
                (GuardEvent::Reapplied { .. }, true) => {} // said before the trouble
                _ => said(event),
            };
            let handled = match state {
                Ok(service) => self.handle(service.as_ref(), redirected, shadow, &quiet).await,
                Err(source) => Err(troubles(source, redirected)),
            };
            match handled {
                Ok(Some(end)) => return end,
                Ok(None) => troubled = false,
                Err(error) => {
                    if !std::mem::replace(&mut troubled, true) {
                        said(GuardEvent::Trouble(crate::api::causes(&error)));
                    }
                    tokio::time::sleep(self.settings().guard_delay.0).await;
                    // Its present state is told once more, or else what could not be done now would
                    // wait for the next change.
                    services = Watched::new(self.objects(), &redirected.service, poll);
                }
            }
        }
    }

    async fn handle(
        &self,
        service: Option<&Service>,
        redirected: &Redirected,
        shadow: &str,
        said: &(dyn Fn(GuardEvent) + Sync),
    ) -> Result<Option<GuardEnd>, Error> {
        match see(service, redirected) {
            Seen::Ours => Ok(None),
            Seen::Deleted => {
                said(GuardEvent::ServiceDeleted);
                Ok(None)
            }
            Seen::TakenOver => Ok(Some(self.taken_over(service).await)),
            // A watch also tells what has been put right meanwhile.
            Seen::Reapplied if self.is_right_now(redirected).await? => Ok(None),
            Seen::Reapplied => {
                let after = self.settings().next_guard_delay();
                said(GuardEvent::Reapplied { after });
                tokio::time::sleep(after).await;
                let end = self.redirect_again(redirected, shadow).await?;
                if end.is_none() {
                    said(GuardEvent::RedirectedAgain);
                }
                Ok(end)
            }
        }
    }

    async fn is_right_now(&self, redirected: &Redirected) -> Result<bool, Error> {
        let service = self.service_if_any(&redirected.service).await?;
        Ok(see(service.as_ref(), redirected) == Seen::Ours)
    }

    /// Looks again, and redirects if the shadow still lives.
    async fn redirect_again(&self, redirected: &Redirected, shadow: &str) -> Result<Option<GuardEnd>, Error> {
        let pods: Api<Pod> = self.objects();
        let pod = pods.get_opt(shadow).await.map_err(ApiError::from);
        let pod = pod.map_err(|source| troubles(source, redirected))?;
        if pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()) {
            return Ok(Some(GuardEnd::ShadowGone));
        }
        for _ in 0..super::ROUNDS {
            let service = self.service_if_any(&redirected.service).await?;
            match (see(service.as_ref(), redirected), service) {
                (Seen::TakenOver, service) => {
                    return Ok(Some(self.taken_over(service.as_ref()).await));
                }
                (Seen::Reapplied, Some(service)) => {
                    let (ours, memory) = (&redirected.ours, redirected.original.as_ref());
                    let original = record::original(&service, ours, memory).flatten();
                    self.ensure_stuntman(&service, original.as_ref()).await?;
                    let patch = record::redirect_patch(&service, original.as_ref(), ours);
                    if self.patched("switching service", &redirected.service, &patch).await? {
                        return Ok(None);
                    }
                }
                _ => return Ok(None),
            }
        }
        Err(Error::Busy(redirected.service.clone()))
    }

    async fn taken_over(&self, service: Option<&Service>) -> GuardEnd {
        let Some(service) = service else { return GuardEnd::TakenOver { user: None } };
        let selector = record::mark_of(&record::selector(service));
        let pods = self.pods_selected(&selector, &service.name_any()).await.unwrap_or_default();
        let user = pods.iter().find_map(|pod| pod.annotations().get(marks::USER).cloned());
        GuardEnd::TakenOver { user }
    }
}

fn troubles(source: ApiError, redirected: &Redirected) -> Error {
    Error::Api { deed: "watching service", service: redirected.service.clone(), source }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn redirected() -> Redirected {
        Redirected {
            service: "echo".into(),
            uid: "u".into(),
            original: Some([("app".to_owned(), "echo".to_owned())].into()),
            ours: [("kt-role", "shadow-exchange"), ("kt-target", "abc")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            stuntman: None,
        }
    }

    fn seen(selector: Value, annotations: Value) -> Seen {
        let service = json!({
            "metadata": {"name": "echo", "annotations": annotations}, "spec": {"selector": selector}
        });
        let service: Service = serde_json::from_value(service).unwrap();
        see(Some(&service), &redirected())
    }

    #[test]
    fn states_of_the_service_are_told_apart() {
        let record = json!({"kt-selector": "{}"});
        let theirs = json!({"kt-role": "shadow-exchange", "kt-target": "xyz"});
        let mixed = json!({"kt-role": "shadow-exchange", "kt-target": "abc", "app": "echo"});

        assert_eq!(seen(json!(redirected().ours), record.clone()), Seen::Ours);
        assert_eq!(seen(json!({"app": "echo"}), record.clone()), Seen::Reapplied);
        assert_eq!(seen(json!({"app": "echo"}), json!({})), Seen::Reapplied);
        assert_eq!(seen(json!(redirected().ours), json!({})), Seen::Reapplied);
        assert_eq!(seen(mixed, record.clone()), Seen::Reapplied);
        assert_eq!(seen(theirs, record), Seen::TakenOver);
        assert_eq!(see(None, &redirected()), Seen::Deleted);
    }
}
