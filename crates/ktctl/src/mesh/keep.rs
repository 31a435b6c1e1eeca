//! A service stays meshed whatever is lost meanwhile: the shadow, the router, or the redirect.

use std::time::Duration;

use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::mesh::{MeshWanted, Router};
use kt_cluster::redirect::{GuardEnd, GuardEvent, Owner, Redirected};
use kt_cluster::shadow::Shadow;
use kt_cluster::target::Target;
use kt_host::home::{host_name, user_name};
use kt_wire::{IncomingQueue, Link};
use tokio::time::sleep;
use tracing::{info, warn};

use super::router::{self, Joining};
use crate::cli::Global;
use crate::inbound::Inbound;
use crate::shadow;

/// The pause before the router is made anew, and before another try. Who recovers a service removes
/// the router first and puts the service back a second later.
const AGAIN: Duration = Duration::from_millis(2500);

/// What happens when the shadow is gone: the Service of this version leads to the new one. A laptop
/// that slept for long finds that others have taken the version for dead; then it joins again.
pub(super) struct Replaced {
    pub(super) cluster: Cluster,
    pub(super) inbound: Inbound,
    pub(super) wanted: MeshWanted,
    pub(super) joining: Joining,
}

impl shadow::Successor for Replaced {
    async fn take(&self, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await
    }

    async fn lead_to(&self, _: &Shadow) -> anyhow::Result<()> {
        let MeshWanted { service, name, .. } = &self.wanted;
        if self.cluster.is_version_alive(name).await? {
            return Ok(());
        }
        match self.cluster.make_version(&self.wanted, true).await {
            Err(kt_cluster::mesh::Error::Api { source, .. }) if source.exists() => {}
            result => result?,
        }
        if self.cluster.router_if_any(service).await?.is_some() {
            router::join(&self.cluster, service, &self.joining).await?;
        } // else the guard makes one and joins it, or ends the run
        sleep(SETTLE).await; // each node learns of the version's Service by itself
        info!("version {name} of service {service} was taken for dead, it is back");
        Ok(())
    }
}

/// What is watched over while the service is meshed.
pub(super) struct Watched {
    pub(super) cluster: Cluster,
    pub(super) global: Global,
    pub(super) image: Option<String>,
    pub(super) target: Target,
    pub(super) redirected: Redirected,
    pub(super) joining: Joining,
}

impl Watched {
    /// Keeps the service at the router, and this run in it, until somebody has put the service back.
    pub(super) async fn keep(self, mut router: Router) -> anyhow::Result<()> {
        let service = &self.redirected.service;
        let said = |event| say(service, event);
        loop {
            match self.cluster.guard(&self.redirected, &router.name, &said).await {
                end @ GuardEnd::TakenOver { .. } => anyhow::bail!("{end}"),
                GuardEnd::ShadowGone => {}
            }
            router = loop {
                sleep(AGAIN).await;
                if self.cluster.is_redirected(&self.redirected).await.is_ok_and(|is_ours| !is_ours) {
                    anyhow::bail!(
                        "somebody else has put service '{service}' back, nothing is meshed any more"
                    );
                }
                match self.stand_again().await {
                    Ok(router) => break router,
                    Err(error) => warn!("the router of service {service} is gone: {error:#}"),
                }
            };
            info!("the router of service {service} was made anew");
        }
    }

    /// Makes the router anew, unless another user was faster, and joins it.
    async fn stand_again(&self) -> anyhow::Result<Router> {
        let (cluster, service) = (&self.cluster, &self.redirected.service);
        let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
        let lock = cluster.lock(service, &owner, &|wait| info!("{wait}")).await?;
        let joined = self.replaced().await;
        cluster.unlock(&lock).await?;
        joined
    }
}

fn say(service: &str, event: GuardEvent) {
    match event {
        GuardEvent::Reapplied { after } => {
            let secs = after.as_secs().max(1);
            warn!("service {service} was applied anew, it is meshed again in {secs} s");
        }
        GuardEvent::RedirectedAgain => info!("service {service} is meshed again"),
        GuardEvent::ServiceDeleted => {
            warn!("service {service} was deleted; when it returns it is meshed again");
        }
        GuardEvent::Trouble(why) => warn!("service {service} can not be watched: {why}"),
    }
}
