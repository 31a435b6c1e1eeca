//! `ktctl clean`: what dead runs have left, in the cluster and on this laptop.

mod local;
pub(crate) mod remains;
mod sections;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use kt_cluster::Cluster;
use kt_cluster::heartbeat::Kind;
use kt_cluster::leftovers::{Error, Outcome, Repair, plan_sweep};
use kt_cluster::marks;
use kt_cluster::overview::{Ours, Overview};
use kt_host::Helper;
use kt_host::shutdown::Triggers;
use tracing::{debug, info, warn};

use crate::cli::{Clean, Global};
use crate::failure::Advised;
use crate::mesh::dead::{self, DeadRoutes};
use crate::run::Status;
use crate::{cleanup, leftovers};

/// Living runs give a sign of life this often, in minutes.
const BEAT: u32 = 2;

/// Cleans once; a signal ends it between two steps.
pub(crate) async fn run(
    global: &Global,
    ask: &Clean,
    helper: Option<Helper>,
    mut triggers: Triggers,
) -> anyhow::Result<()> {
    tokio::select! {
        done = clean(global, ask, helper) => done,
        trigger = triggers.wait_for_trigger() => {
            info!("Terminal signal is {trigger}");
            Ok(())
        }
    }
}

/// The laptop first: it needs no network.
async fn clean(global: &Global, ask: &Clean, helper: Option<Helper>) -> anyhow::Result<()> {
    let on_laptop = ask.dry_run || local::clean(helper, ask.local_only).await;
    let in_cluster = ask.local_only || clean_cluster(global, ask).await?;
    if on_laptop && in_cluster { Ok(()) } else { Err(cleanup::Incomplete.into()) }
}

/// Tells whether all that was to be done is done.
async fn clean_cluster(global: &Global, ask: &Clean) -> anyhow::Result<bool> {
    if ask.threshold_in_minus < BEAT {
        let text = "runs that live give a sign of life every 2 minutes only, they may be ended, too";
        warn!("with --thresholdInMinus {} {text}", ask.threshold_in_minus);
    }
    let cluster = crate::access(global).await?;
    let namespaces = match ask.all_namespaces {
        true => cluster.namespaces().await.context("listing the namespaces")?,
        false => vec![cluster.namespace().to_owned()],
    };
    let (mut is_complete, mut is_clean) = (true, true);
    for namespace in &namespaces {
        let cleaned = clean_namespace(&cluster.in_namespace(namespace), ask, namespaces.len() > 1).await?;
        is_complete &= cleaned.is_complete;
        is_clean &= cleaned.was_clean;
    }
    let elsewhere: Vec<Status> = leftovers::dead_runs()
        .into_iter()
        .map(|(_, status)| status)
        .filter(|status| status.context != cluster.context() || !namespaces.contains(&status.namespace))
        .collect();
    if is_clean && elsewhere.iter().all(Status::is_empty) {
        info!("No unavailing kt resource found");
    }
    match ask.dry_run {
        true => say_elsewhere(&elsewhere),
        false => leftovers::of_this_laptop().await,
    }
    Ok(is_complete)
}

/// What cleaning a namespace has come to.
struct Cleaned {
    was_clean: bool,
    is_complete: bool,
}

/// Cleans the namespace of `cluster`, or tells what would be done. With `named`, what is told is
/// told about this one of several.
async fn clean_namespace(cluster: &Cluster, ask: &Clean, named: bool) -> anyhow::Result<Cleaned> {
    let seen = cluster.overview().await.context("looking at the namespace")?;
    if !named {
        check_readable(&seen)?;
    }
    say_missing(&seen, "cleaned");
    let dead = leftovers::dead_runs().into_iter().map(|(_, status)| status);
    let here: Vec<Status> = dead.filter(|status| is_of(status, cluster)).collect();
    let stale = Duration::from_secs(60 * u64::from(ask.threshold_in_minus));
    let plan = plan_sweep(&seen, cluster.time(), stale, &own(&seen, &here));
    let routes = dead::find(cluster, &seen, stale).await?;
    let was_clean = plan.is_empty() && routes.is_empty();
    if was_clean {
        return Ok(Cleaned { was_clean, is_complete: true });
    }
    if named {
        info!("---- Namespace {} ----", cluster.namespace());
    }
    if ask.dry_run {
        say_found(&plan, &seen);
        say_routes("Find", "to remove", &routes);
        return Ok(Cleaned { was_clean, is_complete: true });
    }
    let is_repaired = carry_out(cluster, &plan, &seen).await;
    let is_complete = drop_routes(cluster, &routes).await && is_repaired;
    info!("Done");
    Ok(Cleaned { was_clean, is_complete })
}

