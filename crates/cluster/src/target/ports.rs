//! Which port of a Service an `--expose` means.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::expose::Expose;
use crate::shadow::ShadowPort;

/// A port that comes to the laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// On the laptop.
    pub laptop: u16,
    /// On which the shadow listens, as the original pods do.
    pub pod: u16,
    /// Of the Service.
    pub service: u16,
    /// The target port's name, where the Service uses one.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

impl Exposed {
    /// Does it carry datagrams?
    pub fn is_udp(&self) -> bool {
        self.protocol == "UDP"
    }
}

/// The Service has no such port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchPort {
    /// Neither as a target port nor as one of its own.
    #[error("target port {port} not exists in service {service}")]
    Unknown {
        /// The port asked for.
        port: u16,
        /// The Service.
        service: String,
        /// What it has instead: its target ports, or its own where these are not known.
        has: Vec<u16>,
    },
    /// It has a name that no pod explains.
    #[error("target port '{name}' of service {service} is found in none of its pods")]
    Unnamed {
        /// The target port.
        name: String,
        /// The Service.
        service: String,
    },
}

/// Resolves every port asked for: by target ports first, then by ports of the Service. A port
/// without a protocol may be of any, TCP first.
pub(super) fn resolve(service: &Service, pods: &[Pod], asked: &[Expose]) -> Result<Vec<Exposed>, NoSuchPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    let mut ports: Vec<Port> = ports.iter().map(|port| Port::read(port, pods)).collect();
    ports.sort_by_key(|port| port.protocol != "TCP");
    asked.iter().map(|expose| choose(&ports, &service.name_any(), expose)).collect()
}

/// Every port of a Service as its callers and its pods know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedPort {
    /// Of the Service.
    pub service: u16,
    /// Of the pods.
    pub pod: u16,
    /// The target port's name, where the Service uses one.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// What is said to be spoken there: `appProtocol`, else the port's name.
    pub speaks: Option<String>,
}

/// All ports of the Service.
pub(super) fn all(service: &Service, pods: &[Pod]) -> Result<Vec<ServedPort>, NoSuchPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    let served = ports.iter().map(|port| {
        let speaks = port.app_protocol.clone().or_else(|| port.name.clone());
        let Port { service: own, target, name, protocol } = Port::read(port, pods);
        let unnamed =
            || NoSuchPort::Unnamed { name: name.clone().unwrap_or_default(), service: service.name_any() };
        let pod = target.ok_or_else(unnamed)?;
        Ok(ServedPort { service: own, pod, name, protocol, speaks })
    });
    served.collect()
}

fn choose(ports: &[Port], service: &str, asked: &Expose) -> Result<Exposed, NoSuchPort> {
    let fits = |port: &&Port| !asked.udp || port.protocol == "UDP";
    let by_target = ports.iter().filter(fits).find(|port| port.target == Some(asked.cluster));
    let by_port = || ports.iter().filter(fits).find(|port| port.service == asked.cluster);
    let unknown = || NoSuchPort::Unknown {
        port: asked.cluster,
        service: service.to_owned(),
        has: ports.iter().filter(fits).map(|port| port.target.unwrap_or(port.service)).collect(),
    };
    let port = by_target.or_else(by_port).ok_or_else(unknown)?;
    let unnamed =
        || NoSuchPort::Unnamed { name: port.name.clone().unwrap_or_default(), service: service.to_owned() };
    Ok(Exposed {
        laptop: asked.laptop,
        pod: port.target.ok_or_else(unnamed)?,
        service: port.service,
        name: port.name.clone(),
        protocol: port.protocol.clone(),
    })
}

/// A port of the Service with its target as a number, where that is known.
struct Port {
    service: u16,
    target: Option<u16>,
    name: Option<String>,
    protocol: String,
}

impl Port {
    fn read(port: &ServicePort, pods: &[Pod]) -> Port {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        let (target, name) = match &port.target_port {
            None | Some(IntOrString::Int(0)) => (number(port.port), None),
            Some(IntOrString::Int(target)) => (number(*target), None),
            Some(IntOrString::String(name)) => match name.parse() {
                Ok(target) => (Some(target), None),
                Err(_) => (named(name, &protocol, pods), Some(name.clone())),
            },
        };
        Port { service: number(port.port).unwrap_or_default(), target, name, protocol }
    }
}

