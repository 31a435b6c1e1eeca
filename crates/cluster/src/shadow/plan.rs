//! From a wanted shadow to manifests. Pure: everything that could differ comes in as a value.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMap, ConfigMapVolumeSource, Container, ContainerPort,
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, EnvVar, LocalObjectReference,
    NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector, Pod, PodSecurityContext,
    PodSpec, PodTemplateSpec, PreferredSchedulingTerm, ResourceRequirements, SeccompProfile, SecurityContext,
    Sysctl, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;

use super::borrow::Image;
use super::failure::Error;
use super::refusal::Adjustment;
use super::wanted::{FOLLOWED, KEPT, Quota, ShadowWanted};
use crate::marks::{self, Role};

/// The container's name in every helper pod of every client.
const CONTAINER: &str = "standalone";

/// Where a carried program lies, and the volume it comes from.
const FOLDER: &str = "/kt";
const VOLUME: &str = "program";
/// Where older clients look for the router.
const ROUTER: &str = "/usr/sbin/router";
/// The volume of an annotation that is followed.
const FOLLOWED_VOLUME: &str = "followed";
/// The volume of what is kept.
const KEPT_VOLUME: &str = "kept";

/// Nobody in particular; the user of distroless images, and of ours.
const USER: i64 = 65532;

/// How long (seconds) a shadow may take to end: callers who wait for a laptop that is away are then
/// served by the original pods. It ends at once when there are none.
const GRACE: i64 = 5;
/// The same for a router: callers come until another one stands, and requests under way come to their
/// end.
const ROUTER_GRACE: i64 = 30;

/// The least that any program of ours needs, said only where a quota demands a number.
const LEAST: (&str, &str) = ("50m", "64Mi");

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// amd64.
    X86_64,
    /// arm64.
    Aarch64,
}

impl Arch {
    /// Kubernetes' word for it.
    pub fn word(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Reads Kubernetes' word.
    pub fn parse(word: &str) -> Option<Arch> {
        [Arch::X86_64, Arch::Aarch64].into_iter().find(|arch| arch.word() == word)
    }

    /// The other one.
    pub fn other(self) -> Arch {
        match self {
            Arch::X86_64 => Arch::Aarch64,
            Arch::Aarch64 => Arch::X86_64,
        }
    }
}

/// What the cluster did not want so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjustments(Vec<Adjustment>);

impl Adjustments {
    /// All of them, in their order.
    pub fn list(&self) -> Vec<Adjustment> {
        self.0.clone()
    }

    /// Was something of this kind done before?
    pub(super) fn has(&self, kind: &Adjustment) -> bool {
        self.0.iter().any(|done| std::mem::discriminant(done) == std::mem::discriminant(kind))
    }

    fn sysctls(&self) -> bool {
        !self.0.iter().any(|done| matches!(done, Adjustment::NoSysctls { .. }))
    }

    fn limits(&self) -> bool {
        self.0.iter().any(|done| matches!(done, Adjustment::Limits { .. }))
    }

    fn user(&self) -> bool {
        !self.0.iter().any(|done| matches!(done, Adjustment::NoUser { .. }))
    }
}

/// What a plan needs to know of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) namespace: String,
    /// Cluster time, unix seconds.
    pub(super) now: i64,
    /// The value of the label which a redirected Service selects on.
    pub(super) mark: String,
    pub(super) image: Image,
    /// The processor of the carried program; nothing when the image has its own.
    pub(super) arch: Option<Arch>,
    pub(super) adjustments: Adjustments,
}

impl Place {
    /// Takes a refusal into account from now on.
    pub(super) fn adjust(&mut self, adjustment: &Adjustment) {
        if let Adjustment::OtherArch { arch, .. } = adjustment {
            self.arch = Some(*arch);
        }
        self.adjustments.0.push(adjustment.clone());
    }
}

