//! Joining and leaving the router of a meshed service.
//!
//! What stands in the annotation of the router's pod counts. It is written first; the router itself
//! is told over a link, so that nobody has to wait until the kubelet has handed it the annotation.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use kt_cluster::Cluster;
use kt_cluster::heartbeat::Kind;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::marks::{self, Config, Role};
use kt_cluster::mesh::Router;
use kt_cluster::names;
use kt_cluster::overview::{Ours, Overview};
use kt_cluster::shadow::{FOLLOWED, Progress, ShadowPort, ShadowWanted};
use kt_cluster::target::{ServedPort, Target};
use kt_wire::rules::{Port, Route, RuleSet, Speaks, may_both_match};
use kt_wire::{Open, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::cli::Global;
use crate::shadow;
use crate::uplink;

/// Where the router waits for links.
const PORT: u16 = 17617;
/// How often a change is tried again when others change the same.
const ROUNDS: usize = 10;
/// How long the router may take to tell that it has changed.
const TELL_WITHIN: Duration = Duration::from_secs(5);

/// Makes the router of a service where there is none. With `mark` it gets these labels: those which
/// the service selects already.
pub(super) async fn ensure(
    cluster: &Cluster,
    global: &Global,
    image: Option<&str>,
    target: &Target,
    mark: Option<&BTreeMap<String, String>>,
) -> anyhow::Result<Router> {
    if let Some(router) = cluster.find_router(&target.service).await? {
        info!("Router pod already exists");
        return Ok(router);
    }
    let ports = target.ports()?;
    let set = RuleSet {
        version: kt_wire::rules::VERSION,
        generation: 1,
        service: target.service.clone(),
        original: names::stuntman(&target.service),
        ports: ports.iter().filter_map(port).collect(),
        routes: Vec::new(),
    };
    let mut wanted = ShadowWanted {
        image: image.map(str::to_owned),
        programs: shadow::ROUTER,
        program: "router",
        follows: Some(marks::ROUTES),
        args: ["--port", &PORT.to_string(), "--rules", FOLLOWED].map(String::from).into(),
        config: Config::of_service(&target.service),
        ports: container_ports(&ports),
        ..shadow::wanted(global, Role::Router, &target.service)?
    };
    if image.is_none() && wanted.programs.x86_64.is_empty() && wanted.programs.aarch64.is_empty() {
        return Err(shadow::NoProgram.into());
    }
    wanted.annotations.insert(marks::ROUTES.to_owned(), set.to_json());
    wanted.labels.extend(mark.cloned().unwrap_or_default());
    let said = |progress: Progress| debug!("{progress}");
    cluster.ensure_shadow(&wanted, &said).await.context("making the router")?;
    info!("Router pod {} created", wanted.name);
    cluster.find_router(&target.service).await?.context("the router pod is gone again")
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
    seen.into_values().collect()
}

/// Adds a route, or replaces the one of the same name.
pub(super) async fn join(cluster: &Cluster, service: &str, route: &Route) -> anyhow::Result<Router> {
    for _ in 0..ROUNDS {
        let router = cluster.find_router(service).await?.context("the router pod is gone")?;
        let mut set = read(&router)?;
        keep_living(cluster, &mut set, &route.name).await?;
        say_overlaps(&set, route);
        set.routes.push(route.clone());
        if change(cluster, &router, set).await? {
            info!("Router pod configuration done");
            return Ok(router);
        }
    }
    bail!("the router of service {service} is being changed by somebody else, please try again later")
}

/// What leaving has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Others go on.
    Others,
    /// Nobody is left: the service is as it was.
    Last,
}

/// Takes a route out of the router; the last one puts the service back and removes the router.
/// `mark` is what the service was led to, for the case that the router is gone.
pub(crate) async fn leave(
    cluster: &Cluster,
    service: &str,
    route: &str,
    mark: &BTreeMap<String, String>,
) -> anyhow::Result<Left> {
    for _ in 0..ROUNDS {
        let Some(router) = cluster.find_router(service).await? else {
            return put_back(cluster, service, mark).await;
        };
        let mut set = read(&router)?;
        keep_living(cluster, &mut set, route).await?;
        if set.routes.is_empty() {
            put_back(cluster, service, &router.mark).await?;
            sleep(SETTLE).await; // nodes learn a moment later
            cluster.remove_router(service).await?;
            return Ok(Left::Last);
        }
        if change(cluster, &router, set).await? {
            return Ok(Left::Others);
        }
    }
    bail!("the router of service {service} is being changed by somebody else")
}

async fn put_back(cluster: &Cluster, service: &str, mark: &BTreeMap<String, String>) -> anyhow::Result<Left> {
    cluster.restore_service(service, mark).await?;
    info!("Original service {service} recovered");
    Ok(Left::Last)
}

