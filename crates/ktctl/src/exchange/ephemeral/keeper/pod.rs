//! One pod: its container, the link to it, and why that ends.

use std::time::Duration;

use kt_cluster::ephemeral::{Added, Ended, Error, Pods, Running, Standing};
use kt_cluster::shadow::Failure;
use kt_wire::{Reason, Refused};
use tokio::time::timeout;
use tracing::info;

use super::{Keeper, Told};
use crate::failure::{self, Advised};
use crate::shadow::ForeignImage;
use crate::uplink::{self, Opened};

/// How long the cluster may take to say that a pod is gone whose link has ended.
const NEWS_WITHIN: Duration = Duration::from_secs(5);

impl Keeper {
    /// Has the callers of a pod come here until that ends; an error unless the pod is gone.
    pub(super) async fn serve(&self, pod: &Running, told: &mut Option<Told>) -> anyhow::Result<()> {
        let added = match self.added(pod).await {
            Err(Error::Failed { failure: Failure::Deleted, .. }) => return Ok(()),
            Err(Error::Reading { source, .. } | Error::Adding { source, .. }) if source.is_not_found() => {
                return Ok(());
            }
            added => added.map_err(|error| self.of_image(error.into()))?,
        };
        let opened = uplink::open(&self.cluster, &pod.name, added.port, self.within).await;
        let Opened { link, incoming, keeper } = opened.map_err(|error| self.of_image(error))?;
        self.note(pod, |kept| {
            kept.link = Some(link.clone());
            kept.address = Some(pod.address);
        });
        let inbound = self.inbound.at(pod.address);
        let begun = async {
            if let Err(error) = inbound.serve(&link, incoming).await {
                return self.of_listening(error, pod, &added).await;
            }
            info!("Callers of pod {} come here", pod.name);
            told.take().map(|told| told.send(Ok(())));
            uplink::report(link.clone(), &pod.name).await;
            std::future::pending().await
        };
        let ended = tokio::select! {
            end = keeper.serve() => self.why_ended(&added).await.unwrap_or_else(|| Err(end.into())),
            ended = self.cluster.wait_until_ended(&added) => self.of_end(pod, ended),
            error = begun => Err(error),
        };
        link.end(&Reason::Cancelled.into());
        ended
    }

    /// The container of a pod that runs already, or a new one. One of a run before may just have ended.
    async fn added(&self, pod: &Running) -> Result<Added, Error> {
        let was_left = self.is_new(pod) && pod.exchanger().is_some();
        match self.add_and_wait(pod).await {
            Err(Error::Failed { failure: Failure::Crashed { code: 0, .. }, .. }) if was_left => {
                self.add_and_wait(pod).await
            }
            added => added,
        }
    }

    async fn add_and_wait(&self, pod: &Running) -> Result<Added, Error> {
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

    /// Why the program in the pod does not take the callers: of two who come at the same time one does.
    async fn of_listening(&self, error: anyhow::Error, pod: &Running, ours: &Added) -> anyhow::Error {
        let is_own = matches!(error.downcast_ref(), Some(Refused { reason: Reason::InUse, .. }));
        let read = self.cluster.running_pods(&Pods::Named(pod.name.clone())).await.unwrap_or_default();
        match read.first().filter(|_| !is_own).and_then(|pod| pod.rival(ours)) {
            Some(rival) => {
                rival.refuse(format!("pod '{}'", pod.name), self.cluster.time(), "exchange").into()
            }
            None => of_listening(error, pod),
        }
    }

    fn of_image(&self, error: anyhow::Error) -> anyhow::Error {
        match failure::is_of_another_program(&error) {
            true => error.context(ForeignImage(self.wanted.image.clone())),
            false => error,
        }
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
