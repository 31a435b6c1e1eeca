//! The device and what leads to it: routes, and the names of the cluster.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use ipnet::IpNet;
use kt_cluster::Cluster;
use kt_host::device::{self, LINK_PREFIX_V6, free_name, free_pool, free_pool_v6};
use kt_host::resolver::{Backend, Upstream, read_upstream};
use kt_host::routes::{Machine, RoutePlan, cut_out};
use kt_host::{Change, Made, Paths};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::Laptop;
use super::{hosts, plan, resolver};
use crate::cli::Connect;
use crate::failure::Advised;
use crate::names::mode::{Element, Mode};
use crate::names::order::Zones;
use crate::names::server::{self, Server, Settings, Waits};
use crate::outbound::capture::{Capture, Ends, Pair};
use crate::outbound::dial::{ByLink, Dial, Target};
use crate::outbound::redirect;
use crate::tasks::Tasks;
use crate::uplink::Place;

/// Packets of one Ethernet frame: what is measured end to end is then true inside the tunnel, too.
const MTU: u32 = 1500;
/// Addresses of the device and its peer share this prefix.
const PREFIX: u8 = 30;
/// How long a probe may take before something is in its way.
const PROBE_WITHIN: Duration = Duration::from_secs(3);
/// How long the far end of a probe may take.
const REACH_WITHIN: Duration = Duration::from_secs(4);

/// Makes the device, leads routes and names to it, and returns once a connection of an ordinary
/// program went through it. Of the tasks, the second are those that go on to change the laptop.
pub(super) async fn start(
    cluster: &Cluster,
    ask: &Connect,
    laptop: Laptop,
    place: &Place,
    dial: ByLink,
    (tasks, guards): (&Tasks, &Tasks),
) -> anyhow::Result<()> {
    let upstream = read_upstream(&Paths::system()).context("reading the laptop's name servers")?;
    let wanted = plan::wanted(ask, &known_ranges(cluster, ask).await, place);
    let machine = Machine::read(upstream.servers.clone()).await?;
    let device = make(&laptop, &machine, &wanted).await?;
    info!("Tun device {} is ready", device.name);
    let never: Vec<IpNet> = cluster
        .server_addresses()
        .await
        .into_iter()
        .map(IpNet::from)
        .chain(ask.exclude_ips.iter().copied())
        .collect();
    let routes = Routes::new(laptop.clone(), device.name.clone(), machine, never, wanted);
    let parsed = plan::dns_mode(&ask.dns_mode)?;
    for skipped in &parsed.skipped {
        warn!("Skip invalid dns server {skipped}");
    }
    let zones = zones(cluster, ask, place, &upstream, &routes).await;
    let settings = settings(&parsed.mode, ask, &upstream, device.peer);
    let names = Server::new(settings, zones, dial.clone(), routes.clone());
    let capture = Capture::new(device.fd, device.ends, dial.clone(), names.clone()).await;
    let capture = capture.context("serving the device")?;
    tasks.start("device", capture.serve());
    if !ask.disable_tun_route {
        routes.set_all().await?;
        info!("Route to tun device completed");
        guards.start("routes", follow(cluster.clone(), ask.disable_pod_ip, routes.clone()));
    }
    if let Mode::Hosts(namespaces) = parsed.mode {
        let wanted = hosts::Wanted { namespaces, domain: domain(ask, place) };
        let led = routes.clone();
        let added = move |addresses: Vec<IpAddr>| {
            let led = led.clone();
            async move { server::Routes::routed(&led, &addresses).await }
        };
        hosts::start(cluster, laptop, wanted, guards, added).await?;
    } else if parsed.mode != Mode::Untouched {
        info!("Setting up dns in local mode");
        let wanted = resolver::Wanted {
            device: device.name.clone(),
            server: device.peer.into(),
            search: place.search.first().cloned().into_iter().collect(),
            suffixes: vec![domain(ask, place), "svc".into()],
        };
        let backend = wanted.make(&laptop).await?;
        debug!(?backend, "names are ours");
        if backend == Backend::ResolvConf {
            let kept = resolver::keep(laptop, wanted, move |servers| names.set_upstream(servers));
            guards.start("resolver", kept);
        }
    }
    match probe_target(&routes, place, &dial).await {
        Some(target) => probe(target, &routes, dial, tasks).await,
        None => {
            debug!("nothing to probe");
            Ok(())
        }
    }
}

/// Adds a route for each Service and pod of the namespace that comes later.
async fn follow(cluster: Cluster, without_pods: bool, routes: Routes) -> anyhow::Result<()> {
    let mut appeared = pin!(cluster.follow_addresses(without_pods));
    while let Some(addresses) = appeared.next().await {
        server::Routes::routed(&routes, &addresses).await;
    }
    debug!("new services and pods may not be watched, so routes to them come from names only");
    Ok(())
}

