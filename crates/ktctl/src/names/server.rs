//! Answers a query: looks for a remembered answer, else asks as `order` says, and takes care that
//! addresses of the cluster can be reached before anybody hears of them.

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::cache::Cache;
use super::message::{self, Query, Read};
use super::mode::Element;
use super::order::{Ask, Plan, Zones, plan};
use super::renamed::{addresses, renamed, restored};
use super::{Answers, upstream};
use crate::outbound::dial::Dial;

/// Makes addresses of the cluster reachable. Cloning shares what is behind it.
pub(crate) trait Routes: Clone + Send + Sync + 'static {
    /// Returns once the addresses are routed into the cluster, or it is clear that they will not be.
    /// Is asked for the same ones again and again.
    fn routed(&self, addresses: &[IpAddr]) -> impl Future<Output = ()> + Send;
}

/// How the name server works.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Who is asked, the preferred first.
    pub(crate) order: Vec<Element>,
    /// The system's name servers as they were before.
    pub(crate) upstream: Vec<SocketAddr>,
    /// Where we ourselves answer: never asked.
    pub(crate) own: Vec<SocketAddr>,
    /// No answer is remembered for longer.
    pub(crate) longest: Duration,
    pub(crate) waits: Waits,
}

/// For how long is waited for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// A name server.
    pub(crate) server: Duration,
    /// The cluster: long enough for a far one, short enough for another source after it, as
    /// programs wait 5 s.
    pub(crate) cluster: Duration,
    /// The cluster, when a name server has an answer already.
    pub(crate) cluster_beside: Duration,
    /// The same, when the cluster did not answer the last time.
    pub(crate) cluster_silent: Duration,
    /// The way to an address.
    pub(crate) route: Duration,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits {
            server: Duration::from_secs(2),
            cluster: Duration::from_secs(3),
            cluster_beside: Duration::from_secs(1),
            cluster_silent: Duration::from_millis(50),
            route: Duration::from_secs(1),
        }
    }
}

/// A name server. Cloning shares it.
#[derive(Debug)]
pub(crate) struct Server<D, R> {
    shared: Arc<Shared<D, R>>,
}

#[derive(Debug)]
struct Shared<D, R> {
    dial: D,
    routes: R,
    settings: Settings,
    /// The system's name servers as they are now without us.
    upstream: RwLock<Vec<SocketAddr>>,
    zones: Zones,
    cache: Mutex<Cache>,
    /// The cluster did not answer the last time.
    silent: AtomicBool,
}

/// What a source said; the better ones last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// Nothing, or that it failed.
    Failed,
    NoSuchName(Vec<u8>),
    /// The name exists, but has nothing of what was asked for.
    Nothing(Vec<u8>),
    Found(Vec<u8>),
}

impl<D: Dial, R: Routes> Server<D, R> {
    pub(crate) fn new(settings: Settings, zones: Zones, dial: D, routes: R) -> Server<D, R> {
        let cache = Cache::new(settings.longest).into();
        let upstream = settings.upstream.clone().into();
        let silent = AtomicBool::new(false);
        let shared = Shared { dial, routes, settings, upstream, zones, cache, silent };
        Server { shared: Arc::new(shared) }
    }

    /// The system has other name servers now. What others have said is forgotten.
    pub(crate) fn set_upstream(&self, servers: Vec<SocketAddr>) {
        *self.shared.upstream.write().unwrap_or_else(PoisonError::into_inner) = servers;
        *self.shared.cache() = Cache::new(self.shared.settings.longest);
    }
}

impl<D: Dial, R: Routes> Answers for Server<D, R> {
    async fn answer(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let query = match message::read(query) {
            Read::Query(query) => query,
            Read::Answer(answer) => return Some(answer),
            Read::Silence => return None,
        };
        let answer = query.addressed(self.shared.whole_answer(&query, over_tcp).await);
        Some(if over_tcp { answer } else { query.fitted(answer) })
    }
}

impl<D: Dial, R: Routes> Shared<D, R> {
    async fn whole_answer(&self, query: &Query<'_>, over_tcp: bool) -> Vec<u8> {
        let key = query.key();
        if let Some(answer) = self.cache().get(&key, Instant::now()) {
            return answer;
        }
        // What is no host name can not be the cluster's.
        let name = query.name.as_deref().unwrap_or_default();
        let plan = plan(name, &self.zones, &self.settings.order);
        let said = match plan.together {
            true => self.ask_together(query, &plan, over_tcp).await,
            false => self.ask_in_turn(query, &plan.asks, plan.exists_is_final, over_tcp).await,
        };
        tracing::debug!(name, kind = query.kind(), asked = ?plan.asks, found = matches!(said, Said::Found(_)), "name");
        match said {
            Said::Failed => query.failure(message::SERVER_FAILURE),
            Said::NoSuchName(answer) | Said::Nothing(answer) | Said::Found(answer) => {
                self.cache().put(key, &answer, Instant::now());
                answer
            }
        }
    }

    /// The first one to find something has the last word, and so has the cluster on what exists.
    async fn ask_in_turn(
        &self,
        query: &Query<'_>,
        asks: &[Ask],
        exists_is_final: bool,
        over_tcp: bool,
    ) -> Said {
        let mut all: Option<Said> = None;
        for ask in asks {
            let said = self.ask(query, ask, over_tcp).await;
            let is_cluster = matches!(ask, Ask::Cluster(_));
            let is_last_word = matches!(said, Said::Found(_))
                || matches!(said, Said::Nothing(_)) && (is_cluster || exists_is_final);
            all = Some(match all {
                Some(before) => before.and(said),
                None => said,
            });
            if is_last_word {
                break;
            }
        }
        all.unwrap_or(Said::Failed)
    }