/// The pod.
pub(super) fn pod(wanted: &ShadowWanted, place: &Place) -> Pod {
    let metadata = ObjectMeta {
        name: Some(wanted.name.clone()),
        namespace: Some(place.namespace.clone()),
        labels: Some(labels(wanted, place)),
        annotations: Some(annotations(wanted, place)),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: Some(spec(wanted, place)), status: None }
}

/// The Deployment around the pod. What says that somebody lives is written on the pod once it runs: one
/// that Kubernetes makes later must not look as if nobody did.
pub(super) fn deployment(wanted: &ShadowWanted, place: &Place) -> Deployment {
    let Pod { metadata, spec, .. } = pod(wanted, place);
    let mut template = ObjectMeta { labels: metadata.labels.clone(), ..ObjectMeta::default() };
    template.annotations.clone_from(&metadata.annotations);
    template.labels.as_mut().map(|labels| labels.remove(marks::CONTROL_BY));
    template.annotations.as_mut().map(|annotations| annotations.remove(marks::HEARTBEAT));
    let selector = LabelSelector { match_labels: template.labels.clone(), ..LabelSelector::default() };
    let spec = DeploymentSpec {
        replicas: Some(1),
        selector,
        strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
        template: PodTemplateSpec { metadata: Some(template), spec },
        ..DeploymentSpec::default()
    };
    Deployment { metadata, spec: Some(spec), status: None }
}

/// The config map with the program; nothing when the image has it.
pub(super) fn config_map(wanted: &ShadowWanted, place: &Place) -> Result<Option<ConfigMap>, Error> {
    let Some(arch) = place.arch else { return Ok(None) };
    let program = match arch {
        Arch::X86_64 => wanted.programs.x86_64,
        Arch::Aarch64 => wanted.programs.aarch64,
    };
    if program.is_empty() {
        return Err(Error::NoProgram { arch: arch.word() });
    }
    let metadata = ObjectMeta {
        name: Some(wanted.name.clone()),
        namespace: Some(place.namespace.clone()),
        labels: Some(labels(wanted, place)),
        annotations: Some(words([
            (marks::HEARTBEAT, place.now.to_string()),
            (marks::USER, wanted.user.clone()),
        ])),
        ..ObjectMeta::default()
    };
    let data = BTreeMap::from([(wanted.program.to_owned(), ByteString(program.to_vec()))]);
    Ok(Some(ConfigMap { metadata, binary_data: Some(data), ..ConfigMap::default() }))
}

/// The labels by which a Service selects the shadow and nothing else.
pub(super) fn selected(wanted: &ShadowWanted, place: &Place) -> BTreeMap<String, String> {
    let mut selected =
        words([(marks::ROLE, wanted.role.label().to_owned()), (marks::TARGET, place.mark.clone())]);
    selected.extend(wanted.labels.clone());
    selected
}

fn labels(wanted: &ShadowWanted, place: &Place) -> BTreeMap<String, String> {
    let mut labels = selected(wanted, place);
    if wanted.role == Role::Connect && !wanted.deployment {
        labels.remove(marks::TARGET);
    }
    labels.entry(marks::CONTROL_BY.to_owned()).or_insert_with(|| marks::KT.to_owned());
    labels
}

fn annotations(wanted: &ShadowWanted, place: &Place) -> BTreeMap<String, String> {
    let mut annotations = words([
        (marks::HEARTBEAT, place.now.to_string()),
        (marks::REF_COUNT, "1".to_owned()),
        (marks::USER, wanted.user.clone()),
        (marks::HOST, wanted.host.clone()),
        (marks::CLIENT_VERSION, wanted.client_version.clone()),
        (marks::CONFIG, wanted.config.to_string()),
        (marks::EXPOSE, wanted.expose.clone()),
        (marks::MODE, wanted.mode.clone()),
        (marks::TARGET_SERVICE, wanted.target_service.clone()),
    ]);
    annotations.retain(|_, value| !value.is_empty());
    annotations.extend(wanted.annotations.clone());
    annotations
}

