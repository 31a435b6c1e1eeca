//! Whether a pod is exchanged already, and by whom. Pure.

use k8s_openapi::api::core::v1::{ContainerState, EphemeralContainer, Pod};

use super::plan::{CONTAINER, HOST, USER, containers};
use super::{Added, Error, Running};

/// Whoever has not said his name.
const UNKNOWN: &str = "unknown user";
/// Proxies whose packet filter takes all that comes to their pod.
const SIDECARS: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// Who is in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody.
    Free,
    /// A container of the same user and machine; whether its run lives it knows by itself.
    Ours(Added),
    /// Somebody else.
    Taken(Exchanger),
}

/// Who leads the callers of a pod away, as far as the container tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Login name.
    pub user: String,
    /// His machine.
    pub host: Option<String>,
    /// Since when (unix seconds).
    pub since: Option<i64>,
}

impl Exchanger {
    /// In words, at this time.
    pub fn told(&self, now: i64) -> String {
        let host = self.host.iter().map(|host| format!("@{host}"));
        let since = self.since.iter().map(|since| format!(" for {} s", now.saturating_sub(*since).max(0)));
        let user = [self.user.clone()].into_iter();
        user.chain(host).chain([", in mode ephemeral".to_owned()]).chain(since).collect()
    }

    /// As an error of whoever came later.
    pub fn refuse(&self, what: String, now: i64, deed: &'static str) -> Error {
        Error::Taken { what, user: self.user.clone(), by: self.told(now), deed }
    }
}

impl Running {
    /// Who exchanges this pod in this mode.
    pub fn standing(&self, user: &str, host: &str) -> Standing {
        let Some(container) = running(&self.pod) else { return Standing::Free };
        let is_ours = variable(container, USER) == Some(user) && variable(container, HOST) == Some(host);
        match port(container).filter(|_| is_ours) {
            Some(port) => Standing::Ours(Added {
                pod: self.name.clone(),
                uid: self.uid.clone(),
                container: container.name.clone(),
                port,
            }),
            None => Standing::Taken(of_container(&self.pod, container)),
        }
    }

    /// Fails when the pod can not be exchanged by this user, now.
    pub fn check(&self, user: &str, host: &str, now: i64) -> Result<(), Error> {
        if self.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return Err(Error::NodeNetwork(self.name.clone()));
        }
        if let Some(sidecar) = sidecar(&self.pod) {
            return Err(Error::Sidecar { pod: self.name.clone(), sidecar });
        }
        match self.standing(user, host) {
            Standing::Taken(by) => Err(by.refuse(format!("pod '{}'", self.name), now, "exchange")),
            Standing::Free | Standing::Ours(_) => Ok(()),
        }
    }

    /// Who exchanges this pod in this mode, if anybody does.
    pub fn exchanger(&self) -> Option<Exchanger> {
        exchanger(&self.pod)
    }

    /// Who does so by another container than `ours`: of two who come at the same time both find it free.
    pub fn rival(&self, ours: &Added) -> Option<Exchanger> {
        let is_other = |container: &&EphemeralContainer| {
            let state = state(&self.pod, &container.name);
            container.name != ours.container && state.is_none_or(|state| state.running.is_some())
        };
        all_of_kt(&self.pod).find(is_other).map(|other| of_container(&self.pod, other))
    }
}

/// Who exchanges a pod in this mode, if anybody does.
pub(crate) fn exchanger(pod: &Pod) -> Option<Exchanger> {
    running(pod).map(|container| of_container(pod, container))
}

fn of_container(pod: &Pod, container: &EphemeralContainer) -> Exchanger {
    let running = state(pod, &container.name).and_then(|state| state.running);
    let since = running.and_then(|running| running.started_at).map(|since| since.0.as_second());
    let host = variable(container, HOST).map(ToOwned::to_owned);
    Exchanger { user: variable(container, USER).unwrap_or(UNKNOWN).to_owned(), host, since }
}

/// The proxy of a service mesh.
fn sidecar(pod: &Pod) -> Option<String> {
    containers(pod).map(|container| &container.name).find(|name| SIDECARS.contains(&name.as_str())).cloned()
}

/// A container of some `ktctl` that runs.
fn running(pod: &Pod) -> Option<&EphemeralContainer> {
    let runs = |container: &&EphemeralContainer| {
        state(pod, &container.name).is_some_and(|state| state.running.is_some())
    };
    all_of_kt(pod).find(runs)
}

fn all_of_kt(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    let all = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    all.filter(|container| container.name.starts_with(CONTAINER))
}