/// The number which the first pod that knows the name gives it.
fn named(name: &str, protocol: &str, pods: &[Pod]) -> Option<u16> {
    let containers = pods.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .and_then(|port| number(port.container_port))
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// The ports of the shadow that takes the exposed ones' calls, each once.
pub fn shadow_ports(exposed: &[Exposed]) -> Vec<ShadowPort> {
    let mut ports = BTreeMap::new();
    for port in exposed {
        let name = port.name.clone().unwrap_or_else(|| kt_name(port));
        let port = ShadowPort { name, number: port.pod, protocol: port.protocol.clone() };
        ports.entry((port.number, port.protocol.clone())).or_insert(port);
    }
    let mut ports: Vec<ShadowPort> = ports.into_values().collect();
    distinguish(&mut ports);
    ports
}

/// Gives ports names of which no two are alike: a container may not have them, and those of several
/// containers come together in one of ours.
pub fn distinguish(ports: &mut [ShadowPort]) {
    let mut seen = BTreeSet::new();
    for port in ports {
        if !seen.insert(port.name.clone()) {
            port.name = format!("kt-{}-{}", port.number, port.protocol.to_ascii_lowercase());
            seen.insert(port.name.clone());
        }
    }
}

fn kt_name(port: &Exposed) -> String {
    match port.protocol.as_str() {
        "TCP" => format!("kt-{}", port.pod),
        other => format!("kt-{}-{}", port.pod, other.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "echo"},
            "spec": {"ports": [
                {"port": 80, "targetPort": "http"},
                {"port": 7000, "targetPort": 7100},
                {"port": 53, "protocol": "UDP"},
                {"port": 8080, "targetPort": 9090},
                {"port": 99, "targetPort": "unknown"}
            ]}
        }))
        .unwrap()
    }

    fn pods() -> Vec<Pod> {
        let pod = json!({"metadata": {"name": "echo-1"}, "spec": {"containers": [
            {"name": "echo", "ports": [{"name": "http", "containerPort": 8080}]}
        ]}});
        vec![serde_json::from_value(pod).unwrap()]
    }

    fn resolved(text: &str) -> Result<Vec<Exposed>, NoSuchPort> {
        resolve(&service(), &pods(), &Expose::parse_list(text).unwrap())
    }

    fn ports(text: &str) -> Vec<(u16, u16, u16)> {
        let found = resolved(text).unwrap();
        found.iter().map(|port| (port.laptop, port.pod, port.service)).collect()
    }

    #[test]
    fn target_ports_go_before_ports_of_the_service() {
        assert_eq!(ports("8080"), [(8080, 8080, 80)]);
        assert_eq!(ports("1:9090"), [(1, 9090, 8080)]);
        assert_eq!(ports("7000"), [(7000, 7100, 7000)]);
        assert_eq!(ports("7001:7100"), [(7001, 7100, 7000)]);
    }

    #[test]
    fn a_named_target_port_is_explained_by_a_pod() {
        let port = resolved("8080:80").unwrap().remove(0);

        assert_eq!((port.pod, port.name.as_deref()), (8080, Some("http")));
    }

    #[test]
    fn the_protocol_is_the_services() {
        assert_eq!(resolved("53").unwrap()[0].protocol, "UDP");
        assert_eq!(resolved("53/udp").unwrap()[0].protocol, "UDP");
        assert!(resolved("80/udp").is_err());
    }

    #[test]
    fn a_port_without_a_target_has_itself() {
        assert_eq!(ports("5353:53"), [(5353, 53, 53)]);
    }

    #[test]
    fn an_unknown_port_is_named_with_its_service() {
        let error = resolved("8080:81").unwrap_err();

        assert_eq!(error.to_string(), "target port 81 not exists in service echo");
    }

    #[test]
    fn a_name_that_no_pod_explains_is_named() {
        let error = resolved("99").unwrap_err();

        let wanted = "target port 'unknown' of service echo is found in none of its pods";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn ports_named_alike_get_names_of_their_own() {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": "dns"}, "spec": {"ports": [
                {"name": "a", "port": 53, "targetPort": "dns"},
                {"name": "b", "port": 53, "targetPort": "dns", "protocol": "UDP"}
            ]}}))
            .unwrap();
        let pod = json!({"metadata": {"name": "dns-1"}, "spec": {"containers": [
            {"name": "udp", "ports": [{"name": "dns", "containerPort": 5353, "protocol": "UDP"}]},
            {"name": "tcp", "ports": [{"name": "dns", "containerPort": 5353}]}
        ]}});
        let pods = [serde_json::from_value(pod).unwrap()];
        let exposed = resolve(&service, &pods, &Expose::parse_list("53,53/udp").unwrap()).unwrap();

        let named: Vec<_> =
            shadow_ports(&exposed).into_iter().map(|port| (port.name, port.protocol)).collect();

        assert_eq!(named, [("dns".into(), "TCP".into()), ("kt-5353-udp".into(), "UDP".into())]);
    }

    #[test]
    fn a_shadow_listens_on_each_port_once() {
        let exposed = resolved("8080,9000:80,1:7100,53/udp").unwrap();

        let ports = shadow_ports(&exposed);

        let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["kt-53-udp", "kt-7100", "http"]);
    }
}
