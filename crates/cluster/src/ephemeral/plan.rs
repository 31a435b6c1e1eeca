//! What is added to a pod. Pure, but for random names.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Added, Wanted};
use crate::names::{random, random_letters};

/// Name of the container; others of one pod have more letters.
pub(super) const CONTAINER: &str = "kt-exchange";
/// Who the container is for.
pub(super) const USER: &str = "KT_USER";
pub(super) const HOST: &str = "KT_HOST";
/// Ports for laptops, above those that programs like and below those that the system gives to callers.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// The container as it is called in this pod, and the patch which adds it.
pub(super) fn patch(pod: &Pod, wanted: &Wanted) -> (Added, Value) {
    let added = Added {
        pod: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        container: container_name(pod),
        port: free_port(pod, wanted),
    };
    let container = container(pod, wanted, &added);
    (added, json!({"spec": {"ephemeralContainers": [container]}}))
}

/// User 0, because capabilities that are added to a container are lost by anybody else.
fn container(pod: &Pod, wanted: &Wanted, added: &Added) -> Value {
    let pull = if wanted.force_update { "Always" } else { "IfNotPresent" };
    json!({
        "name": added.container,
        "image": wanted.image,
        "imagePullPolicy": pull,
        "args": arguments(pod, added.port),
        "env": [{"name": USER, "value": wanted.user}, {"name": HOST, "value": wanted.host}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// Where the node asks the pod's own program how it is, its calls are left to that. All such ports are
/// told, as the container may be used again for others than those that are wanted now.
fn arguments(pod: &Pod, port: u16) -> Vec<String> {
    let mut arguments = vec!["--port".to_owned(), port.to_string(), "--redirect".to_owned()];
    let probed: Vec<String> = probed_ports(pod).iter().map(ToString::to_string).collect();
    if !probed.is_empty() {
        arguments.push(format!("--node={}", node_addresses(pod).join(",")));
        arguments.push(format!("--probed={}", probed.join(",")));
    }
    arguments
}

fn node_addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let several = status.host_ips.iter().flatten().map(|host| host.ip.clone());
    let addresses: BTreeSet<String> = several.chain(status.host_ip.clone()).collect();
    addresses.into_iter().filter(|address| address.parse::<std::net::IpAddr>().is_ok()).collect()
}

fn container_name(pod: &Pod) -> String {
    match all_names(pod).contains(CONTAINER) {
        false => CONTAINER.to_owned(),
        true => format!("{CONTAINER}-{}", random_letters(5)),
    }
}

fn all_names(pod: &Pod) -> BTreeSet<String> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| container.name.clone());
    containers.map(|container| container.name.clone()).chain(ephemeral).collect()
}

fn free_port(pod: &Pod, wanted: &Wanted) -> u16 {
    let declared = containers(pod).flat_map(|container| container.ports.iter().flatten());
    let mut taken: BTreeSet<u16> =
        declared.filter_map(|port| u16::try_from(port.container_port).ok()).collect();
    taken.extend(wanted.ports.iter().map(|port| port.number));
    loop {
        let port = PORTS.start + (random() % PORTS.len() as u64) as u16;
        if !taken.contains(&port) {
            return port;
        }
    }
}

/// Those which live as long as the pod, or begin before it.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()))
}

/// The ports at which the node calls the pod.
fn probed_ports(pod: &Pod) -> BTreeSet<u16> {
    containers(pod).flat_map(probed_of).collect()
}

fn probed_of(container: &Container) -> Vec<u16> {
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let asked = probes.into_iter().flatten().filter_map(probed_port);
    let last = container.lifecycle.iter().filter_map(|cycle| cycle.pre_stop.as_ref()?.http_get.as_ref());
    let last = last.map(|get| get.port.clone());
    asked.chain(last).filter_map(|port| number(&port, container)).collect()
}

fn probed_port(probe: &Probe) -> Option<IntOrString> {
    let http = probe.http_get.as_ref().map(|get| get.port.clone());
    let tcp = probe.tcp_socket.as_ref().map(|socket| socket.port.clone());
    let grpc = probe.grpc.as_ref().map(|grpc| IntOrString::Int(grpc.port));
    http.or(tcp).or(grpc)
}

fn number(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports.find(|port| port.name.as_ref() == Some(name))?.container_port
        }
    };
    u16::try_from(number).ok()
}

#[cfg(test)]
mod tests;
