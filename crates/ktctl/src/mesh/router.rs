//! Joining and leaving the router of a meshed service.
//!
//! What stands in the annotation of the router's pod counts. It is written first; the router itself
//! is told over a link, so that nobody has to wait until the kubelet has handed it the annotation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::marks::{self, Config, Role};
use kt_cluster::mesh::Router;
use kt_cluster::names;
use kt_cluster::redirect::Restored;
use kt_cluster::shadow::{FOLLOWED, KEPT, Progress, ShadowPort, ShadowWanted};
use kt_cluster::target::{ServedPort, Target, distinguish};
use kt_wire::rules::{Port, Route, RuleSet, Speaks, may_both_match};
use kt_wire::{Open, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{older, stand_in};
use crate::cli::Global;
use crate::inbound;
use crate::shadow;
use crate::uplink;

/// Where the router waits for links.
pub(super) const PORT: u16 = 17617;
/// How often a change is tried again when others change the same.
pub(super) const ROUNDS: usize = 10;
/// How long the router may take to tell that it has changed.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// Makes the router of a service where there is none; the caller has locked the service.
pub(super) async fn ensure(
    cluster: &Cluster,
    global: &Global,
    image: Option<&str>,
    target: &Target,
) -> anyhow::Result<Router> {
    // Whoever made it was killed.
    cluster.remove_stand_in_router(&target.service).await?;
    if let Some(router) = cluster.find_router(&target.service).await? {
        info!("Router pod already exists");
        return Ok(router);
    }
    // A run that was killed before it made the pod has left its config map.
    cluster.remove_router(&target.service).await?;
    let nobody = (first_set(target)?.to_json(), 0);
    make(cluster, global, image, target, &names::router(&target.service), nobody).await?;
    info!("Router pod {} created", names::router(&target.service));
    cluster.find_router(&target.service).await?.context("the router pod is gone again")
}

/// Makes the pod of a router that knows these routes, of so many users.
pub(super) async fn make(
    cluster: &Cluster,
    global: &Global,
    image: Option<&str>,
    target: &Target,
    name: &str,
    (routes, count): (String, usize),
) -> anyhow::Result<()> {
    let container_ports = container_ports(&target.ports()?);
    inbound::warn_of_names(target, &container_ports);
    let mut wanted = ShadowWanted {
        name: name.to_owned(),
        image: image.map(str::to_owned),
        programs: shadow::ROUTER,
        program: "router",
        follows: Some(marks::ROUTES),
        keeps: true,
        args: arguments(),
        config: Config::of_service(&target.service),
        ports: container_ports,
        ..shadow::wanted(global, Role::Router, &target.service)?
    };
    if image.is_none() && wanted.programs.x86_64.is_empty() && wanted.programs.aarch64.is_empty() {
        return Err(shadow::NoProgram.into());
    }
    let told = [(marks::ROUTES, routes), (marks::REF_COUNT, count.to_string())];
    wanted.annotations.extend(told.map(|(key, value)| (key.to_owned(), value)));
    let said = |progress: Progress| debug!("{progress}");
    cluster.ensure_shadow(&wanted, &said).await.context("making the router")?;
    Ok(())
}

/// Nobody has joined yet.
fn first_set(target: &Target) -> anyhow::Result<RuleSet> {
    Ok(RuleSet {
        version: kt_wire::rules::VERSION,
        generation: 1,
        service: target.service.clone(),
        original: names::stuntman(&target.service),
        ports: target.ports()?.iter().filter_map(port).collect(),
        routes: Vec::new(),
    })
}

fn arguments() -> Vec<String> {
    let (port, kept) = (PORT.to_string(), format!("{KEPT}/older"));
    ["--port", &port, "--rules", FOLLOWED, "--kept", &kept].map(String::from).into()
}

fn port(port: &ServedPort) -> Option<Port> {
    let protocol = match port.protocol.as_str() {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        _ => return None,
    };
    Some(Port { listen: port.pod, service: port.service, protocol, speaks: speaks(port.speaks.as_deref()) })
}

/// What a port's `appProtocol` or name says about it.
fn speaks(word: Option<&str>) -> Speaks {
    let word = word.unwrap_or_default().to_ascii_lowercase();
    let first = word.split('-').next().unwrap_or_default();
    match first {
        "http" | "http2" | "grpc" | "h2c" => Speaks::Http,
        _ if word == "kubernetes.io/h2c" || word == "kubernetes.io/ws" => Speaks::Http,
        "https" | "tls" | "tcp" | "mysql" | "mongo" | "redis" | "postgres" | "postgresql" => Speaks::Raw,
        _ => Speaks::Unknown,
    }
}

fn container_ports(ports: &[ServedPort]) -> Vec<ShadowPort> {
    let name = |port: &ServedPort| match (&port.name, port.protocol.as_str()) {
        (Some(name), _) => name.clone(),
        (None, "TCP") => format!("router-{}", port.pod),
        (None, other) => format!("router-{}-{}", port.pod, other.to_ascii_lowercase()),
    };
    let mut seen = BTreeMap::new();
    for port in ports {
        let entry = ShadowPort { name: name(port), number: port.pod, protocol: port.protocol.clone() };
        seen.entry((port.pod, port.protocol.clone())).or_insert(entry);
    }
    let mut ports: Vec<ShadowPort> = seen.into_values().collect();
    distinguish(&mut ports);
    ports
}

/// What joins a router.
#[derive(Clone)]
pub(super) struct Joining {
    pub(super) route: Route,
    /// `key:value`; nothing when other rules were asked for.
    pub(super) mark: Option<String>,
}

/// Adds a route, or replaces the one of the same name.
pub(super) async fn join(cluster: &Cluster, service: &str, joining: &Joining) -> anyhow::Result<Router> {
    for _ in 0..ROUNDS {
        let router = cluster.find_router(service).await?.context("the router pod is gone")?;
        let has_joined = match read(&router)? {
            Some(set) => join_ours(cluster, &router, set, &joining.route).await?,
            None => older::join(cluster, service, &router, joining).await?,
        };
        if has_joined {
            info!("Router pod configuration done");
            return Ok(router);
        }
    }
    bail!("the router of service {service} is being changed by somebody else, please try again later")
}

async fn join_ours(
    cluster: &Cluster,
    router: &Router,
    mut set: RuleSet,
    route: &Route,
) -> anyhow::Result<bool> {
    let strangers = strangers(cluster, router, &set, &route.name).await?;
    keep_living(cluster, &mut set, &route.name).await?;
    say_overlaps(&set, route);
    set.routes.push(route.clone());
    change(cluster, router, set, strangers).await
}

/// What leaving has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Others go on.
    Others,
    /// Nobody is left: the service is as it was.
    Last,
}

