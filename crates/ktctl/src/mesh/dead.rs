//! The versions of dead runs in the routers of those who live: requests for them go on to the original
//! pods, but only after nobody has answered.

use std::time::Duration;

use anyhow::bail;
use kt_cluster::Cluster;
use kt_cluster::heartbeat::Kind;
use kt_cluster::marks::Role;
use kt_cluster::overview::{Ours, Overview};
use kt_wire::rules::Route;

use super::router::{ROUNDS, change, read, strangers};

/// The routes of dead runs in a router that lives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DeadRoutes {
    /// The meshed service.
    pub(crate) service: String,
    /// The routes, by the names of their versions.
    pub(crate) names: Vec<String>,
    /// For how long they are silent at least.
    stale: Duration,
}

/// Looks for routes whose version has given no sign of life for so long, or is gone. Nothing is
/// found where services may not be listed, or in a router that an older client made.
pub(crate) async fn find(
    cluster: &Cluster,
    seen: &Overview,
    stale: Duration,
) -> anyhow::Result<Vec<DeadRoutes>> {
    let mut all = Vec::new();
    if !seen.knows(Kind::Service) {
        return Ok(all);
    }
    for service in meshed(seen, cluster.time(), stale) {
        let Some(router) = cluster.router_if_any(service).await? else { continue };
        let Ok(Some(set)) = read(&router) else { continue };
        let is_dead = |route: &&Route| !is_version_alive(seen, &route.name, cluster.time(), stale);
        let names: Vec<String> = set.routes.iter().filter(is_dead).map(|route| route.name.clone()).collect();
        if !names.is_empty() {
            all.push(DeadRoutes { service: service.to_owned(), names, stale });
        }
    }
    Ok(all)
}

/// Takes them out of their router, but those who have come back since; a router that is gone has none.
pub(crate) async fn drop_routes(cluster: &Cluster, dead: &DeadRoutes) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let Some(router) = cluster.router_if_any(&dead.service).await? else { return Ok(()) };
        let Some(mut set) = read(&router)? else { return Ok(()) };
        let strangers = strangers(cluster, &router, &set, "").await?;
        let seen = cluster.overview().await?;
        let lives = |name: &str| is_version_alive(&seen, name, cluster.time(), dead.stale);
        set.routes.retain(|route| !dead.names.contains(&route.name) || lives(&route.name));
        if change(cluster, &router, set, strangers).await? {
            return Ok(());
        }
    }
    bail!("the router of service {} is being changed by somebody else", dead.service)
}

/// The services whose routers live.
fn meshed(seen: &Overview, now: i64, stale: Duration) -> impl Iterator<Item = &str> {
    let lives = move |ours: &&Ours| !ours.terminating && is_fresh(ours.heartbeat, now, stale);
    let routers = seen.ours.iter().filter(|ours| ours.role == Some(Role::Router));
    let pods = routers.filter(|ours| ours.object.kind == Kind::Pod).filter(lives);
    pods.filter_map(|ours| ours.config.service.as_deref())
}

fn is_version_alive(seen: &Overview, name: &str, now: i64, stale: Duration) -> bool {
    let there = seen.services.iter().find(|service| service.object.name == name);
    there.is_some_and(|there| !there.terminating && is_fresh(there.heartbeat, now, stale))
}

fn is_fresh(beat: Option<i64>, now: i64, stale: Duration) -> bool {
    beat.is_none_or(|beat| now - beat <= i64::try_from(stale.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kt_cluster::heartbeat::ObjectRef;
    use kt_cluster::overview::{Record, ServiceSeen};

    use super::*;

    fn version(name: &str, heartbeat: i64, terminating: bool) -> ServiceSeen {
        ServiceSeen {
            object: ObjectRef::new(Kind::Service, name, name),
            selector: BTreeMap::new(),
            record: Record::None,
            lock: None,
            ours: true,
            heartbeat: Some(heartbeat),
            annotated: false,
            terminating,
        }
    }

    #[test]
    fn a_version_is_dead_when_it_is_silent_or_gone_or_going() {
        let services = vec![version("a", 95, false), version("b", 89, false), version("c", 100, true)];
        let seen = Overview { services, ..Overview::default() };

        let alive = |name| is_version_alive(&seen, name, 100, Duration::from_secs(10));

        assert_eq!(["a", "b", "c", "d"].map(alive), [true, false, false, false]);
    }
}
