//! The addresses of the namespace as its Services and pods appear.
//!
//! Only the namespace is followed, whatever the rights: in all of a big cluster that would be much
//! traffic for what its named ranges and the answers of its name server tell, too.

use std::fmt::Debug;
use std::future::ready;
use std::net::IpAddr;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::read::{addresses_of, cluster_addresses};
use crate::Cluster;

/// How many objects one answer of the API server brings.
const PAGE: u32 = 500;
/// Forbidden, as HTTP says it.
const FORBIDDEN: u16 = 403;

impl Cluster {
    /// The addresses of each Service and, unless `without_pods`, of each pod of the namespace: of
    /// those that exist, then of each that appears or changes.
    ///
    /// Troubles of the way are waited out. Ends when watching is not allowed from the start; later
    /// that may be an API server which has just begun to read its roles.
    pub fn follow_addresses(&self, without_pods: bool) -> impl Stream<Item = Vec<IpAddr>> + Send + use<> {
        let services = follow(self.objects::<Service>(), cluster_addresses);
        let pods = (!without_pods).then(|| follow(self.objects::<Pod>(), addresses_of));
        stream::select(services, stream::iter(pods).flatten())
    }
}

fn follow<K>(api: Api<K>, addresses: fn(&K) -> Vec<IpAddr>) -> impl Stream<Item = Vec<IpAddr>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default,
{
    let mut was_allowed = false;
    watcher(api, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .take_while(move |event| {
            was_allowed |= matches!(event, Ok(event) if !matches!(event, Event::Init)); // that is a beginning only
            ready(was_allowed || !event.as_ref().is_err_and(is_forbidden))
        })
        .filter_map(move |event| {
            let found = match &event {
                Ok(Event::InitApply(object) | Event::Apply(object)) => addresses(object),
                _ => Vec::new(),
            };
            ready((!found.is_empty()).then_some(found))
        })
}

/// Is watching not allowed?
pub(crate) fn is_forbidden(error: &Error) -> bool {
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error)) = error else { return false };
    matches!(error, kube::Error::Api(status) if status.code == FORBIDDEN)
}
