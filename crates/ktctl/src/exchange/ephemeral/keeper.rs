//! The containers of a run in their pods, each with a link of its own.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use kt_cluster::Cluster;
use kt_cluster::ephemeral::{Added, Ended, Error, Pods, Running, Standing, Wanted};
use kt_cluster::shadow::Failure;
use kt_wire::{Link, Reason, Refused};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::failure::{self, Advised};
use crate::inbound::Inbound;
use crate::shadow::ForeignImage;
use crate::tasks::Tasks;
use crate::uplink::{self, Opened};

/// The first and the longest pause before another try with a pod.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long the cluster may take to say that a pod is gone whose link has ended.
const NEWS_WITHIN: Duration = Duration::from_secs(5);

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
        join_all(pods.map(|pod| self.start(pod, false))).await.into_iter().collect()
    }

    /// Has each pod that begins to run join, for ever.
    pub(super) async fn follow(self, pods: Pods) -> anyhow::Result<()> {
        let mut seen = pin!(self.cluster.follow_running(&pods));
        while let Some(pod) = seen.next().await {
            if self.lock().kept.contains_key(&pod.uid) {
                continue;
            }
            self.lock().kept.insert(pod.uid.clone(), Kept::default());
            match pod.check(&self.wanted.user, &self.wanted.host) {
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

    /// Has the callers of a pod come here until that ends; an error unless the pod is gone.
    async fn serve(&self, pod: &Running, told: &mut Option<Told>) -> anyhow::Result<()> {
        let added = match self.added(pod).await {
            Err(Error::Failed { failure: Failure::Deleted, .. }) => return Ok(()),
            Err(Error::Reading { source, .. } | Error::Adding { source, .. }) if source.is_not_found() => {
                return Ok(());
            }
            added => added.map_err(|error| self.of_image(error.into()))?,
        };
        let opened = uplink::open(&self.cluster, &pod.name, added.port, self.within).await;
        let Opened { link, incoming, keeper } = opened.map_err(|error| self.of_image(error))?;
        self.note(pod, |kept| kept.link = Some(link.clone()));
        let inbound = self.inbound.at(pod.address);
        let begun = async {
            inbound.serve(&link, incoming).await.map_err(|error| of_listening(error, pod))?;
            info!("Callers of pod {} come here", pod.name);
            told.take().map(|told| told.send(Ok(())));
            uplink::report(link.clone()).await;
            std::future::pending().await
        };
        let ended = tokio::select! {
            end = keeper.serve() => self.why_ended(&added).await.unwrap_or_else(|| Err(end.into())),
            ended = self.cluster.wait_until_ended(&added) => self.of_end(pod, ended),
            error = begun => error,
        };
        link.end(&Reason::Cancelled.into());
        ended
    }

    /// The container of a pod that runs already, or a new one.
    async fn added(&self, pod: &Running) -> Result<Added, Error> {
        let known = self.lock().kept.get(&pod.uid).and_then(|kept| kept.added.clone());
        let added = match (known, pod.standing(&self.wanted.user, &self.wanted.host)) {
            (Some(known), _) => known,
            (None, Standing::Ours(left)) if self.is_new(pod) => {
                info!(
                    "Container {} of a run before is still in pod {}, it is used again",
                    left.container, pod.name
                );
                left
            }
            _ => {
                info!("Adding a container with image {} to pod {}", self.wanted.image, pod.name);
                self.cluster.add(pod, &self.wanted).await?
            }
        };
        self.note(pod, |kept| {
            kept.added = Some(added.clone());
            kept.listed.retain(|listed| *listed != added);
            kept.listed.push(added.clone());
        });
        let running = self.cluster.wait_until_added(&added, &self.wanted).await;
        if let Err(Error::Failed { failure: Failure::Crashed { .. } | Failure::WrongArch(_), .. }) = &running
        {
            self.note(pod, |kept| kept.added = None);
        }
        running.map(|()| added)
    }

    fn is_new(&self, pod: &Running) -> bool {
        self.lock().kept.get(&pod.uid).is_none_or(|kept| kept.listed.is_empty())
    }

    /// Why a link has ended, where the cluster knows: nothing is wrong with a pod that is gone.
    async fn why_ended(&self, added: &Added) -> Option<anyhow::Result<()>> {
        match timeout(NEWS_WITHIN, self.cluster.wait_until_ended(added)).await {
            Ok(Ended::PodGone) => Some(Ok(())),
            _ => None,
        }
    }

    fn of_end(&self, pod: &Running, ended: Ended) -> anyhow::Result<()> {
        let Ended::Container(code, words) = ended else { return Ok(()) };
        self.note(pod, |kept| kept.added = None);
        anyhow::bail!("its container has ended with code {code} {words}")
    }

    fn of_image(&self, error: anyhow::Error) -> anyhow::Error {
        match failure::is_of_another_program(&error) {
            true => error.context(ForeignImage(self.wanted.image.clone())),
            false => error,
        }
    }

    fn note(&self, pod: &Running, what: impl FnOnce(&mut Kept)) {
        what(self.lock().kept.entry(pod.uid.clone()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the program in the pod does not take the callers.
fn of_listening(error: anyhow::Error, pod: &Running) -> anyhow::Error {
    let (text, advice) = match error.downcast_ref::<Refused>() {
        Some(Refused { reason: Reason::InUse, .. }) => (
            format!("pod '{}' is exchanged by another ktctl of yours on this laptop", pod.name),
            "end that one first",
        ),
        Some(refused) => (
            format!("callers of pod '{}' can not be led here: {refused}", pod.name),
            "use --mode selector, which changes nothing in the pods",
        ),
        None => return error.context(format!("listening in pod '{}'", pod.name)),
    };
    Advised::new(text, advice).into()
}
