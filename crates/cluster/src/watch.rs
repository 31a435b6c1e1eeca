//! The states of one object as they come: watched, or polled where watching is not allowed.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use kube::api::WatchParams;
use kube::core::WatchEvent;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::ApiError;

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

/// An object under observation.
pub(crate) struct Watched<K> {
    api: Api<K>,
    name: String,
    poll: Duration,
    source: Source<K>,
}

enum Source<K> {
    /// Read it first.
    Fresh,
    /// Watch from this version on.
    Known(String),
    Watching(Events<K>),
    /// Watching is not allowed; this version was seen last.
    Polling(Option<String>),
    /// A watch ended: read it again, after a pause.
    Again,
}

impl<K> Watched<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Observes the object called `name`, which need not exist.
    pub(crate) fn new(api: Api<K>, name: &str, poll: Duration) -> Watched<K> {
        Watched { api, name: name.to_owned(), poll, source: Source::Fresh }
    }

    /// The same states as of [`Watched::next`]. Who drops `next()` of this stream, as `select!` does,
    /// drops no question that is on its way: an API server may be slower than what else is waited for.
    pub(crate) fn states(self) -> BoxStream<'static, Result<Option<K>, ApiError>> {
        stream::unfold(self, async |mut watched| {
            let state = watched.next().await;
            Some((state, watched))
        })
        .boxed()
    }

    /// The state now, then each new state; nothing while the object does not exist.
    ///
    /// An error leaves the observation intact: the next call tries again.
    /// Cancel safety: a dropped call loses no state that the next one would not bring, but asks anew.
    pub(crate) async fn next(&mut self) -> Result<Option<K>, ApiError> {
        loop {
            match &mut self.source {
                Source::Fresh => return self.read().await,
                Source::Again => {
                    tokio::time::sleep(self.poll).await;
                    self.source = Source::Fresh;
                }
                Source::Known(version) => {
                    let version = version.clone();
                    self.begin(&version).await;
                }
                Source::Watching(events) => match events.next().await {
                    Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                        return Ok(Some(object));
                    }
                    Some(Ok(WatchEvent::Deleted(_))) => return Ok(None),
                    Some(Ok(WatchEvent::Bookmark(_))) => {}
                    Some(Ok(WatchEvent::Error(_)) | Err(_)) | None => self.source = Source::Again,
                },
                Source::Polling(seen) => {
                    let seen = seen.clone();
                    if let Some(state) = self.look(seen).await? {
                        return Ok(state);
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Option<K>, ApiError> {
        match self.api.get_opt(&self.name).await {
            Ok(object) => {
                let version = object.as_ref().and_then(ResourceExt::resource_version);
                self.source = Source::Known(version.unwrap_or_else(|| "0".to_owned()));
                Ok(object)
            }
            Err(error) => {
                self.source = Source::Again;
                Err(error.into())
            }
        }
    }

    async fn begin(&mut self, version: &str) {
        let only = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        self.source = match self.api.watch(&only, version).await.map_err(ApiError::from) {
            Ok(events) => Source::Watching(Box::pin(events)),
            Err(error) if error.is_forbidden() => Source::Polling(Some(version.to_owned())),
            Err(_) => Source::Again,
        };
    }

    /// Looks after a pause; the state when it is another one than `seen`.
    async fn look(&mut self, seen: Option<String>) -> Result<Option<Option<K>>, ApiError> {
        tokio::time::sleep(self.poll).await;
        let object = self.api.get_opt(&self.name).await?;
        let version = object.as_ref().and_then(ResourceExt::resource_version);
        if version == seen {
            return Ok(None);
        }
        self.source = Source::Polling(version);
        Ok(Some(object))
    }
}
