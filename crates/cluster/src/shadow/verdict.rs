//! What Kubernetes reports about a pod that shall run, read as one verdict.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod};

use super::failure::Failure;

/// What to think of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its program runs.
    Runs,
    /// It may yet; what is being waited for.
    Waits(String),
    /// It will not.
    Fails(Failure),
}

/// The verdict on a pod of one container; `events` may be empty where they can not be read.
pub(super) fn verdict(pod: &Pod, events: &[Event]) -> Verdict {
    let status = pod.status.clone().unwrap_or_default();
    if pod.metadata.deletion_timestamp.is_some() {
        return Verdict::Fails(Failure::Deleted);
    }
    if status.phase.as_deref() == Some("Failed") {
        return Verdict::Fails(failed(status.reason, status.message));
    }
    match status.container_statuses.iter().flatten().next() {
        Some(container) => of_container(container, events),
        None => not_scheduled(pod).unwrap_or_else(|| Verdict::Waits(last_warning(events))),
    }
}

fn failed(reason: Option<String>, message: Option<String>) -> Failure {
    let (reason, message) = (reason.unwrap_or_default(), message.unwrap_or_default());
    if reason == "SysctlForbidden" || message.contains("forbidden sysctl") {
        return Failure::Sysctl(message);
    }
    Failure::Evicted(format!("{reason}: {message}").trim_matches([':', ' ']).to_owned())
}

/// The verdict on one container.
pub(crate) fn of_container(container: &ContainerStatus, events: &[Event]) -> Verdict {
    let now = container.state.clone().unwrap_or_default();
    let before = container.last_state.clone().unwrap_or_default();
    if let Some(crash) = crash(&now).or_else(|| crash(&before)) {
        return Verdict::Fails(crash);
    }
    if now.running.is_some() {
        return Verdict::Runs;
    }
    let waiting = now.waiting.unwrap_or_default();
    let message = waiting.message.unwrap_or_default();
    match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => {
            let image = container.image.clone();
            Verdict::Fails(Failure::Image { image, message: pull_message(message, events) })
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Verdict::Fails(container_failure(message))
        }
        reason => {
            let warning = last_warning(events);
            let words = [reason, &message, &warning].into_iter().filter(|word| !word.is_empty());
            Verdict::Waits(words.collect::<Vec<_>>().join(": "))
        }
    }
}

/// The back-off says less than the error before it, which an event may still have.
fn pull_message(message: String, events: &[Event]) -> String {
    let says_why = |event: &&Event| {
        event.message.as_deref().is_some_and(|text| text.starts_with("Failed to pull image"))
    };
    match events.iter().rev().find(says_why) {
        Some(event) if message.starts_with("Back-off") => event.message.clone().unwrap_or(message),
        _ => message,
    }
}

fn container_failure(message: String) -> Failure {
    if message.contains("exec format error") {
        Failure::WrongArch(message)
    } else if message.contains("sysctl") {
        Failure::Sysctl(message)
    } else {
        Failure::Container(message)
    }
}

fn crash(state: &ContainerState) -> Option<Failure> {
    let ended = state.terminated.as_ref()?;
    let message = ended.message.clone().unwrap_or_default().trim().to_owned();
    if message.contains("exec format error") {
        return Some(Failure::WrongArch(message));
    }
    Some(Failure::Crashed { code: ended.exit_code, message })
}

fn not_scheduled(pod: &Pod) -> Option<Verdict> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = condition.message.clone().unwrap_or_default();
    let misfit = message.contains("node affinity/selector") && asks_for_arch(pod);
    Some(match misfit {
        true => Verdict::Fails(Failure::NoSuchNode(message)),
        false => Verdict::Waits(format!("{}: {message}", condition.reason.as_deref().unwrap_or("Pending"))),
    })
}

fn asks_for_arch(pod: &Pod) -> bool {
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    selector.is_some_and(|selector| selector.contains_key("kubernetes.io/arch"))
}

fn last_warning(events: &[Event]) -> String {
    let warning = |event: &&Event| event.type_.as_deref() == Some("Warning");
    let last = events.iter().rev().find(warning);
    last.and_then(|event| event.message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let pod = json!({
            "metadata": {"name": "x"},
            "spec": {"containers": [], "nodeSelector": {"kubernetes.io/arch": "amd64"}},
            "status": status
        });
        serde_json::from_value(pod).unwrap()
    }

    fn container(state: Value) -> Pod {
        pod(json!({"containerStatuses": [{
            "name": "standalone", "image": "echo:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": state
        }]}))
    }

    fn warning(message: &str) -> Event {
        let event = json!({"metadata": {}, "involvedObject": {}, "type": "Warning", "message": message});
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn a_running_container_is_enough() {
        assert_eq!(verdict(&container(json!({"running": {}})), &[]), Verdict::Runs);
    }

    #[test]
    fn an_image_that_can_not_be_pulled_fails_with_the_first_reason() {
        let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}});
        let event = warning("Failed to pull image \"echo:1\": not found");

        let Verdict::Fails(failure) = verdict(&container(state), &[event]) else { panic!() };

        let wanted = "image echo:1 can not be pulled: Failed to pull image \"echo:1\": not found";
        assert_eq!(failure.to_string(), wanted);
    }

    #[test]
    fn a_crash_is_told_with_its_last_words() {
        let state = json!({"terminated": {"exitCode": 2, "message": "no such option\n"}});

        let crashed = Failure::Crashed { code: 2, message: "no such option".into() };
        assert_eq!(verdict(&container(state), &[]), Verdict::Fails(crashed));
    }

    #[test]
    fn a_foreign_processor_is_recognised() {
        let message = "exec /kt/shadow: exec format error";
        let state = json!({"waiting": {"reason": "RunContainerError", "message": message}});

        let wrong = Failure::WrongArch(message.into());
        assert_eq!(verdict(&container(state), &[]), Verdict::Fails(wrong));
    }

    #[test]
    fn a_full_cluster_is_waited_for_and_a_missing_kind_of_node_is_not() {
        let scheduled = |message: &str| {
            pod(json!({"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message
            }]}))
        };

        let full = verdict(&scheduled("0/1 nodes are available: 1 Insufficient cpu."), &[]);
        let none = verdict(&scheduled("1 node(s) didn't match Pod's node affinity/selector."), &[]);

        assert!(matches!(full, Verdict::Waits(text) if text.starts_with("Unschedulable: 0/1")));
        assert!(matches!(none, Verdict::Fails(Failure::NoSuchNode(_))));
    }

    #[test]
    fn a_refused_sysctl_is_told_from_an_eviction() {
        let sysctl = pod(json!({"phase": "Failed", "reason": "SysctlForbidden", "message": "no"}));
        let evicted = pod(json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}));

        assert_eq!(verdict(&sysctl, &[]), Verdict::Fails(Failure::Sysctl("no".into())));
        assert_eq!(verdict(&evicted, &[]), Verdict::Fails(Failure::Evicted("Evicted: disk".into())));
    }

    #[test]
    fn warnings_say_what_is_waited_for() {
        let event = warning("MountVolume.SetUp failed");
        let state = json!({"waiting": {"reason": "ContainerCreating"}});

        let waits = Verdict::Waits("ContainerCreating: MountVolume.SetUp failed".into());
        assert_eq!(verdict(&container(state), &[event]), waits);
    }
}