    /// The cluster is asked beside the servers. Whoever is preferred has the last word, but when
    /// the servers have an answer, the cluster is not waited for much longer.
    async fn ask_together(&self, query: &Query<'_>, plan: &Plan, over_tcp: bool) -> Said {
        let (cluster, servers): (Vec<Ask>, Vec<Ask>) =
            plan.asks.iter().cloned().partition(|ask| matches!(ask, Ask::Cluster(_)));
        let prefers_cluster = matches!(plan.asks.first(), Some(Ask::Cluster(_)));
        let silent = self.silent.load(Ordering::Relaxed);
        let mut cluster = pin!(self.ask_in_turn(query, &cluster, true, over_tcp));
        let mut servers = pin!(self.ask_in_turn(query, &servers, true, over_tcp));
        tokio::select! {
            said = &mut cluster => match said.exists() && prefers_cluster {
                true => said,
                false => {
                    let of_servers = servers.await;
                    if of_servers.exists() { of_servers } else { said.and(of_servers) }
                }
            },
            said = &mut servers => {
                let waits = &self.settings.waits;
                let patience = match (said.exists(), prefers_cluster) {
                    (true, false) => return said,
                    (true, true) if silent => waits.cluster_silent,
                    (true, true) => waits.cluster_beside,
                    (false, _) => waits.cluster, // which limits itself
                };
                match timeout(patience, cluster).await {
                    Ok(of_cluster) if of_cluster.exists() => of_cluster,
                    Ok(of_cluster) => said.and(of_cluster),
                    Err(_) => {
                        self.silent.store(true, Ordering::Relaxed);
                        said.and(Said::Failed)
                    }
                }
            }
        }
    }

    async fn ask(&self, query: &Query<'_>, ask: &Ask, over_tcp: bool) -> Said {
        match ask {
            Ask::Cluster(name) => self.ask_cluster(query, name.as_deref()).await,
            Ask::Server { address, port, tcp } => {
                let mut said = Said::Failed;
                for server in self.servers(*address, *port) {
                    let asked = upstream::ask(server, *tcp, query, over_tcp);
                    match timeout(self.settings.waits.server, asked).await {
                        Ok(Ok(answer)) => said = judge(answer),
                        Ok(Err(error)) => tracing::debug!(%server, %error, "a name server can not be asked"),
                        Err(_) => tracing::debug!(%server, "a name server did not answer in time"),
                    }
                    if said != Said::Failed {
                        break;
                    }
                }
                said
            }
        }
    }

    /// The servers that stand for an element, without ourselves.
    fn servers(&self, address: Option<IpAddr>, port: Option<u16>) -> Vec<SocketAddr> {
        let mut servers = match address {
            Some(address) => vec![SocketAddr::new(address, 53)],
            None => self.upstream.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        if let Some(port) = port {
            servers.iter_mut().for_each(|server| server.set_port(port));
        }
        servers.retain(|server| !self.settings.own.contains(server));
        servers
    }

    async fn ask_cluster(&self, query: &Query<'_>, other_name: Option<&str>) -> Said {
        let bytes = match other_name.map(|name| renamed(query.bytes, name)) {
            None => query.bytes.to_vec(),
            Some(Some(bytes)) => bytes,
            Some(None) => return Said::Failed, // too long with what is put behind it
        };
        let answer = timeout(self.settings.waits.cluster, self.dial.names(&bytes)).await;
        let Ok(Ok(answer)) = answer else {
            self.silent.store(true, Ordering::Relaxed);
            return Said::Failed;
        };
        self.silent.store(false, Ordering::Relaxed);
        let answer = match other_name {
            Some(_) => restored(&answer, query.bytes),
            None => Some(answer),
        };
        let Some(answer) = answer.filter(|answer| query.is_answered_by(answer)) else { return Said::Failed };
        let found = addresses(&answer);
        if !found.is_empty() && timeout(self.settings.waits.route, self.routes.routed(&found)).await.is_err()
        {
            tracing::warn!(?found, "addresses of the cluster are not routed in time");
        }
        judge(answer)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(answer: Vec<u8>) -> Said {
    match message::rcode(&answer) {
        0 if message::has_answers(&answer) || message::is_cut(&answer) => Said::Found(answer),
        0 => Said::Nothing(answer),
        message::NO_SUCH_NAME => Said::NoSuchName(answer),
        _ => Said::Failed,
    }
}

impl Said {
    fn exists(&self) -> bool {
        matches!(self, Said::Nothing(_) | Said::Found(_))
    }

    /// What two sources together say: that there is no such name, only if both do.
    fn and(self, other: Said) -> Said {
        match (&self, &other) {
            (Said::Failed, Said::NoSuchName(_)) | (Said::NoSuchName(_), Said::Failed) => Said::Failed,
            (Said::Nothing(_), Said::Nothing(_)) | (Said::Found(_), Said::Found(_)) => self,
            _ => self.max(other),
        }
    }
}

impl<D, R> Clone for Server<D, R> {
    fn clone(&self) -> Server<D, R> {
        Server { shared: self.shared.clone() }
    }
}
