//! May a Service be redirected? Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

use super::record;
use crate::heartbeat;
use crate::marks::{self, Role};

/// Why a Service can not be redirected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Occupied {
    /// Somebody exchanges it.
    #[error("service '{service}' is already exchanging by another user ({user}), cannot apply exchange")]
    Exchanged {
        /// The Service.
        service: String,
        /// Who.
        user: String,
    },
    /// Somebody meshes it.
    #[error("another user is meshing service '{service}', cannot apply exchange")]
    Meshed {
        /// The Service.
        service: String,
        /// Who, as far as that is known.
        users: Vec<String>,
    },
    /// Somebody exchanges it, and it was to be meshed.
    #[error("another user ({user}) is exchanging service '{service}', cannot apply mesh")]
    MeshExchanged {
        /// The Service.
        service: String,
        /// Who.
        user: String,
    },
    /// Its record leads nowhere.
    #[error(
        "service '{service}' in invalid status, please manually remove kt-selector annotation before exchange"
    )]
    Invalid {
        /// The Service.
        service: String,
    },
    /// It selects pods of a `ktctl`, and nobody knows what it selected before.
    #[error("Service {service} is selecting kt pods, but cannot be recovered automatically")]
    NoRecord {
        /// The Service.
        service: String,
    },
    /// Nobody selects its pods: its addresses are written by hand or by a program.
    #[error("service '{service}' has no selector, it can not be redirected")]
    NoSelector {
        /// The Service.
        service: String,
    },
    /// It is a name for something outside.
    #[error("service '{service}' is an alias of {target}, it can not be redirected")]
    Alias {
        /// The Service.
        service: String,
        /// The name behind it.
        target: String,
    },
}

/// Who uses a Service that may be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody.
    Free,
    /// A run that is dead; what it left must be put back first.
    Leftover,
}

/// Decides by the Service and by the pods that it selects now.
pub(super) fn check(
    service: &Service,
    selected: &[Pod],
    now: i64,
    stale: Duration,
) -> Result<Standing, Occupied> {
    let name = || service.name_any();
    let selector = record::selector(service);
    let role = selector.get(marks::ROLE).map(|role| Role::parse(role));
    let alive = selected.iter().find(|pod| is_alive(pod, now, stale));
    match (record::read(service), role) {
        (None, Some(_)) => Err(Occupied::NoRecord { service: name() }),
        (None, None) => plain(service, selector.is_empty()),
        (Some(Err(_)), _) => Err(Occupied::Invalid { service: name() }),
        // Applied anew after a run died: the record is all that is left of it.
        (Some(Ok(_)), None) => Ok(Standing::Leftover),
        (Some(Ok(_)), Some(_)) if alive.is_none() => Ok(Standing::Leftover),
        (Some(Ok(_)), Some(Some(Role::Exchange))) => {
            let user = alive.and_then(|pod| pod.annotations().get(marks::USER).cloned());
            let user = user.unwrap_or_else(|| "unknown user".to_owned());
            Err(Occupied::Exchanged { service: name(), user })
        }
        (Some(Ok(_)), Some(Some(Role::Router))) => {
            Err(Occupied::Meshed { service: name(), users: Vec::new() })
        }
        (Some(Ok(_)), Some(_)) => Err(Occupied::Invalid { service: name() }),
    }
}

fn plain(service: &Service, selects_nothing: bool) -> Result<Standing, Occupied> {
    let spec = service.spec.as_ref();
    if let Some(target) = spec.and_then(|spec| spec.external_name.clone()) {
        return Err(Occupied::Alias { service: service.name_any(), target });
    }
    match selects_nothing {
        true => Err(Occupied::NoSelector { service: service.name_any() }),
        false => Ok(Standing::Free),
    }
}

/// Does somebody stand behind the pod? No heartbeat at all counts as life.
fn is_alive(pod: &Pod, now: i64, stale: Duration) -> bool {
    let stale = i64::try_from(stale.as_secs()).unwrap_or(i64::MAX);
    pod.metadata.deletion_timestamp.is_none()
        && heartbeat::read(pod.annotations()).is_none_or(|beat| now - beat <= stale)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const STALE: Duration = Duration::from_secs(300);

    fn service(selector: Value, record: Option<&str>) -> Service {
        let annotations = record.map(|record| json!({"kt-selector": record}));
        serde_json::from_value(json!({
            "metadata": {"name": "echo", "annotations": annotations},
            "spec": {"selector": selector}
        }))
        .unwrap()
    }

    fn redirected(role: &str) -> Service {
        service(json!({"kt-role": role, "kt-target": "abc"}), Some("{\"app\":\"echo\"}"))
    }

    fn shadow(beat: i64) -> Pod {
        let annotations = json!({"kt-last-heart-beat": beat.to_string(), "kt-user": "ann"});
        let pod = json!({"metadata": {"name": "x", "annotations": annotations}});
        serde_json::from_value(pod).unwrap()
    }

    fn said(service: &Service, pods: &[Pod]) -> String {
        check(service, pods, 1000, STALE).unwrap_err().to_string()
    }

    #[test]
    fn the_user_who_exchanges_is_named() {
        let wanted = "service 'echo' is already exchanging by another user (ann), cannot apply exchange";

        assert_eq!(said(&redirected("shadow-exchange"), &[shadow(900)]), wanted);
    }

    #[test]
    fn a_meshed_service_is_not_exchanged() {
        let wanted = "another user is meshing service 'echo', cannot apply exchange";

        assert_eq!(said(&redirected("router"), &[shadow(900)]), wanted);
    }

    #[test]
    fn what_a_dead_run_left_is_no_obstacle() {
        let service = redirected("shadow-exchange");

        assert_eq!(check(&service, &[], 1000, STALE), Ok(Standing::Leftover));
        assert_eq!(check(&service, &[shadow(600)], 1000, STALE), Ok(Standing::Leftover));
    }

    #[test]
    fn a_record_beside_the_original_selector_is_left_over() {
        let service = service(json!({"app": "echo"}), Some("{\"app\":\"echo\"}"));

        assert_eq!(check(&service, &[], 1000, STALE), Ok(Standing::Leftover));
    }

    #[test]
    fn a_damaged_record_needs_a_human() {
        let service = service(json!({"kt-role": "shadow-exchange"}), Some("oops"));

        let wanted = "service 'echo' in invalid status, \
                      please manually remove kt-selector annotation before exchange";
        assert_eq!(said(&service, &[]), wanted);
    }

    #[test]
    fn services_without_pods_of_their_own_are_refused() {
        let mut alias = service(json!(null), None);
        alias.spec.as_mut().unwrap().external_name = Some("db.corp.example".into());

        assert!(said(&alias, &[]).contains("alias of db.corp.example"));
        assert!(said(&service(json!({}), None), &[]).contains("no selector"));
    }
}