/// The cluster's ranges as far as rights go; the shadow tells the rest.
async fn known_ranges(cluster: &Cluster, ask: &Connect) -> Vec<IpNet> {
    match cluster.ranges(ask.disable_pod_ip).await {
        Ok(ranges) => {
            for right in &ranges.missing {
                debug!("without the right to {right} routes come from what the shadow and names tell");
            }
            ranges.plan()
        }
        Err(error) => {
            warn!("the cluster's addresses can not be read, routes come from names only: {error}");
            Vec::new()
        }
    }
}

/// A device that was made.
struct Device {
    name: String,
    peer: Ipv4Addr,
    ends: Ends,
    fd: std::os::fd::OwnedFd,
}

async fn make(laptop: &Laptop, machine: &Machine, wanted: &[IpNet]) -> anyhow::Result<Device> {
    let addresses: Vec<IpNet> = machine.addresses.iter().map(|own| own.net).collect();
    let routes: Vec<IpNet> =
        machine.routes.iter().map(|route| route.range).chain(wanted.iter().copied()).collect();
    let (address, peer) = free_pool(&addresses, &routes).context("finding a free address for the device")?;
    let name = free_name(&machine.devices);
    let pair = wanted.iter().any(|range| matches!(range, IpNet::V6(_)));
    let pair = pair.then(|| free_pool_v6(&addresses, &routes)).flatten();
    let v6 = pair.map(|(address, _)| (address, LINK_PREFIX_V6));
    let change = Change::Device { name: name.clone(), address, peer, prefix: PREFIX, v6, mtu: MTU };
    let Made::Device(Some(tun)) = laptop.lock().await.make(change).await.context("making the device")? else {
        anyhow::bail!("the device was made before");
    };
    let v4 = Pair { address: address.into(), peer: peer.into() };
    let v6 = pair.map(|(address, peer)| Pair { address: address.into(), peer: peer.into() });
    let ends = Ends { v4, v6, header: device::HEADER, mtu: MTU as usize };
    let fd = tun.as_fd().try_clone_to_owned().context("taking the device over")?;
    Ok(Device { name, peer, ends, fd })
}

fn settings(mode: &Mode, ask: &Connect, upstream: &Upstream, peer: Ipv4Addr) -> Settings {
    let order = match mode {
        Mode::Local(order) => order.clone(),
        _ => vec![Element::Cluster, Element::UPSTREAM],
    };
    Settings {
        order,
        upstream: resolver::with_port(&upstream.servers),
        own: vec![SocketAddr::new(peer.into(), 53)],
        longest: Duration::from_secs(ask.dns_cache_ttl.into()),
        waits: Waits::default(),
    }
}

async fn zones(
    cluster: &Cluster,
    ask: &Connect,
    place: &Place,
    upstream: &Upstream,
    routes: &Routes,
) -> Zones {
    Zones {
        domain: domain(ask, place),
        namespaces: HashSet::from([cluster.namespace().to_owned()]),
        include: ask.include_domains.iter().map(|domain| domain.trim_matches('.').to_lowercase()).collect(),
        search: upstream.search.clone(),
        ranges: routes.wanted().await,
    }
}

/// The cluster's domain: as typed, else as the shadow sees it.
pub(super) fn domain(ask: &Connect, place: &Place) -> String {
    ask.cluster_domain.as_deref().or(place.domain()).unwrap_or("cluster.local").to_owned()
}

/// The ranges that lead to the device. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Routes {
    shared: Arc<Shared>,
}

struct Shared {
    laptop: Laptop,
    device: String,
    machine: Machine,
    never: Vec<IpNet>,
    state: Mutex<State>,
}

struct State {
    wanted: Vec<IpNet>,
    present: Vec<IpNet>,
    /// The port to which the packet filter leads connections, where the device can not take them.
    redirect: Option<u16>,
    /// Whether routes are wanted at all.
    set: bool,
}

impl Routes {
    fn new(
        laptop: Laptop,
        device: String,
        machine: Machine,
        never: Vec<IpNet>,
        wanted: Vec<IpNet>,
    ) -> Routes {
        let state = State { wanted, present: Vec::new(), redirect: None, set: false };
        Routes { shared: Arc::new(Shared { laptop, device, machine, never, state: Mutex::new(state) }) }
    }

