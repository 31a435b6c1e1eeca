//! `ktctl recover`: puts one service back, whoever had exchanged it.

use anyhow::Context;
use kt_cluster::leftovers::{Outcome, Recovery, Repair, plan_recover};
use kt_cluster::target::TargetName;
use kt_host::shutdown::Triggers;
use tracing::{info, warn};

use crate::clean::{remains, say_missing};
use crate::cli::{Global, Recover};
use crate::failure::{Advised, Usage};
use crate::leftovers;

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Recover) -> Result<&str, Usage> {
    match &ask.services[..] {
        [] => Err(Usage("name of service to recover is required".into())),
        [service] => match TargetName::parse(service) {
            Ok(TargetName::Any(_) | TargetName::Service(_)) => {
                Ok(service.split_once('/').map_or(service, |(_, name)| name))
            }
            Ok(TargetName::Workload(_)) => {
                Err(Usage(format!("'{service}' is no service: name the service that leads to its pods")))
            }
            Err(bad) => Err(Usage(bad.to_string())),
        },
        many => {
            Err(Usage(format!("too many service names are spcified ({}), should be one", many.join(","))))
        }
    }
}

/// Puts the service back, unless something ends it before.
pub(crate) async fn run(global: &Global, ask: &Recover, mut triggers: Triggers) -> anyhow::Result<()> {
    let service = check(ask)?;
    tokio::select! {
        done = put_back(global, service) => done,
        trigger = triggers.wait_for_trigger() => {
            info!("Terminal signal is {trigger}");
            let text = format!("service '{service}' was not recovered to the end");
            Err(Advised::new(text, format!("type 'ktctl recover {service}' again")).into())
        }
    }
}

/// Removes what stood in the service's place, too. Cancel safety: every step is one request.
async fn put_back(global: &Global, service: &str) -> anyhow::Result<()> {
    let cluster = crate::access(global).await?;
    let seen = cluster.overview().await.context("looking at the namespace")?;
    say_missing(&seen, "removed");
    let repairs = match plan_recover(service, &seen)? {
        Recovery::Repairs(repairs) => repairs,
        Recovery::Nothing(why) => {
            info!("{why}");
            return Ok(());
        }
    };
    let mut failures = Vec::new();
    for (repair, outcome) in leftovers::repair_all(&cluster, &repairs).await {
        match outcome {
            Ok(_) if matches!(repair, Repair::Pause(_)) => {}
            Ok(Outcome::Needed) => warn!("Not done: {repair}, {}", remains::needed(&repair)),
            Ok(_) => info!("Done: {repair}"),
            Err(error) => failures.push(anyhow::Error::from(error)),
        }
    }
    match failures.into_iter().next() {
        None => info!("Original service {service} recovered"),
        Some(error) => return Err(error.context(format!("recovering service {service}"))),
    }
    Ok(())
}
