//! Mode manual: the shadow is one more pod of the service, with a label by which the rules of a
//! service mesh can tell it apart. Without such rules callers come here at random.

use std::collections::BTreeMap;

use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::redirect::{self, Occupied};
use kt_cluster::shadow::Shadow;
use kt_cluster::target::{Exposed, Target};
use kt_wire::{IncomingQueue, Link};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{Asked, Made, wanted};
use crate::cli::Global;
use crate::heartbeat;
use crate::inbound::Inbound;
use crate::inbound::deliver::Delivery;
use crate::report::events::Ready;
use crate::report::plain;
use crate::run::Journal;
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;

/// A shadow that is a pod of the service by these labels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) shadow: String,
    pub(crate) labels: BTreeMap<String, String>,
}

#[expect(clippy::too_many_arguments, reason = "the rest of the start of a run")]
pub(super) async fn start(
    global: &Global,
    cluster: &Cluster,
    asked: &Asked<'_>,
    target: &Target,
    exposed: &[Exposed],
    deliveries: Vec<Delivery>,
    made: &mut Made,
    tasks: &Tasks,
    journal: &Journal,
) -> anyhow::Result<()> {
    let (key, value) = (&asked.mark.key, &asked.mark.value);
    if target.selector.get(key).is_some_and(|selected| selected != value) {
        warn!(
            "service {} selects by label '{key}', which marks this version: nothing will come here, use --versionMark <other key>:{value}",
            target.service
        );
    }
    warn_of_others(cluster, target).await;
    let version = kt_cluster::names::mesh_shadow(&target.service, value);
    cluster.free_version(&target.service, &version, value, asked.mark.is_random).await?;
    let mut wanted = wanted(global, asked, target, exposed)?;
    wanted.labels.insert(key.clone(), value.clone());
    let keeper = Keeper::new(cluster, global, journal, wanted, &target.service);
    made.shadow = Some(keeper.clone());
    let (shadow, opened) = keeper.open().await?;
    let labels = target.selector.clone().into_iter().filter(|(label, _)| label != key).collect();
    let inbound = Inbound::new(deliveries, tasks);
    made.inbound = Some(inbound.clone());
    let link = opened.link.clone();
    let successor =
        Replaced { cluster: cluster.clone(), labels, inbound: inbound.clone(), journal: journal.clone() };
    let (kept, joining) = (keeper.clone(), successor.clone());
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    inbound.serve(&link, opened.incoming).await?;
    joining.join(&shadow).await?;
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, Vec::new()));
    sleep(SETTLE).await; // each node learns of the new pod by itself
    let ready = Ready::new(cluster, "mesh", Some("manual")).of("service", &target.service);
    let ready = Ready { mark: Some(asked.mark.text()), ..ready };
    inbound.ready(ready, &format!("Now you can update Istio rule by label '{key}={value}'"));
    Ok(())
}

/// Nobody is kept from anything, but callers may go elsewhere.
async fn warn_of_others(cluster: &Cluster, target: &Target) {
    let service = &target.service;
    match cluster.check_redirectable(service).await {
        Err(redirect::Error::Occupied(Occupied::Exchanged { user, .. })) => {
            let who = plain(&user);
            warn!("{who} is exchanging service '{service}', nobody comes here until that ends");
        }
        checked => debug!(?checked, "who has the service"),
    }
    let inside = cluster.exchangers_inside(&target.selector).await.unwrap_or_default();
    if let Some(exchanger) = inside.first() {
        let who = exchanger.told(cluster.time());
        warn!("{} exchanges pods of service '{service}', callers of these go to him", plain(&who));
    }
}

#[derive(Clone)]
struct Replaced {
    cluster: Cluster,
    labels: BTreeMap<String, String>,
    inbound: Inbound,
    journal: Journal,
}

impl Replaced {
    /// Only now that it takes callers may the service find the shadow.
    async fn join(&self, shadow: &Shadow) -> anyhow::Result<()> {
        self.journal.note_joined(&shadow.pod, &self.labels);
        let labels = self.labels.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        Ok(self.cluster.label_pod(&shadow.pod, &labels).await?)
    }
}

impl shadow::Successor for Replaced {
    async fn take(&self, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await
    }

    async fn lead_to(&self, shadow: &Shadow) -> anyhow::Result<()> {
        self.join(shadow).await
    }
}

/// No new callers come after this.
pub(crate) async fn leave(cluster: &Cluster, joined: &Joined) -> anyhow::Result<()> {
    let labels = joined.labels.keys().map(|key| (key.clone(), None)).collect();
    match cluster.label_pod(&joined.shadow, &labels).await {
        Err(kt_cluster::mesh::Error::Api { source, .. }) if source.is_not_found() => return Ok(()),
        left => left?,
    }
    sleep(SETTLE).await;
    Ok(())
}