/// Takes a route out of the router; the last one puts the service back and removes the router, but
/// not without the service's lock: who holds that may be about to join.
/// `mark` is what the service was led to, for the case that the router is gone.
pub(crate) async fn leave(
    cluster: &Cluster,
    service: &str,
    route: &str,
    mark: &BTreeMap<String, String>,
    is_locked: bool,
) -> anyhow::Result<Left> {
    for _ in 0..ROUNDS {
        let Some(router) = cluster.present_router(service).await? else {
            anyhow::ensure!(is_locked, "somebody else holds the lock of service {service}");
            if stand_in::leads(cluster, service).await? {
                return end(cluster, service, mark, None).await;
            }
            put_back(cluster, service, mark).await?;
            cluster.remove_router(service).await?; // of one that was killed before it made the pod
            return Ok(Left::Last);
        };
        let left = match read(&router)? {
            Some(set) => leave_ours(cluster, &router, set, route).await?,
            None => leave_older(cluster, service, &router, route).await?,
        };
        match left {
            Some(Left::Last) if !is_locked => bail!("somebody else holds the lock of service {service}"),
            Some(Left::Last) => return end(cluster, service, &router.mark, Some(&router)).await,
            Some(Left::Others) => return Ok(Left::Others),
            None => {}
        }
    }
    bail!("the router of service {service} is being changed by somebody else")
}

/// Nothing when somebody else has changed the router meanwhile.
async fn leave_ours(
    cluster: &Cluster,
    router: &Router,
    mut set: RuleSet,
    route: &str,
) -> anyhow::Result<Option<Left>> {
    let strangers = strangers(cluster, router, &set, route).await?;
    keep_living(cluster, &mut set, route).await?;
    if set.routes.is_empty() && strangers == 0 {
        return Ok(Some(Left::Last));
    }
    if set.routes.is_empty() {
        info!("older clients mesh service {} still", set.service);
    }
    Ok(change(cluster, router, set, strangers).await?.then_some(Left::Others))
}

async fn leave_older(
    cluster: &Cluster,
    service: &str,
    router: &Router,
    route: &str,
) -> anyhow::Result<Option<Left>> {
    let mut living = cluster.living_versions(service).await?;
    living.remove(route);
    let known: BTreeSet<String> = router.joined.keys().cloned().collect();
    if router.strangers(&known, &living) == 0 && known.is_disjoint(&living) {
        return Ok(Some(Left::Last));
    }
    Ok(older::leave(cluster, service, router, route).await?.then_some(Left::Others))
}

