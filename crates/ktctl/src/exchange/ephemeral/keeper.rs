//! The containers of a run in their pods, each with a link of its own.

mod pod;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use kt_cluster::Cluster;
use kt_cluster::ephemeral::{Added, Pods, Running, Wanted};
use kt_wire::{Link, Target};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::inbound::Inbound;
use crate::tasks::Tasks;

/// The first and the longest pause before another try with a pod.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Brings the callers of pods here. Cloning shares it.
#[derive(Clone)]
pub(super) struct Keeper {
    cluster: Cluster,
    wanted: Wanted,
    inbound: Inbound,
    /// How long a port-forward may take.
    within: Duration,
    tasks: Tasks,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The pods that were seen, by their uid.
    kept: BTreeMap<String, Kept>,
    is_ending: bool,
}

#[derive(Clone, Default)]
pub(super) struct Kept {
    /// The container that may run; nothing once it has ended.
    pub(super) added: Option<Added>,
    /// All containers that were added, or found.
    pub(super) listed: Vec<Added>,
    pub(super) link: Option<Link>,
    address: Option<IpAddr>,
}

impl Kept {
    fn linked(&self) -> Option<(IpAddr, Link)> {
        Some((self.address?, self.link.clone()?))
    }
}

/// Tells once how the beginning went.
type Told = oneshot::Sender<anyhow::Result<()>>;

impl Keeper {
    pub(super) fn new(
        cluster: &Cluster,
        wanted: Wanted,
        inbound: Inbound,
        within: Duration,
        tasks: &Tasks,
    ) -> Keeper {
        let (cluster, tasks, shared) = (cluster.clone(), tasks.clone(), Arc::default());
        Keeper { cluster, wanted, inbound, within, tasks, shared }
    }

    /// Returns once the callers of all these pods come here, as far as the pods are still there. What
    /// goes wrong in the first of them is likely to do so in all: that is an error.
    pub(super) async fn begin(&self, pods: Vec<Running>) -> anyhow::Result<()> {
        let mut pods = pods.into_iter();
        if let Some(first) = pods.next() {
            self.start(first, true).await?;
        }
        let begun: anyhow::Result<()> =
            join_all(pods.map(|pod| self.start(pod, false))).await.into_iter().collect();
        begun?;
        self.call_one_from_another().await;
        Ok(())
    }

    /// A pod that calls itself is not led here, so it takes two to see that callers come.
    async fn call_one_from_another(&self) {
        let links: Vec<(IpAddr, Link)> = self.lock().kept.values().filter_map(Kept::linked).collect();
        let port = self.wanted.ports.iter().find(|port| port.protocol == "TCP");
        if let ([(_, from), (to, _), ..], Some(port)) = (&links[..], port) {
            self.inbound.wait_for_call(from, Target::Address((*to, port.number).into())).await;
        }
    }

    /// Has each pod that begins to run join, for ever.
    pub(super) async fn follow(self, pods: Pods) -> anyhow::Result<()> {
        let mut seen = pin!(self.cluster.follow_running(&pods));
        while let Some(pod) = seen.next().await {
            if self.lock().kept.contains_key(&pod.uid) {
                continue;
            }
            self.lock().kept.insert(pod.uid.clone(), Kept::default());
            match pod.check(&self.wanted.user, &self.wanted.host, self.cluster.time()) {
                Ok(()) => {
                    info!("Pod {} is new", pod.name);
                    drop(self.start(pod, false));
                }
                Err(error) => warn!("callers of pod {} do not come here: {error}", pod.name),
            }
        }
        Ok(())
    }

    /// What there is, from now on left alone.
    pub(super) fn end(&self) -> Vec<Kept> {
        let mut shared = self.lock();
        shared.is_ending = true;
        shared.kept.values().cloned().collect()
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    /// Starts to look after a pod; the returned wait ends when its callers come here, or it is gone.
    fn start(&self, pod: Running, must_work: bool) -> impl Future<Output = anyhow::Result<()>> + use<> {
        let (told, wait) = oneshot::channel();
        let keeper = self.clone();
        self.tasks.start("pod", async move {
            keeper.keep(pod, told, must_work).await;
            anyhow::Ok(())
        });
        async { wait.await.unwrap_or(Ok(())) }
    }

    /// Looks after a pod until it is gone.
    async fn keep(self, pod: Running, told: Told, must_work: bool) {
        let (mut told, mut pause) = (Some(told), AGAIN.0);
        loop {
            let error = match self.serve(&pod, &mut told).await {
                Ok(()) => break info!("Pod {} is gone", pod.name),
                Err(error) => error,
            };
            if self.lock().is_ending {
                return;
            }
            if let Some(told) = told.take_if(|_| must_work) {
                let _ = told.send(Err(error)); // the run has ended otherwise
                return;
            }
            warn!(
                "callers of pod {} do not come here, trying again in {} s: {error:#}",
                pod.name,
                pause.as_secs()
            );
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
        }
        self.lock().kept.remove(&pod.uid);
    }

    fn note(&self, pod: &Running, what: impl FnOnce(&mut Kept)) {
        what(self.lock().kept.entry(pod.uid.clone()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