/// What a container of ours is doing; nothing before the node has said it.
pub(super) fn state(pod: &Pod, container: &str) -> Option<ContainerState> {
    let statuses = pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)?.state.clone()
}

fn variable<'a>(container: &'a EphemeralContainer, name: &str) -> Option<&'a str> {
    let variable = container.env.iter().flatten().find(|variable| variable.name == name)?;
    variable.value.as_deref()
}

fn port(container: &EphemeralContainer) -> Option<u16> {
    let mut arguments = container.args.iter().flatten().skip_while(|argument| *argument != "--port");
    arguments.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BEGUN: i64 = 3600;

    fn pod(state: Value, host_network: bool) -> Running {
        let pod = json!({
            "metadata": {"name": "echo-1", "uid": "u"},
            "spec": {"hostNetwork": host_network, "containers": [{"name": "echo"}], "ephemeralContainers": [
                {"name": "debugger"},
                {"name": "kt-exchange-abcde", "args": ["--port", "20001", "--redirect"],
                    "env": [{"name": "KT_USER", "value": "ann"}, {"name": "KT_HOST", "value": "desk"}]},
            ]},
            "status": {"phase": "Running", "podIP": "10.0.0.2", "ephemeralContainerStatuses": [
                {"name": "debugger", "state": {"running": {}}, "image": "", "imageID": "", "ready": true, "restartCount": 0},
                {"name": "kt-exchange-abcde", "state": state, "image": "", "imageID": "", "ready": true, "restartCount": 0},
            ]},
        });
        Running::read(serde_json::from_value(pod).unwrap()).unwrap()
    }

    #[test]
    fn another_user_is_named_and_the_same_one_finds_his_container() {
        let pod = pod(json!({"running": {"startedAt": "1970-01-01T01:00:00Z"}}), false);

        let ours = Added {
            pod: "echo-1".into(),
            uid: "u".into(),
            container: "kt-exchange-abcde".into(),
            port: 20_001,
        };
        assert_eq!(pod.standing("ann", "desk"), Standing::Ours(ours));
        let ann = Exchanger { user: "ann".into(), host: Some("desk".into()), since: Some(BEGUN) };
        assert_eq!(pod.standing("ann", "other"), Standing::Taken(ann.clone()));
        assert_eq!(pod.standing("bob", "desk"), Standing::Taken(ann.clone()));
        assert_eq!(
            pod.check("bob", "desk", BEGUN + 12).unwrap_err().to_string(),
            "pod 'echo-1' is already exchanging by another user (ann@desk, in mode ephemeral for 12 s), cannot apply exchange"
        );
        assert_eq!(pod.exchanger(), Some(ann));
    }

    #[test]
    fn of_two_who_came_at_the_same_time_the_other_one_is_the_rival() {
        let added = |container: &str| Added {
            pod: "echo-1".into(),
            uid: "u".into(),
            container: container.into(),
            port: 20_002,
        };
        let not_reported = pod(json!(null), false);
        let ended = pod(json!({"terminated": {"exitCode": 0}}), false);
        let user = |rival: Option<Exchanger>| rival.map(|rival| rival.user);

        assert_eq!(user(not_reported.rival(&added("kt-exchange"))), Some("ann".into()));
        assert_eq!(user(not_reported.rival(&added("kt-exchange-abcde"))), None);
        assert_eq!(user(ended.rival(&added("kt-exchange"))), None);
    }

    #[test]
    fn what_has_ended_or_never_began_is_no_obstacle() {
        for state in [json!({"terminated": {"exitCode": 0}}), json!({"waiting": {"reason": "ErrImagePull"}})]
        {
            assert_eq!(pod(state, false).standing("bob", "desk"), Standing::Free);
        }
    }

    #[test]
    fn a_pod_with_the_proxy_of_a_service_mesh_is_refused() {
        let mut meshed = pod(json!({"terminated": {"exitCode": 0}}), false);
        meshed.pod.spec.as_mut().unwrap().containers[0].name = "istio-proxy".into();

        let refused = meshed.check("ann", "desk", 0).unwrap_err().to_string();

        assert_eq!(
            refused,
            "the sidecar istio-proxy of pod 'echo-1' takes its callers, they can not be led away before it"
        );
    }

    #[test]
    fn a_pod_in_the_network_of_its_node_is_refused() {
        let pod = pod(json!({"terminated": {"exitCode": 0}}), true);

        let refused = pod.check("ann", "desk", 0).unwrap_err();

        assert!(refused.to_string().contains("uses the network of its node"), "{refused}");
    }
}