/// How many older clients have joined beside those in the set, of whom one is `own`.
pub(super) async fn strangers(
    cluster: &Cluster,
    router: &Router,
    set: &RuleSet,
    own: &str,
) -> anyhow::Result<usize> {
    let known: BTreeSet<String> = set.routes.iter().map(|route| route.name.clone()).collect();
    if router.count <= known.len() {
        return Ok(0);
    }
    let mut living = cluster.living_versions(&set.service).await?;
    living.remove(own);
    Ok(router.strangers(&known, &living))
}

async fn end(
    cluster: &Cluster,
    service: &str,
    mark: &BTreeMap<String, String>,
    router: Option<&Router>,
) -> anyhow::Result<Left> {
    if cluster.lead_back(service, mark).await? == Restored::Done {
        info!("Original service {service} recovered");
        // Nodes learn a moment later, and the router leads to the stuntman.
        tokio::join!(sleep(SETTLE), stand_in::dismiss(cluster, router));
    }
    cluster.remove_router(service).await?;
    cluster.remove_stuntman(service).await?;
    Ok(Left::Last)
}

async fn put_back(cluster: &Cluster, service: &str, mark: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if cluster.restore_service(service, mark).await? == Restored::Done {
        info!("Original service {service} recovered");
    }
    Ok(())
}

/// Who gets what; nothing when an older client made the router.
pub(super) fn read(router: &Router) -> anyhow::Result<Option<RuleSet>> {
    let Some(routes) = &router.routes else { return Ok(None) };
    let set = RuleSet::from_json(routes.as_bytes());
    set.map(Some).with_context(|| format!("reading the routes of pod {}", router.name))
}

/// Keeps the routes of those who live, but for the one called `own`.
async fn keep_living(cluster: &Cluster, set: &mut RuleSet, own: &str) -> anyhow::Result<()> {
    set.routes.retain(|route| route.name != own);
    let mut living = Vec::new();
    for route in std::mem::take(&mut set.routes) {
        if cluster.is_version_alive(&route.name).await? {
            living.push(route);
        } else {
            info!("the version of a dead run is dropped: {}", route.name);
        }
    }
    set.routes = living;
    Ok(())
}

fn say_overlaps(set: &RuleSet, route: &Route) {
    for other in set.routes.iter().filter(|other| may_both_match(&other.rules, &route.rules)) {
        warn!("requests that match the rules of {}, who joined before, go there first", other.user);
    }
}

/// Writes a changed set; false when somebody else was faster.
pub(super) async fn change(
    cluster: &Cluster,
    router: &Router,
    mut set: RuleSet,
    strangers: usize,
) -> anyhow::Result<bool> {
    set.generation += 1;
    let count = set.routes.len() + strangers;
    if !cluster.write_routes(router, &set.to_json(), count).await? {
        return Ok(false);
    }
    if let Err(error) = tell(cluster, router, &set).await {
        // It reads the annotation itself, which the kubelet hands over within a minute or two.
        warn!("the router can not be told at once, a change takes up to two minutes: {error:#}");
    }
    Ok(true)
}

pub(super) async fn tell(cluster: &Cluster, router: &Router, set: &RuleSet) -> anyhow::Result<()> {
    let uplink::Opened { link, keeper, incoming: _incoming } =
        uplink::open(cluster, &router.name, PORT, TELL_WITHIN).await?;
    let told = async {
        let mut stream = link.open(&Open::Rules).await?;
        stream.write_all(set.to_json().as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::ensure!(answer.starts_with("generation "), "the router said {answer:?}");
        Ok(())
    };
    tokio::select! {
        told = timeout(TELL_WITHIN, told) => told.context("the router did not answer in time")?,
        end = keeper.serve() => bail!("the link to the router has ended: {end:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_has_no_two_ports_of_one_name() {
        let port = |protocol: &str, pod| ServedPort {
            service: pod,
            pod,
            name: Some("dns".into()),
            protocol: protocol.into(),
            speaks: None,
        };

        let ports = container_ports(&[port("UDP", 53), port("TCP", 53), port("TCP", 54)]);

        let names: Vec<_> = ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["dns", "kt-53-udp", "kt-54-tcp"]);
    }

    #[test]
    fn a_port_says_by_its_protocol_or_name_what_is_spoken() {
        for (word, wanted) in [
            ("http", Speaks::Http),
            ("http-web", Speaks::Http),
            ("grpc", Speaks::Http),
            ("kubernetes.io/h2c", Speaks::Http),
            ("https", Speaks::Raw),
            ("mysql", Speaks::Raw),
            ("web", Speaks::Unknown),
            ("", Speaks::Unknown),
        ] {
            assert_eq!(speaks(Some(word)), wanted, "{word}");
        }
        assert_eq!(speaks(None), Speaks::Unknown);
    }
}
