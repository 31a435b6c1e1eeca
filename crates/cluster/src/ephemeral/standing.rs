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
    Taken(String),
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
            None => Standing::Taken(variable(container, USER).unwrap_or(UNKNOWN).to_owned()),
        }
    }

    /// Fails when the pod can not be exchanged by this user.
    pub fn check(&self, user: &str, host: &str) -> Result<(), Error> {
        if self.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
            return Err(Error::NodeNetwork(self.name.clone()));
        }
        if let Some(sidecar) = sidecar(&self.pod) {
            return Err(Error::Sidecar { pod: self.name.clone(), sidecar });
        }
        match self.standing(user, host) {
            Standing::Taken(user) => Err(Error::Taken { pod: self.name.clone(), user }),
            Standing::Free | Standing::Ours(_) => Ok(()),
        }
    }

    /// Who exchanges this pod in this mode, if anybody does.
    pub fn exchanger(&self) -> Option<&str> {
        exchanger(&self.pod)
    }
}

/// Who exchanges a pod in this mode, if anybody does.
pub(crate) fn exchanger(pod: &Pod) -> Option<&str> {
    running(pod).map(|container| variable(container, USER).unwrap_or(UNKNOWN))
}

/// The proxy of a service mesh.
fn sidecar(pod: &Pod) -> Option<String> {
    containers(pod).map(|container| &container.name).find(|name| SIDECARS.contains(&name.as_str())).cloned()
}

/// A container of some `ktctl` that runs.
fn running(pod: &Pod) -> Option<&EphemeralContainer> {
    let mut all = pod.spec.as_ref()?.ephemeral_containers.iter().flatten();
    all.find(|container| {
        container.name.starts_with(CONTAINER)
            && state(pod, &container.name).is_some_and(|state| state.running.is_some())
    })
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
        let pod = pod(json!({"running": {}}), false);

        let ours = Added {
            pod: "echo-1".into(),
            uid: "u".into(),
            container: "kt-exchange-abcde".into(),
            port: 20_001,
        };
        assert_eq!(pod.standing("ann", "desk"), Standing::Ours(ours));
        assert_eq!(pod.standing("ann", "other"), Standing::Taken("ann".into()));
        assert_eq!(pod.standing("bob", "desk"), Standing::Taken("ann".into()));
        assert_eq!(
            pod.check("bob", "desk").unwrap_err().to_string(),
            "another user (ann) is exchanging pod 'echo-1', cannot apply exchange"
        );
        assert_eq!(pod.exchanger(), Some("ann"));
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

        let refused = meshed.check("ann", "desk").unwrap_err().to_string();

        assert_eq!(
            refused,
            "the sidecar istio-proxy of pod 'echo-1' takes its callers, they can not be led away before it"
        );
    }

    #[test]
    fn a_pod_in_the_network_of_its_node_is_refused() {
        let refused = pod(json!({"terminated": {"exitCode": 0}}), true).check("ann", "desk").unwrap_err();

        assert!(refused.to_string().contains("uses the network of its node"), "{refused}");
    }
}