fn words<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn spec(wanted: &ShadowWanted, place: &Place) -> PodSpec {
    PodSpec {
        containers: vec![container(wanted, place)],
        volumes: volumes(wanted, place),
        security_context: Some(pod_security(wanted, place)),
        service_account_name: wanted.service_account.clone(),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(grace(wanted.role)),
        image_pull_secrets: pull_secrets(wanted, &place.image),
        node_selector: node_selector(wanted, place.arch),
        affinity: affinity(&place.image),
        ..PodSpec::default()
    }
}

fn container(wanted: &ShadowWanted, place: &Place) -> Container {
    let carried = place.arch.is_some();
    let pull = if wanted.force_update && !carried { "Always" } else { "IfNotPresent" };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(place.image.name().to_owned()),
        image_pull_policy: Some(pull.to_owned()),
        command: carried.then(|| vec![format!("{FOLDER}/{}", wanted.program)]),
        args: (!wanted.args.is_empty()).then(|| wanted.args.clone()),
        env: env(wanted),
        ports: ports(wanted),
        // The last words of a program that crashes become the pod's message.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        resources: resources(wanted.quota.as_ref(), &place.adjustments),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: mounts(wanted, place),
        ..Container::default()
    }
}

fn grace(role: Role) -> i64 {
    if role == Role::Router { ROUTER_GRACE } else { GRACE }
}

/// The carried program, the annotation that is followed, and what is kept.
fn volumes(wanted: &ShadowWanted, place: &Place) -> Option<Vec<Volume>> {
    let program = place.arch.map(|_| {
        let source = ConfigMapVolumeSource {
            name: wanted.name.clone(),
            default_mode: Some(0o555),
            ..ConfigMapVolumeSource::default()
        };
        Volume { name: VOLUME.to_owned(), config_map: Some(source), ..Volume::default() }
    });
    let followed = wanted.follows.map(|annotation| {
        let field = ObjectFieldSelector {
            field_path: format!("metadata.annotations['{annotation}']"),
            ..ObjectFieldSelector::default()
        };
        let file = DownwardAPIVolumeFile {
            path: followed().1.to_owned(),
            field_ref: Some(field),
            ..DownwardAPIVolumeFile::default()
        };
        let source = DownwardAPIVolumeSource { items: Some(vec![file]), ..Default::default() };
        Volume { name: FOLLOWED_VOLUME.to_owned(), downward_api: Some(source), ..Volume::default() }
    });
    let kept = wanted.keeps.then(|| Volume {
        name: KEPT_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    });
    let volumes: Vec<Volume> = [program, followed, kept].into_iter().flatten().collect();
    (!volumes.is_empty()).then_some(volumes)
}

