//! Names of Services in the laptop's hosts file, for as long as the run lives.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;
use futures_util::stream::{self, Stream, StreamExt};
use kt_cluster::Cluster;
use kt_host::Change;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::Laptop;
use crate::tasks::Tasks;

/// How long the first names may take.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// Changes that come so close together are written at once.
const TOGETHER: Duration = Duration::from_millis(300);

/// Whose names are wanted.
pub(super) struct Wanted {
    /// More namespaces beside the run's own.
    pub(super) namespaces: Vec<String>,
    /// The cluster's.
    pub(super) domain: String,
}

/// Writes the names that there are, and goes on in a task of `guards`, which tells `added` of each
/// new address.
pub(super) async fn start<F: Future<Output = ()> + Send>(
    cluster: &Cluster,
    laptop: Laptop,
    wanted: Wanted,
    guards: &Tasks,
    added: impl Fn(Vec<IpAddr>) -> F + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let mut names = Names::follow(cluster, wanted);
    let first = async { while !names.is_complete() && names.learn().await {} };
    if timeout(FIRST_WITHIN, first).await.is_err() {
        warn!("some names of the cluster come into the hosts file later");
    }
    names.write(&laptop, &added).await?;
    info!("Setting up dns in hosts mode, {} names", names.written.len());
    guards.start("hosts", async move {
        while names.learn().await {
            while let Ok(true) = timeout(TOGETHER, names.learn()).await {}
            if let Err(error) = names.write(&laptop, &added).await {
                warn!("{error:#}");
            }
        }
        anyhow::Ok(())
    });
    Ok(())
}

type Found = BTreeMap<String, IpAddr>;

/// What is known of each namespace, and how to learn more.
struct Names {
    own: String,
    domain: String,
    /// Nothing for those that have told nothing yet.
    namespaces: BTreeMap<String, Option<Found>>,
    news: Pin<Box<dyn Stream<Item = (String, Option<Found>)> + Send>>,
    written: Vec<(IpAddr, String)>,
}

impl Names {
    fn follow(cluster: &Cluster, wanted: Wanted) -> Names {
        let own = cluster.namespace().to_owned();
        let all: BTreeMap<String, Option<Found>> =
            wanted.namespaces.into_iter().chain([own.clone()]).map(|name| (name, None)).collect();
        let news = all.keys().map(|namespace| {
            let (name, end) = (namespace.clone(), namespace.clone());
            let found = cluster.follow_names(namespace).map(move |found| (name.clone(), Some(found)));
            found.chain(stream::iter([(end, None)])).boxed()
        });
        let news = stream::select_all(news).boxed();
        Names { own, domain: wanted.domain, namespaces: all, news, written: Vec::new() }
    }

    fn is_complete(&self) -> bool {
        self.namespaces.values().all(Option::is_some)
    }

    /// Waits for news; false once there can be none. Cancel safe.
    async fn learn(&mut self) -> bool {
        let Some((namespace, found)) = self.news.next().await else { return false };
        if found.is_none() {
            warn!(
                "Without the right to watch services in namespace {namespace}: its names are not in the hosts file"
            );
        }
        self.namespaces.insert(namespace, Some(found.unwrap_or_default()));
        true
    }

    async fn write<F: Future<Output = ()>>(
        &mut self,
        laptop: &Laptop,
        added: &impl Fn(Vec<IpAddr>) -> F,
    ) -> anyhow::Result<()> {
        let entries = self.entries();
        if entries == self.written {
            return Ok(());
        }
        debug!(names = entries.len(), "the hosts file changes");
        added(entries.iter().map(|(address, _)| *address).collect()).await;
        let change = Change::Hosts { entries: entries.clone() };
        laptop.lock().await.make(change).await.context("writing names to the hosts file")?;
        self.written = entries;
        Ok(())
    }

    fn entries(&self) -> Vec<(IpAddr, String)> {
        let mut entries = Vec::new();
        for (namespace, found) in &self.namespaces {
            for (service, address) in found.iter().flatten() {
                let full = [
                    format!("{service}.{namespace}"),
                    format!("{service}.{namespace}.svc"),
                    format!("{service}.{namespace}.svc.{}", self.domain),
                ];
                let short = (*namespace == self.own).then(|| service.clone());
                entries.extend(short.into_iter().chain(full).map(|name| (*address, name)));
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_the_own_namespace_has_its_short_name_too() {
        let found = |name: &str, ip: &str| Some(Found::from([(name.into(), ip.parse().expect("address"))]));
        let names = Names {
            own: "shop".into(),
            domain: "cluster.local".into(),
            namespaces: [
                ("dev".to_owned(), found("db", "10.96.0.8")),
                ("later".to_owned(), None),
                ("shop".to_owned(), found("tomcat", "10.96.0.7")),
            ]
            .into(),
            news: stream::empty().boxed(),
            written: Vec::new(),
        };

        let lines: Vec<String> = names.entries().iter().map(|(ip, name)| format!("{ip} {name}")).collect();

        let wanted = [
            "10.96.0.8 db.dev",
            "10.96.0.8 db.dev.svc",
            "10.96.0.8 db.dev.svc.cluster.local",
            "10.96.0.7 tomcat",
            "10.96.0.7 tomcat.shop",
            "10.96.0.7 tomcat.shop.svc",
            "10.96.0.7 tomcat.shop.svc.cluster.local",
        ];
        assert_eq!(lines, wanted);
        assert!(!names.is_complete());
    }
}
