//! Cluster to laptop: callers of a service reach a program on this laptop.

mod callers;
mod datagrams;
pub(crate) mod deliver;
mod drain;
mod http2;
mod proxy_protocol;

use std::net::IpAddr;
use std::time::Duration;

use kt_cluster::leftovers::SETTLE;
use kt_cluster::names;
use kt_cluster::shadow::ShadowPort;
use kt_cluster::target::{Exposed, Unfit, Way};
use kt_wire::{IncomingQueue, Link, Open, Protocol, Target};
use tokio::time::{interval, sleep, timeout};
use tracing::{debug, warn};

use crate::failure::Advised;
use crate::inbound::callers::Callers;
use crate::inbound::deliver::{Delivery, Flows};
use crate::inbound::drain::Drain;
use crate::report;
use crate::report::events::{self, Event, Port, Ready};
use crate::tasks::Tasks;

/// How often and how long it is tried whether callers come.
pub(crate) const CALL_EVERY: Duration = Duration::from_millis(150);
pub(crate) const CALL_FOR: Duration = Duration::from_millis(2500);
/// How long requests under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Who takes the callers, whatever link they come by.
#[derive(Clone)]
pub(crate) struct Inbound {
    deliveries: Vec<Delivery>,
    drain: Drain,
    callers: Callers,
    tasks: Tasks,
}

impl Inbound {
    pub(crate) fn new(deliveries: Vec<Delivery>, tasks: &Tasks) -> Inbound {
        Inbound { deliveries, drain: Drain::new(), callers: Callers::default(), tasks: tasks.clone() }
    }

    /// The same for a pod of this address, to whose own program callers go while this laptop is away.
    pub(crate) fn at(&self, pod: IpAddr) -> Inbound {
        let itself = |delivery: &Delivery| {
            let otherwise = Some(Target::Address((pod, delivery.cluster).into()));
            Delivery { otherwise, ..delivery.clone() }
        };
        Inbound { deliveries: self.deliveries.iter().map(itself).collect(), ..self.clone() }
    }

    /// Takes what comes by this link. Returns once callers can come.
    pub(crate) async fn serve(&self, link: &Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        let ports = deliver::listen(link, &self.deliveries).await?;
        let flows = Flows { drain: self.drain.clone(), callers: self.callers.clone() };
        let serving = deliver::serve(link.clone(), incoming, self.deliveries.clone(), ports, flows);
        self.tasks.start("deliver", serving);
        Ok(())
    }

    /// Says that callers come here, and from now on who they are.
    pub(crate) fn ready(&self, what: Ready<'_>, text: &str) {
        let port = |to: &Delivery| Port {
            laptop: to.laptop,
            cluster: to.cluster,
            protocol: callers::protocol(to.protocol),
        };
        report::ready(&[text]);
        events::say(&Event::Ready(Ready { ports: self.deliveries.iter().map(port).collect(), ..what }));
        self.callers.ready();
    }

    /// Calls a TCP port of the service from the shadow until such a call has come here, for a limited
    /// time: nodes learn of a change a moment after the API server, and some let no pod call itself.
    /// Without such a port it waits as long as nodes take as a rule: a datagram of ours would be taken
    /// for a request.
    pub(crate) async fn wait_for_callers(&self, link: &Link, service: &str, port: Option<u16>) {
        match port {
            Some(port) => self.wait_for_call(link, Target::Name(service.into(), port)).await,
            None => sleep(SETTLE).await,
        }
    }

    /// Calls a target from the shadow until a call has come here, for a limited time.
    pub(crate) async fn wait_for_call(&self, link: &Link, target: Target) {
        let probe = Open::Tcp(target);
        let called = async {
            let mut ticks = interval(CALL_EVERY);
            while self.drain.callers() == 0 {
                ticks.tick().await;
                let _ = timeout(CALL_EVERY, link.open(&probe)).await; // whether it comes here is what counts
            }
        };
        match timeout(CALL_FOR, called).await {
            Ok(()) => debug!("callers come here"),
            Err(_) => debug!("no call from the shadow itself came here"),
        }
    }

    /// Takes no more callers; those who have come are served as ever.
    pub(crate) fn close(&self) {
        self.drain.close();
    }

    /// Takes no more callers, and lets those finish who have come.
    pub(crate) async fn finish(&self) {
        self.drain.drain(DRAIN).await;
    }
}

/// Where the ports of a service go. While this laptop is away, callers go to the original pods, which
/// the stuntman leads to.
pub(crate) fn deliveries(service: &str, exposed: &[Exposed], says_caller: bool) -> Vec<Delivery> {
    let stuntman = names::stuntman(service);
    let delivery = |port: &Exposed| Delivery {
        cluster: port.pod,
        laptop: port.laptop,
        protocol: if port.is_udp() { Protocol::Udp } else { Protocol::Tcp },
        otherwise: Some(Target::Name(stuntman.clone(), port.service)),
        says_caller,
    };
    exposed.iter().map(delivery).collect()
}

/// Says what is different with a Service of this kind; fails when it can not be brought here so.
pub(crate) fn warn_of_kind(target: &kt_cluster::target::Target, way: Way) -> Result<(), Unfit> {
    for caution in target.check(way)? {
        warn!("{caution}");
    }
    Ok(())
}

/// Names the ports whose callers meet nobody while all of the service leads to the shadow.
pub(crate) fn warn_of_unexposed(target: &kt_cluster::target::Target, exposed: &[Exposed]) {
    let is_exposed = |pod: u16, protocol: &str| {
        exposed.iter().any(|port| (port.pod, port.protocol.as_str()) == (pod, protocol))
    };
    for port in target.ports().unwrap_or_default() {
        if !is_exposed(port.pod, &port.protocol) {
            let (number, service) = (port.service, &target.service);
            warn!("port {number} of service {service} is not in --expose, its callers are refused meanwhile");
        }
    }
}

/// Names the ports whose callers meet nobody because their target port's name is that of another one.
pub(crate) fn warn_of_names(target: &kt_cluster::target::Target, ports: &[ShadowPort]) {
    for port in target.ports().unwrap_or_default() {
        let own = ports.iter().find(|own| (own.number, &own.protocol) == (port.pod, &port.protocol));
        if let (Some(own), Some(name)) = (own, port.name)
            && own.name != name
        {
            let (number, protocol, service) = (port.service, port.protocol, &target.service);
            warn!(
                "port {number}/{protocol} of service {service} has a target port called '{name}' as another one has: its callers are refused meanwhile, use numbers as target ports"
            );
        }
    }
}

/// Demands that programs listen where callers will be delivered. Of datagrams that can not be known.
pub(crate) async fn check_ports(deliveries: &[Delivery]) -> Result<(), Advised> {
    for delivery in deliveries.iter().filter(|delivery| delivery.protocol == Protocol::Tcp) {
        let port = delivery.laptop;
        if deliver::connect(port).await.is_err() {
            let text = format!("no application is running on port {port}");
            return Err(Advised::new(text, "start it first, or use --skipPortChecking"));
        }
    }
    Ok(())
}