    /// Leads all wanted ranges to the device. Fails when not one of them can be.
    async fn set_all(&self) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock().await;
        state.set = true;
        let plan = self.plan(&state.wanted);
        for overlap in &plan.overlaps {
            let (range, device) = (overlap.range, &overlap.device);
            warn!(
                "{range} goes to {device} already and not to the cluster; if the cluster does not need it, use --excludeIps {range}"
            );
        }
        for range in &plan.ranges {
            info!("Adding route to {range}");
        }
        self.apply(&mut state, plan).await?;
        anyhow::ensure!(!state.present.is_empty() || state.wanted.is_empty(), "all routes failed to setup");
        Ok(())
    }

    /// Leads connections to a local listener from now on.
    async fn redirect(&self, port: u16) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock().await;
        state.redirect = Some(port);
        self.apply_redirect(&state).await
    }

    /// Sees that these addresses lead to the device.
    pub(crate) async fn ensure(&self, addresses: &[IpAddr]) -> anyhow::Result<()> {
        let mut state = self.shared.state.lock().await;
        let new = plan::uncovered(&state.wanted, addresses);
        if new.is_empty() || !state.set {
            return Ok(());
        }
        debug!(?new, "more addresses of the cluster");
        let wanted = [&state.wanted[..], &new].concat();
        let plan = self.plan(&wanted);
        self.apply(&mut state, plan).await?;
        state.wanted = wanted;
        Ok(())
    }

    fn plan(&self, wanted: &[IpNet]) -> RoutePlan {
        cut_out(wanted, &self.shared.machine, &self.shared.never)
    }

    async fn apply(&self, state: &mut State, plan: RoutePlan) -> anyhow::Result<()> {
        let change = Change::Routes { device: self.shared.device.clone(), ranges: plan.ranges.clone() };
        let made = self.shared.laptop.lock().await.make(change).await.context("setting routes")?;
        let Made::Routes(made) = made else { anyhow::bail!("the helper has set something else than routes") };
        for skipped in &made.skipped {
            warn!("Failed to set route {} to tun device: {}", skipped.range, skipped.reason);
        }
        let failed = |range: &IpNet| made.skipped.iter().any(|skipped| skipped.range == *range);
        state.present = plan.ranges.into_iter().filter(|range| !failed(range)).collect();
        self.apply_redirect(state).await
    }

    async fn apply_redirect(&self, state: &State) -> anyhow::Result<()> {
        let Some(port) = state.redirect else { return Ok(()) };
        let ranges = state.present.clone();
        let change = Change::Redirect { ranges, except: self.shared.never.clone(), port, owner_uid: None };
        self.shared.laptop.lock().await.make(change).await.context("redirecting connections")?;
        Ok(())
    }

    async fn wanted(&self) -> Vec<IpNet> {
        self.shared.state.lock().await.wanted.clone()
    }

    async fn lead_to(&self, address: IpAddr) -> bool {
        self.shared.state.lock().await.present.iter().any(|range| range.contains(&address))
    }
}

impl server::Routes for Routes {
    async fn routed(&self, addresses: &[IpAddr]) {
        if let Err(error) = self.ensure(addresses).await {
            warn!("no route for an address of the cluster: {error:#}");
        }
    }
}

/// Something in the cluster that answers the shadow and whose address leads to the device.
async fn probe_target(routes: &Routes, place: &Place, dial: &ByLink) -> Option<SocketAddr> {
    let names = place.name_servers.iter().map(|address| SocketAddr::new(*address, 53));
    let server = place.kubernetes.iter().map(|address| SocketAddr::new(*address, 443));
    for target in names.chain(server) {
        if routes.lead_to(target.ip()).await
            && let Ok(Ok(_)) = timeout(REACH_WITHIN, dial.tcp(&Target::Address(target))).await
        {
            return Some(target);
        }
    }
    None
}

/// Connects as any program would. When nothing comes through, a packet filter of the laptop eats
/// the device's connections; then the packet filter is used instead.
async fn probe(target: SocketAddr, routes: &Routes, dial: ByLink, tasks: &Tasks) -> anyhow::Result<()> {
    if comes_through(target).await {
        return Ok(());
    }
    warn!(
        "a firewall on this laptop drops connections that come from the device; going on with redirection by nft"
    );
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listening for redirected connections")?;
    let port = listener.local_addr()?.port();
    tasks.start("redirect", redirect::serve(listener, dial, kt_host::redirect::original_destination));
    routes.redirect(port).await?;
    if comes_through(target).await {
        return Ok(());
    }
    let text = format!("a connection to {target} does not get through this laptop's own network");
    let advice =
        "look for a firewall or VPN client which filters local connections, or use --disableTunDevice";
    Err(Advised::new(text, advice).into())
}

async fn comes_through(target: SocketAddr) -> bool {
    matches!(timeout(PROBE_WITHIN, TcpStream::connect(target)).await, Ok(Ok(_)))
}