fn mounts(wanted: &ShadowWanted, place: &Place) -> Option<Vec<VolumeMount>> {
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let program = place.arch.map(|_| mount(VOLUME, FOLDER));
    let to_older = place
        .arch
        .filter(|_| wanted.role == Role::Router)
        .map(|_| VolumeMount { sub_path: Some(wanted.program.to_owned()), ..mount(VOLUME, ROUTER) });
    let followed = wanted.follows.map(|_| mount(FOLLOWED_VOLUME, followed().0));
    let kept = wanted.keeps.then(|| VolumeMount { read_only: None, ..mount(KEPT_VOLUME, KEPT) });
    let mounts: Vec<VolumeMount> = [program, to_older, followed, kept].into_iter().flatten().collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// Folder and name of the file.
fn followed() -> (&'static str, &'static str) {
    FOLLOWED.rsplit_once('/').unwrap_or_default()
}

fn env(wanted: &ShadowWanted) -> Option<Vec<EnvVar>> {
    let variable = |(name, value): &(String, String)| EnvVar {
        name: name.clone(),
        value: Some(value.clone()),
        ..EnvVar::default()
    };
    (!wanted.env.is_empty()).then(|| wanted.env.iter().map(variable).collect())
}

fn ports(wanted: &ShadowWanted) -> Option<Vec<ContainerPort>> {
    let ports = wanted.ports.iter().map(|port| ContainerPort {
        name: Some(port.name.clone()),
        container_port: i32::from(port.number),
        protocol: Some(port.protocol.clone()),
        ..ContainerPort::default()
    });
    (!wanted.ports.is_empty()).then(|| ports.collect())
}

fn resources(quota: Option<&Quota>, done: &Adjustments) -> Option<ResourceRequirements> {
    let least = Quota { cpu: Some(LEAST.0.to_owned()), memory: Some(LEAST.1.to_owned()) };
    let asked = quota.cloned().unwrap_or_default();
    let quota = if done.limits() {
        Quota { cpu: asked.cpu.or(least.cpu), memory: asked.memory.or(least.memory) }
    } else {
        asked
    };
    let numbers = [("cpu", quota.cpu), ("memory", quota.memory)].into_iter();
    let numbers: BTreeMap<String, Quantity> =
        numbers.filter_map(|(name, number)| Some((name.to_owned(), Quantity(number?)))).collect();
    (!numbers.is_empty()).then(|| ResourceRequirements {
        limits: Some(numbers.clone()),
        requests: Some(numbers),
        claims: None,
    })
}

fn pod_security(wanted: &ShadowWanted, place: &Place) -> PodSecurityContext {
    let user = (place.arch.is_some() && place.adjustments.user()).then_some(USER);
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: user,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        sysctls: sysctls(wanted, &place.adjustments),
        ..PodSecurityContext::default()
    }
}

fn sysctls(wanted: &ShadowWanted, done: &Adjustments) -> Option<Vec<Sysctl>> {
    let sysctl = |name: &str, value: &str| Sysctl { name: name.into(), value: value.into() };
    let low = wanted.low_port().then(|| sysctl("net.ipv4.ip_unprivileged_port_start", "0"));
    let ping = wanted.ping.then(|| sysctl("net.ipv4.ping_group_range", "0 2147483647"));
    let all: Vec<Sysctl> = low.into_iter().chain(ping).collect();
    (done.sysctls() && !all.is_empty()).then_some(all)
}

fn pull_secrets(wanted: &ShadowWanted, image: &Image) -> Option<Vec<LocalObjectReference>> {
    let borrowed: &[String] = match image {
        Image::Given(_) => &[],
        Image::Borrowed { pull_secrets, .. } => pull_secrets,
    };
    let names = wanted.pull_secret.iter().chain(borrowed);
    let names: std::collections::BTreeSet<&String> = names.collect();
    let reference = |name: &String| LocalObjectReference { name: name.clone() };
    (!names.is_empty()).then(|| names.into_iter().map(reference).collect())
}

/// A carried program runs on one kind of node only; what the user says goes before.
fn node_selector(wanted: &ShadowWanted, arch: Option<Arch>) -> Option<BTreeMap<String, String>> {
    let mut selector = match arch {
        Some(arch) => {
            words([("kubernetes.io/arch", arch.word().to_owned()), ("kubernetes.io/os", "linux".to_owned())])
        }
        None => BTreeMap::new(),
    };
    selector.extend(wanted.node_selector.clone());
    (!selector.is_empty()).then_some(selector)
}

/// The node which has the borrowed image is preferred: nothing needs to be pulled there.
fn affinity(image: &Image) -> Option<Affinity> {
    let Image::Borrowed { node: Some(node), .. } = image else { return None };
    let this_node = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.clone()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![this_node]), match_expressions: None };
    let preferred = vec![PreferredSchedulingTerm { weight: 100, preference: term }];
    let node_affinity = NodeAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(preferred),
        ..NodeAffinity::default()
    };
    Some(Affinity { node_affinity: Some(node_affinity), ..Affinity::default() })
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