fn read(router: &Router) -> anyhow::Result<RuleSet> {
    let Some(routes) = &router.routes else {
        bail!("router pod {} was made by an older ktctl, which can not be joined yet", router.name);
    };
    RuleSet::from_json(routes.as_bytes())
        .with_context(|| format!("reading the routes of pod {}", router.name))
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

/// The routes of dead runs in a router that lives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeadRoutes {
    /// The meshed service.
    pub(crate) service: String,
    /// The routes, by the names of their versions.
    pub(crate) names: Vec<String>,
}

/// Looks for routes whose version has given no sign of life for so long, or is gone. Nothing is
/// found where services may not be listed.
pub(crate) async fn dead_routes(
    cluster: &Cluster,
    seen: &Overview,
    stale: Duration,
) -> anyhow::Result<Vec<DeadRoutes>> {
    let mut all = Vec::new();
    if !seen.knows(Kind::Service) {
        return Ok(all);
    }
    for service in meshed(seen, cluster.time(), stale) {
        let Some(router) = cluster.router_if_any(service).await? else { continue };
        let Ok(set) = read(&router) else { continue };
        let is_dead = |route: &&Route| !is_version_alive(seen, &route.name, cluster.time(), stale);
        let names: Vec<String> = set.routes.iter().filter(is_dead).map(|route| route.name.clone()).collect();
        if !names.is_empty() {
            all.push(DeadRoutes { service: service.to_owned(), names });
        }
    }
    Ok(all)
}

/// The services whose routers live.
fn meshed(seen: &Overview, now: i64, stale: Duration) -> impl Iterator<Item = &str> {
    let lives = move |ours: &&Ours| !ours.terminating && is_fresh(ours.heartbeat, now, stale);
    let routers = seen.ours.iter().filter(|ours| ours.role == Some(Role::Router));
    let pods = routers.filter(|ours| ours.object.kind == Kind::Pod).filter(lives);
    pods.filter_map(|ours| ours.config.service.as_deref())
}

fn is_version_alive(seen: &Overview, name: &str, now: i64, stale: Duration) -> bool {
    let there = seen.services.iter().find(|service| service.object.name == name);
    there.is_some_and(|there| !there.terminating && is_fresh(there.heartbeat, now, stale))
}

fn is_fresh(beat: Option<i64>, now: i64, stale: Duration) -> bool {
    beat.is_none_or(|beat| now - beat <= i64::try_from(stale.as_secs()).unwrap_or(i64::MAX))
}

/// Takes dead routes out of their router; one that is gone has none.
pub(crate) async fn drop_routes(cluster: &Cluster, dead: &DeadRoutes) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let Some(router) = cluster.router_if_any(&dead.service).await? else { return Ok(()) };
        let mut set = read(&router)?;
        set.routes.retain(|route| !dead.names.contains(&route.name));
        if change(cluster, &router, set).await? {
            return Ok(());
        }
    }
    bail!("the router of service {} is being changed by somebody else", dead.service)
}

fn say_overlaps(set: &RuleSet, route: &Route) {
    for other in set.routes.iter().filter(|other| may_both_match(&other.rules, &route.rules)) {
        warn!("requests that match the rules of {}, who joined before, go there first", other.user);
    }
}

/// Writes a changed set; false when somebody else was faster.
async fn change(cluster: &Cluster, router: &Router, mut set: RuleSet) -> anyhow::Result<bool> {
    set.generation += 1;
    let count = set.routes.len();
    if !cluster.write_routes(router, &set.to_json(), count).await? {
        return Ok(false);
    }
    if let Err(error) = tell(cluster, router, &set).await {
        // It reads the annotation itself, which the kubelet hands over within a minute or two.
        warn!("the router can not be told at once, a change takes up to two minutes: {error:#}");
    }
    Ok(true)
}

async fn tell(cluster: &Cluster, router: &Router, set: &RuleSet) -> anyhow::Result<()> {
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
    use kt_cluster::heartbeat::ObjectRef;
    use kt_cluster::overview::{Record, ServiceSeen};

    use super::*;

    fn version(name: &str, heartbeat: i64, terminating: bool) -> ServiceSeen {
        ServiceSeen {
            object: ObjectRef::new(Kind::Service, name, name),
            selector: BTreeMap::new(),
            record: Record::None,
            lock: None,
            ours: true,
            heartbeat: Some(heartbeat),
            annotated: false,
            terminating,
        }
    }

    #[test]
    fn a_version_is_dead_when_it_is_silent_or_gone_or_going() {
        let services = vec![version("a", 95, false), version("b", 89, false), version("c", 100, true)];
        let seen = Overview { services, ..Overview::default() };

        let alive = |name| is_version_alive(&seen, name, 100, Duration::from_secs(10));

        assert_eq!(["a", "b", "c", "d"].map(alive), [true, false, false, false]);
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
