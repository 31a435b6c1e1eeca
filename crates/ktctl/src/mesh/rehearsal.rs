//! Whether requests with the mark come here yet.
//!
//! The API server knows of the switch before the nodes do. So the shadow calls the Service until the
//! router has seen its call, and the router calls the version and the original.

use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::mesh::{Error, MeshWanted, Router};
use kt_wire::{Link, Open, Target};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tracing::debug;

use super::router::PORT;
use crate::inbound::{CALL_EVERY, CALL_FOR};
use crate::uplink;

/// How long nodes get for the switch alone; the next change then may take a second.
const SWITCH_FIRST: Duration = Duration::from_millis(500);

/// What is tried.
pub(super) struct Rehearsal<'a> {
    /// To the shadow.
    pub(super) uplink: &'a Link,
    /// The shadow's address, by which the router knows its calls.
    pub(super) caller: Option<&'a str>,
    pub(super) service: &'a str,
    /// A TCP port of the Service.
    pub(super) port: Option<u16>,
    /// The version's Service.
    pub(super) route: &'a str,
}

impl Rehearsal<'_> {
    /// Waits as `wait` does, and lets the version's Service lead to the shadow as soon as nodes have had
    /// the switch for themselves. A router that knows no address of the shadow needs it at once.
    pub(super) async fn wait_and_open(
        &self,
        cluster: &Cluster,
        router: &Router,
        version: &MeshWanted,
    ) -> Result<(), Error> {
        let goes_directly = router.routes.is_some() && self.caller.is_some();
        let alone = if goes_directly { SWITCH_FIRST } else { Duration::ZERO };
        let mut seen = pin!(self.wait(cluster, router));
        let is_seen = timeout(alone, &mut seen).await.is_ok();
        cluster.open_version(version).await?;
        if !is_seen {
            seen.await;
        }
        Ok(())
    }

    /// Returns once both ways were seen, or after the time that nodes take as a rule: some networks
    /// hide the caller's address, and a router of an older client knows nothing of this.
    pub(super) async fn wait(&self, cluster: &Cluster, router: &Router) {
        let settled = Instant::now() + SETTLE;
        match timeout(CALL_FOR, self.seen(cluster, router)).await {
            Ok(Ok(())) => debug!("requests come here"),
            Ok(Err(error)) => {
                debug!("the router can not tell whether requests come here: {error:#}");
                sleep_until(settled).await;
            }
            Err(_) => debug!("no call from the shadow has come to the router"),
        }
    }

    async fn seen(&self, cluster: &Cluster, router: &Router) -> anyhow::Result<()> {
        let port = self.port.context("the service has no TCP port")?;
        let caller = self.caller.and_then(|text| text.parse().ok()).context("the shadow has no address")?;
        anyhow::ensure!(router.routes.is_some(), "an older client made it");
        let opened = uplink::open(cluster, &router.name, PORT, CALL_FOR).await?;
        let wanted = Open::Rehearse { caller, route: self.route.to_owned() };
        tokio::select! {
            seen = opened.link.open(&wanted) => drop(seen?),
            end = opened.keeper.serve() => anyhow::bail!("the link to it has ended: {end:?}"),
            never = self.call(port) => match never {},
        }
        Ok(())
    }

    async fn call(&self, port: u16) -> std::convert::Infallible {
        let service = Open::Tcp(Target::Name(self.service.into(), port));
        let mut ticks = interval(CALL_EVERY);
        loop {
            ticks.tick().await;
            let _ = timeout(CALL_EVERY, self.uplink.open(&service)).await; // the router tells whether it came
        }
    }
}
