//! The way into the cluster: the link to the run's present shadow.
//!
//! A link outlives its port-forward by itself. When the shadow is gone, [`crate::shadow`] makes
//! another one and puts its link here; flows of the old one have ended, new ones take the new link.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use kt_cluster::{Cluster, tunnel};
use kt_wire::hello::HelloError;
use kt_wire::link::Keeper;
use kt_wire::{Carrier, Dialer, IncomingQueue, Link, LinkState, Open, Refused, Settings, Stream};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::cli::VERSION;
use crate::report::events::{self, Event};
use crate::report::status;

/// Between two tries to reach a shadow that has only just started.
const RETRY: Duration = Duration::from_millis(100);
/// A cut that is mended sooner is not worth a line.
const QUIET: Duration = Duration::from_millis(700);

/// The present link. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Uplink {
    present: Arc<RwLock<Link>>,
}

impl Uplink {
    pub(crate) fn new(link: Link) -> Uplink {
        Uplink { present: Arc::new(RwLock::new(link)) }
    }

    /// The link to use for what begins now.
    pub(crate) fn link(&self) -> Link {
        self.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, link: Link) {
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// Opens a stream on the present link. Cancel safe.
    pub(crate) async fn open(&self, what: &Open) -> Result<Stream, Refused> {
        self.link().open(what).await
    }
}

/// Finds carriers to one pod.
pub(crate) struct PodDialer {
    cluster: Cluster,
    pod: String,
    port: u16,
}

impl Dialer for PodDialer {
    async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
        match self.cluster.port_forward(&self.pod, self.port).await {
            Ok(forward) => Ok(Box::new(forward)),
            Err(error @ tunnel::Error::PodGone { .. }) => Err(io::Error::new(io::ErrorKind::NotFound, error)),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// A link that was opened, and what has to be served for it to live.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) incoming: IncomingQueue,
    pub(crate) keeper: Keeper<PodDialer>,
}

/// Opens a link to a pod whose program may still be starting, within a time.
pub(crate) async fn open(
    cluster: &Cluster,
    pod: &str,
    port: u16,
    within: Duration,
) -> anyhow::Result<Opened> {
    let deadline = Instant::now() + within;
    let name = format!("ktctl {VERSION}");
    loop {
        let dialer = PodDialer { cluster: cluster.clone(), pod: pod.into(), port };
        match Link::connect(dialer, &name, Settings::default()).await {
            Ok((link, incoming, keeper)) => {
                info!("Port forward local -> pod {pod}:{port} established");
                return Ok(Opened { link, incoming, keeper });
            }
            Err(error) if is_final(&error) || Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("opening the tunnel to pod {pod}"));
            }
            Err(error) => tracing::debug!(%error, pod, "not yet"),
        }
        sleep(RETRY).await;
    }
}

/// Whether trying again soon can not help.
fn is_final(error: &HelloError) -> bool {
    match error {
        HelloError::Carrier(error) => {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<tunnel::Error>());
            matches!(
                cause,
                Some(
                    tunnel::Error::PodGone { .. }
                        | tunnel::Error::Forbidden { .. }
                        | tunnel::Error::Refused { .. }
                )
            )
        }
        HelloError::Foreign(_) | HelloError::Version(_) | HelloError::Declined(_) => true,
        HelloError::Silent | HelloError::Unknown | HelloError::Proof => false,
    }
}

/// Tells the user how the link to a pod is doing, each change once. Ends with the link.
pub(crate) async fn report(link: Link, pod: &str) {
    let mut status = link.status();
    let mut told = false;
    loop {
        let state = status.borrow_and_update().clone();
        match state {
            LinkState::Ended(_) => return status::done(),
            LinkState::Up if told => {
                status::done();
                info!("connection restored");
                events::say(&Event::Restored { pod });
                told = false;
            }
            LinkState::Down(_, why) if !told => {
                tokio::select! {
                    () = sleep(QUIET) => {
                        warn!("connection lost, retrying ({why})");
                        events::say(&Event::Lost { pod, why: why.to_string() });
                        status::waiting_for("the connection to the cluster");
                        told = true;
                    }
                    _ = status.changed() => continue,
                }
            }
            _ => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// What a shadow tells of its place in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) networks: Vec<ipnet::IpNet>,
    pub(crate) name_servers: Vec<std::net::IpAddr>,
    pub(crate) search: Vec<String>,
    /// The API server's address in the cluster.
    pub(crate) kubernetes: Option<std::net::IpAddr>,
}

/// Asks the shadow where it is.
pub(crate) async fn place(link: &Link) -> anyhow::Result<Place> {
    let mut text = String::new();
    let mut stream = link.open(&Open::Info).await.context("asking the shadow for its place")?;
    stream.read_to_string(&mut text).await.context("reading the shadow's place")?;
    Ok(Place::parse(&text))
}

impl Place {
    fn parse(text: &str) -> Place {
        let mut place = Place::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            match key {
                "network" => place.networks.extend(value.parse::<ipnet::IpNet>().ok()),
                "nameserver" => place.name_servers.extend(value.parse::<std::net::IpAddr>().ok()),
                "search" => place.search.push(value.to_owned()),
                "kubernetes_service_host" => place.kubernetes = value.parse().ok(),
                _ => {} // a later shadow may tell more
            }
        }
        place
    }

    /// The cluster's domain, out of the search list's `svc.<domain>`.
    pub(crate) fn domain(&self) -> Option<&str> {
        self.search.iter().find_map(|suffix| suffix.strip_prefix("svc."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_tells_its_place_in_lines() {
        let place = Place::parse(
            "version 1\naddress 10.244.1.9\nnetwork 10.244.1.0/24\nnameserver 10.96.0.10\n\
             search dev.svc.cluster.local\nsearch svc.cluster.local\nsearch cluster.local\n\
             kubernetes_service_host 10.96.0.1\nnews of a later version\n",
        );

        assert_eq!(place.networks, ["10.244.1.0/24".parse().expect("range")]);
        assert_eq!(place.name_servers, ["10.96.0.10".parse::<std::net::IpAddr>().expect("address")]);
        assert_eq!(place.kubernetes, "10.96.0.1".parse().ok());
        assert_eq!(place.domain(), Some("cluster.local"));
    }

    #[test]
    fn what_can_not_be_read_is_left_out() {
        assert_eq!(Place::parse("network x\nnameserver\n\nsearch"), Place::default());
    }
}
