//! The Services of a namespace with one address each, as they come and go.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::ready;
use std::hash::Hash;
use std::net::IpAddr;

use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::follow::is_forbidden;
use super::read::{addresses_of, cluster_addresses};
use crate::Cluster;

impl Cluster {
    /// The names and addresses of a namespace's Services: those that exist, then anew whenever one of
    /// them, or a pod, has changed. A headless Service has the address of one of its pods; one without
    /// selector, or for a name outside, has none.
    ///
    /// Troubles of the way are waited out. Ends when Services may not be watched from the start.
    pub fn follow_names(
        &self,
        namespace: &str,
    ) -> impl Stream<Item = BTreeMap<String, IpAddr>> + Send + use<> {
        let (services, changed) = stored::<Service>(Api::namespaced(self.client(), namespace));
        let (pods, moved) = stored::<Pod>(Api::namespaced(self.client(), namespace));
        // Without Services there is nothing to tell, so the end of theirs is the end.
        let changed = changed.map(|()| Some(true)).chain(stream::iter([None]));
        let moved = moved.map(|()| Some(false));
        let mut is_known = false;
        stream::select(changed, moved).take_while(|event| ready(event.is_some())).filter_map(move |event| {
            is_known |= event == Some(true);
            let all = || {
                let (services, pods) = (services.state(), pods.state());
                addresses(services.iter().map(AsRef::as_ref), pods.iter().map(AsRef::as_ref))
            };
            ready(is_known.then(all))
        })
    }
}

/// A copy of all objects of a kind, and an event for each change of it.
fn stored<K>(api: Api<K>) -> (Store<K>, impl Stream<Item = ()> + Send)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let (store, writer) = reflector::store();
    let mut was_allowed = false;
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .take_while(move |event| {
            was_allowed |= matches!(event, Ok(event) if !matches!(event, watcher::Event::Init));
            ready(was_allowed || !event.as_ref().is_err_and(is_forbidden))
        })
        .reflect(writer)
        // While a list comes in the store is not complete.
        .filter_map(|event| {
            let is_news = matches!(
                event,
                Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_))
            );
            ready(is_news.then_some(()))
        });
    (store, events)
}

fn addresses<'a>(
    services: impl Iterator<Item = &'a Service>,
    pods: impl Iterator<Item = &'a Pod> + Clone,
) -> BTreeMap<String, IpAddr> {
    let address = |service: &Service| {
        let own = cluster_addresses(service).first().copied();
        own.or_else(|| {
            pods.clone()
                .filter(|pod| selects(service, pod))
                .find_map(|pod| addresses_of(pod).first().copied())
        })
    };
    services.filter_map(|service| Some((service.name_any(), address(service)?))).collect()
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a service")
    }

    fn pod(labels: serde_json::Value, ip: Option<&str>) -> Pod {
        serde_json::from_value(json!({"metadata": {"labels": labels}, "status": {"podIP": ip}}))
            .expect("a pod")
    }

    #[test]
    fn a_service_has_its_own_address_and_a_headless_one_that_of_a_pod() {
        let services = [
            service("tomcat", json!({"clusterIP": "10.96.0.7", "selector": {"app": "tomcat"}})),
            service("db", json!({"clusterIP": "None", "selector": {"app": "db"}})),
            service("empty", json!({"clusterIP": "None", "selector": {"app": "nobody"}})),
            service("open", json!({"clusterIP": "None"})),
            service("far", json!({"type": "ExternalName", "externalName": "example.com"})),
        ];
        let pods = [
            pod(json!({"app": "db"}), None),
            pod(json!({"app": "tomcat"}), Some("10.244.1.4")),
            pod(json!({"app": "db"}), Some("10.244.1.5")),
        ];

        let found = addresses(services.iter(), pods.iter());

        let wanted = [("db", "10.244.1.5"), ("tomcat", "10.96.0.7")];
        assert_eq!(found, wanted.map(|(name, ip)| (name.to_owned(), ip.parse().expect("address"))).into());
    }
}
