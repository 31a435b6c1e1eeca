//! What could not be cleaned: why, the command that does it, and whether that matters. Pure.

use kt_cluster::heartbeat::ObjectRef;
use kt_cluster::leftovers::{Error, Outcome, Repair, StandsFor};
use kt_cluster::workload::WorkloadName;

/// Is something left that still does harm? The lock of a workload that is old enough to be cleaned binds
/// nobody any more, and the right to take it away belongs to mode scale alone.
pub(super) fn counts(repair: &Repair, outcome: &Result<Outcome, Error>) -> bool {
    match outcome {
        Err(error) => !matches!(repair, Repair::UnlockWorkload { .. }) || error.missing_right().is_none(),
        Ok(Outcome::Needed) => true,
        Ok(_) => false,
    }
}

/// A missing right is told as a role would grant it.
pub(super) fn why(repair: &Repair, error: &Error) -> String {
    let Some(right) = error.missing_right() else { return text(error) };
    let harmless = match repair {
        Repair::UnlockWorkload { .. } => "; the lock is so old that it binds nobody",
        _ => "",
    };
    format!("it takes the right to {right}{harmless}")
}

/// Before the command: who may use it.
pub(super) fn deed(error: &Error) -> &'static str {
    match error.missing_right() {
        Some(_) => "somebody with that right can do it",
        None => "it can be done",
    }
}

/// What does the repair by hand.
pub(super) fn command(repair: &Repair, namespace: &str) -> Option<String> {
    let kubectl = |rest: String| format!("kubectl -n {namespace} {rest}");
    Some(match repair {
        Repair::RestoreService { service, .. } => format!("ktctl -n {namespace} recover {service}"),
        Repair::Scale { workload: WorkloadName { kind, name }, replicas } => {
            kubectl(format!("scale {kind}/{name} --replicas={replicas}"))
        }
        Repair::Unlock { service, .. } => kubectl(unlock(&format!("service/{service}"))),
        Repair::UnlockWorkload { workload: WorkloadName { kind, name }, .. } => {
            kubectl(unlock(&format!("{kind}/{name}")))
        }
        Repair::Delete { object: ObjectRef { kind, name, .. }, .. } => {
            kubectl(format!("delete {kind}/{name} --ignore-not-found"))
        }
        Repair::Pause(_) => return None,
    })
}

/// Why an object of ours stays.
pub(crate) fn needed(repair: &Repair) -> &'static str {
    match repair {
        Repair::Delete { stands_for: Some(StandsFor::Workload(_)), .. } => {
            "it knows how many pods there were"
        }
        _ => "callers would meet nobody",
    }
}

fn unlock(what: &str) -> String {
    format!("annotate {what} kt-lock- kt-lock-owner-")
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", text(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use kt_cluster::api::{ApiError, Right};
    use kt_cluster::heartbeat::Kind;

    use super::*;

    fn forbidden(deed: &str) -> Error {
        let right = Right {
            verb: "patch".into(),
            resource: "deployments".into(),
            group: "apps".into(),
            namespace: Some("dev".into()),
        };
        let source = ApiError::Forbidden { right: Box::new(right), message: "no".into() };
        Error::Api { deed: deed.into(), source }
    }

    fn unlock() -> Repair {
        Repair::UnlockWorkload { workload: String::from("echo").into(), since: None }
    }

    fn scale() -> Repair {
        Repair::Scale { workload: String::from("statefulset/echo").into(), replicas: 2 }
    }

    #[test]
    fn an_old_lock_that_stays_for_a_missing_right_is_named_and_no_failure() {
        let error = forbidden("unlock deployment echo");

        let why = why(&unlock(), &error);

        let wanted = "it takes the right to patch deployments.apps in namespace dev; the lock is so old that it binds nobody";
        assert_eq!(why, wanted);
        assert!(!counts(&unlock(), &Err(error)));
    }

    #[test]
    fn pods_that_stay_away_and_locks_that_stay_for_another_reason_are_failures() {
        let away = Error::Api { deed: "unlock deployment echo".into(), source: ApiError::TimedOut };

        assert!(counts(&scale(), &Err(forbidden("scale statefulset echo to 2"))));
        assert!(counts(&unlock(), &Err(away)));
        assert!(counts(&unlock(), &Ok(Outcome::Needed)));
        assert!(!counts(&scale(), &Ok(Outcome::Done)));
    }

    #[test]
    fn each_repair_has_its_command() {
        let delete =
            Repair::Delete { object: ObjectRef::new(Kind::ConfigMap, "x", ""), beat: None, stands_for: None };
        let restore = Repair::RestoreService { service: "echo".into(), selects: Default::default() };

        let all =
            [unlock(), scale(), delete, restore, Repair::Unlock { service: "echo".into(), since: None }];
        let commands: Vec<String> = all.iter().filter_map(|repair| command(repair, "dev")).collect();

        let wanted = [
            "kubectl -n dev annotate deployment/echo kt-lock- kt-lock-owner-",
            "kubectl -n dev scale statefulset/echo --replicas=2",
            "kubectl -n dev delete configmap/x --ignore-not-found",
            "ktctl -n dev recover echo",
            "kubectl -n dev annotate service/echo kt-lock- kt-lock-owner-",
        ];
        assert_eq!(commands, wanted);
    }
}
