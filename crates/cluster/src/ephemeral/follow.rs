//! The pods that are meant: those that run, and each that begins to.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::time::sleep;

use super::failure::{Error, reading};
use super::{Exchanger, Pods, Running};
use crate::Cluster;
use crate::target::selector_text;

/// Between two looks at pods that may be listed but not watched.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Cluster {
    /// The pods that run now. A pod that was named must be one of them.
    pub async fn running_pods(&self, pods: &Pods) -> Result<Vec<Running>, Error> {
        match pods {
            Pods::Named(name) => Ok(vec![self.running_pod(name).await?]),
            Pods::Selected(_) => self.list_running(pods).await,
        }
    }

    /// Each pod that runs, as often as something about it changes; those that run already, too.
    /// Troubles of the way are waited out. Does not end.
    pub fn follow_running(&self, pods: &Pods) -> impl Stream<Item = Running> + Send + use<> {
        let config = match pods {
            Pods::Selected(selector) => watcher::Config::default().labels(&selector_text(selector)),
            Pods::Named(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
        };
        let mut was_allowed = false;
        let watched = watcher(self.objects::<Pod>(), config)
            .default_backoff()
            .take_while(move |event| {
                was_allowed |= matches!(event, Ok(event) if !matches!(event, Event::Init)); // that is a beginning only
                ready(was_allowed || !event.as_ref().is_err_and(crate::ranges::follow::is_forbidden))
            })
            .filter_map(|event| {
                ready(match event {
                    Ok(Event::InitApply(pod) | Event::Apply(pod)) => Running::read(pod),
                    _ => None,
                })
            });
        watched.chain(self.poll_running(pods))
    }

    /// Who exchanges pods with these labels in this mode; nobody where pods may not be listed.
    pub async fn exchangers_inside(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Exchanger>, Error> {
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        match self.list_running(&Pods::Selected(labels.clone())).await {
            Ok(pods) => Ok(pods.iter().filter_map(Running::exchanger).collect()),
            Err(Error::Reading { source, .. }) if source.is_forbidden() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn poll_running(&self, pods: &Pods) -> impl Stream<Item = Running> + Send + use<> {
        let looks = stream::unfold((self.clone(), pods.clone()), |(cluster, pods)| async move {
            sleep(LOOK_EVERY).await;
            let seen = cluster.list_running(&pods).await.unwrap_or_default(); // another look follows
            Some((stream::iter(seen), (cluster, pods)))
        });
        looks.flatten()
    }

    async fn running_pod(&self, name: &str) -> Result<Running, Error> {
        let pods: Api<Pod> = self.objects();
        let read = pods.get_opt(name).await.map_err(|error| reading(name)(error.into()))?;
        let none = || Error::NoPod { name: name.to_owned(), namespace: self.namespace().to_owned() };
        Running::read(read.ok_or_else(none)?).ok_or_else(|| Error::NotRunning(name.to_owned()))
    }

    async fn list_running(&self, pods: &Pods) -> Result<Vec<Running>, Error> {
        let which = match pods {
            Pods::Selected(selector) => ListParams::default().labels(&selector_text(selector)),
            Pods::Named(name) => ListParams::default().fields(&format!("metadata.name={name}")),
        };
        let listed = self.objects::<Pod>().list(&which).await;
        let listed =
            listed.map_err(|error| Error::Reading { what: "pods".to_owned(), source: error.into() })?;
        Ok(listed.items.into_iter().filter_map(Running::read).collect())
    }
}