fn say_routes(deed: &str, what_for: &str, routes: &[DeadRoutes]) {
    let names: Vec<&String> = routes.iter().flat_map(|dead| &dead.names).collect();
    if !names.is_empty() {
        info!("{}", format!("{deed} {} dead versions of meshed services {what_for}", names.len()).trim_end());
        names.iter().for_each(|name| info!(" * {name}"));
    }
}

/// Tells whether all dead routes are gone.
async fn drop_routes(cluster: &Cluster, routes: &[DeadRoutes]) -> bool {
    say_routes("Removing", "", routes);
    let mut is_complete = true;
    for routes in routes {
        if let Err(error) = dead::drop_routes(cluster, routes).await {
            warn!("the router of service {} keeps them: {error:#}", routes.service);
            is_complete = false;
        }
    }
    is_complete
}

fn is_of(status: &Status, cluster: &Cluster) -> bool {
    status.context == cluster.context() && status.namespace == cluster.namespace()
}

/// The uids of what dead runs of this laptop have left here.
fn own(seen: &Overview, dead: &[Status]) -> BTreeSet<String> {
    let is_own = |ours: &Ours| dead.iter().any(|status| status.shadows.contains(&ours.object.name));
    let shadows =
        seen.ours.iter().filter(|ours| is_own(ours) || seen.deployment_of(ours).is_some_and(is_own));
    let services = seen.services.iter().filter(|service| {
        let target = service.selector.get(marks::TARGET);
        let previewed = dead.iter().filter_map(|status| status.previewed.as_ref());
        let mut previewed = previewed.filter(|(name, _)| *name == service.object.name);
        previewed.any(|(_, ours)| target.is_some() && ours.get(marks::TARGET) == target)
    });
    let objects = shadows.map(|ours| &ours.object).chain(services.map(|service| &service.object));
    objects.map(|object| object.uid.clone()).collect()
}

/// Fails when there is no kind of object that may be read.
pub(crate) fn check_readable(seen: &Overview) -> Result<(), Advised> {
    match &seen.missing[..] {
        [(_, right), _, _, _] => {
            let advice =
                format!("is the name of the namespace right? If it is, ask for the right to {right}");
            Err(Advised::new("nothing of the namespace can be read", advice))
        }
        _ => Ok(()),
    }
}

/// What can not be seen can not be `done`.
pub(crate) fn say_missing(seen: &Overview, done: &str) {
    for (kind, right) in &seen.missing {
        match kind {
            Kind::Pod | Kind::Service => warn!("without the right to {right} {kind}s are not {done}"),
            Kind::Deployment | Kind::ConfigMap => debug!(%right, "{kind}s are not {done}"),
        }
    }
}

fn say_found(plan: &[Repair], seen: &Overview) {
    for (section, repairs) in sections::split(plan, seen) {
        info!("{}", section.found(repairs.len()));
        for repair in repairs {
            info!(" * {}", sections::item(repair));
        }
    }
}

fn say_elsewhere(elsewhere: &[Status]) {
    for Status { context, namespace, shadows, redirected, previewed, .. } in elsewhere {
        let services = redirected.iter().chain(previewed).map(|(service, _)| service);
        let names: Vec<&str> = services.chain(shadows).map(String::as_str).collect();
        if !names.is_empty() {
            info!("Find things of a killed run in namespace {namespace} of context {context}:");
            info!(" * {}", names.join(", "));
        }
    }
}

/// Repairs all that can be repaired, and says what. Tells whether everything could.
async fn carry_out(cluster: &Cluster, plan: &[Repair], seen: &Overview) -> bool {
    let done = leftovers::repair_all(cluster, plan).await;
    for (section, repairs) in sections::split(plan, seen) {
        info!("{}", section.doing(repairs.len()));
        for (repair, outcome) in done.iter().filter(|(repair, _)| repairs.contains(&repair)) {
            say_outcome(cluster, &sections::item(repair), repair, outcome);
        }
    }
    done.iter().all(|(repair, outcome)| !remains::counts(repair, outcome))
}

fn say_outcome(cluster: &Cluster, item: &str, repair: &Repair, outcome: &Result<Outcome, Error>) {
    match outcome {
        Ok(Outcome::Done | Outcome::Gone) => info!(" * {item}"),
        Ok(Outcome::Alive) => info!(" * {item} has come to life again and stays"),
        Ok(Outcome::Needed) => warn!(" * {item} stays, {}", remains::needed(repair)),
        Err(error) => {
            warn!(" * {item} stays: {}", remains::why(repair, error));
            if let Some(command) = remains::command(repair, cluster.namespace()) {
                warn!(">> {} by: {command}", remains::deed(error));
            }
        }
    }
}
