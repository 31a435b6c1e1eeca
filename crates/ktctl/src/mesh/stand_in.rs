//! A router that is deleted goes on for some seconds. Meanwhile another pod learns what it knows and does
//! its work, and when it has ended, one of its name is made anew: callers notice nothing of it.

use std::time::Duration;

use kt_cluster::leftovers::SETTLE;
use kt_cluster::mesh::Router;
use kt_cluster::{Cluster, names};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::keep::Watched;
use super::router;

/// How long a pod goes on that nodes do not lead callers to any more. They learn of one change after the
/// other, each by itself, and of none within a second of the last one.
const LEARNED: Duration = Duration::from_secs(3);

impl Watched {
    /// Makes the router anew, unless another user was faster, and joins it. The service is locked.
    pub(super) async fn replaced(&self) -> anyhow::Result<Router> {
        let (cluster, service) = (&self.cluster, &self.redirected.service);
        let stand_in = self.stand_in().await.unwrap_or_else(|error| {
            warn!("nothing stands in for the router of service {service}: {error:#}");
            None
        });
        let joined = self.made_anew(stand_in.as_ref()).await?;
        if let Some(stand_in) = stand_in {
            sleep(SETTLE).await; // each node learns of the new router by itself
            cluster.remove_stand_in_router(service).await?;
            sleep(LEARNED).await;
            dismiss(cluster, Some(&stand_in)).await;
        }
        Ok(joined)
    }

    /// What does the work of a router that ends; nothing where none ends.
    async fn stand_in(&self) -> anyhow::Result<Option<Router>> {
        let (cluster, service) = (&self.cluster, &self.redirected.service);
        if let Some(present) = cluster.stand_in_router(service).await? {
            return Ok(Some(present));
        }
        let Some(ending) = cluster.ending_router(service).await? else { return Ok(None) };
        let Some(set) = router::read(&ending)? else { return Ok(None) };
        self.make_like(&ending, &names::stand_in_router(service)).await?;
        let Some(made) = cluster.stand_in_router(service).await? else { return Ok(None) };
        router::tell(cluster, &made, &set).await?;
        self.let_callers_come(&made).await?;
        info!("the router of service {service} is being deleted, another pod does its work");
        sleep(LEARNED).await;
        dismiss(cluster, Some(&ending)).await;
        Ok(Some(made))
    }

    async fn made_anew(&self, stand_in: Option<&Router>) -> anyhow::Result<Router> {
        let (cluster, service) = (&self.cluster, &self.redirected.service);
        if cluster.find_router(service).await?.is_none() {
            if !cluster.is_redirected(&self.redirected).await? {
                cluster.remove_stand_in_router(service).await?;
                anyhow::bail!("somebody else has put the service back");
            }
            match stand_in {
                Some(stand_in) => self.make_like(stand_in, &names::router(service)).await?,
                None => {
                    drop(router::ensure(cluster, &self.global, self.image.as_deref(), &self.target).await?);
                }
            }
        }
        let joined = router::join(cluster, service, &self.joining).await?;
        self.let_callers_come(&joined).await?;
        Ok(joined)
    }

    /// A pod that knows the same routes. The service does not lead there before it has been told so.
    async fn make_like(&self, known: &Router, name: &str) -> anyhow::Result<()> {
        let image = self.image.as_deref();
        let routes = (known.routes.clone().unwrap_or_default(), known.count);
        router::make(&self.cluster, &self.global, image, &self.target, name, routes).await
    }

    /// Gives a router the labels by which the service selects it.
    async fn let_callers_come(&self, router: &Router) -> anyhow::Result<()> {
        if router.mark == self.redirected.ours {
            return Ok(());
        }
        let labels = self.redirected.ours.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        Ok(self.cluster.label_pod(&router.name, &labels.collect()).await?)
    }
}

/// Whether callers still come to a router that ends, or to what stands in for it.
pub(super) async fn leads(cluster: &Cluster, service: &str) -> anyhow::Result<bool> {
    Ok(cluster.ending_router(service).await?.is_some() || cluster.stand_in_router(service).await?.is_some())
}

/// Tells a router that nobody needs it any more: told to end, it need not wait for callers then. Not
/// told, it waits for some seconds.
pub(super) async fn dismiss(cluster: &Cluster, router: Option<&Router>) {
    let set = router.and_then(|router| Some((router, router::read(router).ok()??)));
    let Some((router, mut set)) = set else { return };
    set.routes.clear();
    set.generation += 1;
    if let Err(error) = router::tell(cluster, router, &set).await {
        debug!("{} does not know that nobody needs it: {error:#}", router.name);
    }
}

/// The same for a router of this service that is being deleted, if there is one.
pub(crate) async fn dismiss_ending(cluster: &Cluster, service: &str) {
    let ending = cluster.ending_router(service).await.unwrap_or_else(|error| {
        debug!("the router of service {service} ends by itself: {error:#}");
        None
    });
    dismiss(cluster, ending.as_ref()).await;
}
