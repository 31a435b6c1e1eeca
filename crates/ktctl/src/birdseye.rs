//! `ktctl birdseye`: who does what to which service.

mod show;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use kt_cluster::Cluster;
use kt_cluster::heartbeat::Kind;
use kt_cluster::overview::{Overview, State};
use kt_host::shutdown::Triggers;
use tokio::time::sleep;
use tracing::{info, warn};

use self::show::{Seen, SortBy};
use crate::clean;
use crate::cli::{Birdseye, Global, Output};
use crate::failure::{Advised, Usage};

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Birdseye) -> Result<SortBy, Usage> {
    match ask.sort_by.as_str() {
        "status" => Ok(SortBy::Status),
        "name" => Ok(SortBy::Name),
        other => Err(Usage(format!("invalid sort method: {other}"))),
    }
}

/// Prints what is seen, once or until something ends it.
pub(crate) async fn run(global: &Global, ask: &Birdseye, mut triggers: Triggers) -> anyhow::Result<()> {
    let look = async { look(&crate::access(global).await?, ask).await };
    tokio::select! {
        done = look => done,
        trigger = triggers.wait_for_trigger() => {
            info!("Terminal signal is {trigger}");
            Ok(())
        }
    }
}

async fn look(cluster: &Cluster, ask: &Birdseye) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let seen = see(cluster, ask).await?;
        let text = match ask.output {
            Output::Text => show::text(&seen),
            Output::Json => show::json(&seen),
        };
        if text != last {
            print(&text)?;
            last = text;
        }
        if !ask.watch {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn see(cluster: &Cluster, ask: &Birdseye) -> anyhow::Result<Seen> {
    let overview = cluster.overview().await.context("looking at the namespace")?;
    clean::check_readable(&overview)?;
    check_services(&overview)?;
    let mut services = overview.activities();
    services.retain(|service| !ask.hide_natural_service || service.state != State::Normal);
    show::sort(&mut services, check(ask)?);
    let connectors = match ask.show_connector {
        true => Some(cluster.connectors().await.context("looking for users")?),
        false => None,
    };
    if connectors.as_ref().is_some_and(|connectors| !connectors.whole_cluster) {
        info!("Only namespace {} can be searched for users", cluster.namespace());
    }
    Ok(Seen { namespace: cluster.namespace().into(), services, connectors, now: cluster.time() })
}

fn check_services(seen: &Overview) -> Result<(), Advised> {
    for (kind, right) in &seen.missing {
        match kind {
            Kind::Service => {
                let advice = format!("ask for the right to {right}");
                return Err(Advised::new("services can not be read", advice));
            }
            Kind::Pod => warn!("without the right to {right} users are not known"),
            Kind::Deployment | Kind::ConfigMap => {}
        }
    }
    Ok(())
}

/// Whoever reads our output may have gone: that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("printing"),
    }
}
