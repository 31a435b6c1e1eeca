//! The name server in place, for as long as the run lives: DHCP clients and VPNs rewrite the file.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use kt_host::resolver::{Backend, read_upstream, resolv_conf};
use kt_host::{Change, Made, Paths};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::Laptop;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Put back more often than so many times in so long, another program does the same as we.
const MOST: (usize, Duration) = (5, Duration::from_secs(60));

/// What is to be in place.
pub(super) struct Wanted {
    pub(super) device: String,
    pub(super) server: IpAddr,
    pub(super) search: Vec<String>,
    pub(super) suffixes: Vec<String>,
}

impl Wanted {
    /// Puts the name server in place.
    pub(super) async fn make(&self, laptop: &Laptop) -> anyhow::Result<Backend> {
        let change = Change::Resolver {
            device: Some(self.device.clone()),
            server: self.server,
            search: self.search.clone(),
            suffixes: self.suffixes.clone(),
        };
        let made = laptop.lock().await.make(change).await.context("setting the laptop's name server")?;
        match made {
            Made::Resolver(backend) => Ok(backend),
            other => anyhow::bail!("the helper has set something else than the name server: {other:?}"),
        }
    }
}

/// Puts it back whenever another program has rewritten `resolv.conf`, and tells `changed` which name
/// servers the laptop has now. Returns only when another program keeps rewriting it.
///
/// Cancel safe.
pub(super) async fn keep(
    laptop: Laptop,
    wanted: Wanted,
    changed: impl Fn(Vec<SocketAddr>),
) -> anyhow::Result<()> {
    let paths = Paths::system();
    let mut times = VecDeque::new();
    loop {
        sleep(LOOK_EVERY).await;
        match resolv_conf::is_in_place(&paths.resolv_conf, wanted.server, &wanted.search) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                debug!(%error, "looking at the name server");
                continue;
            }
        }
        if is_fought_over(&mut times, Instant::now()) {
            let file = paths.resolv_conf.display();
            warn!(
                "another program keeps rewriting {file}, so names of the cluster may not be found; addresses go on to work"
            );
            return Ok(());
        }
        warn!("another program has rewritten {}, the name server is put back", paths.resolv_conf.display());
        match read_upstream(&paths) {
            Ok(upstream) => changed(with_port(&upstream.servers)),
            Err(error) => debug!(%error, "the laptop's name servers stay as they were"),
        }
        match wanted.make(&laptop).await {
            Ok(_) => info!("names of the cluster are found again"),
            Err(error) => warn!("{error:#}"),
        }
    }
}

/// The port on which name servers listen.
pub(super) fn with_port(servers: &[IpAddr]) -> Vec<SocketAddr> {
    servers.iter().map(|server| SocketAddr::new(*server, 53)).collect()
}

/// Notes another time, and tells whether that was once too often.
fn is_fought_over(times: &mut VecDeque<Instant>, now: Instant) -> bool {
    let (most, within) = MOST;
    times.retain(|time| now.duration_since(*time) < within);
    times.push_back(now);
    times.len() > most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_the_same_as_we_is_noticed_and_a_seldom_one_is_not() {
        let begin = Instant::now();
        let at = |secs| begin + Duration::from_secs(secs);
        let (mut often, mut seldom) = (VecDeque::new(), VecDeque::new());

        let fought: Vec<bool> = (0..6).map(|time| is_fought_over(&mut often, at(2 * time))).collect();
        let alone = (0..20).any(|time| is_fought_over(&mut seldom, at(15 * time)));

        assert_eq!(fought, [false, false, false, false, false, true]);
        assert!(!alone);
    }
}
