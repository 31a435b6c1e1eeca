//! Mode scale: the shadow takes the place of the pods, by their labels, and the Deployment is scaled
//! to nothing. Nothing about the service changes, which is what a service mesh may demand.

mod end;
mod stand_in;

use std::collections::BTreeMap;

use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::marks::{Config, Role};
use kt_cluster::redirect::Owner;
use kt_cluster::scale::{Back, Counted, Workload};
use kt_cluster::shadow::ShadowWanted;
use kt_cluster::target::{Expose, Exposed, NoSuchPort, TargetName, Way, shadow_ports};
use kt_cluster::workload::{WorkloadKind, WorkloadName};
use kt_host::home::{host_name, user_name};
use kt_host::private_file::PrivateFile;
use kt_host::shutdown::Triggers;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::stand_in::StandIn;
use super::{check, takeover};
use crate::cli::{Exchange, Global, Ports};
use crate::failure::{Advised, Usage};
use crate::inbound::deliver::Delivery;
use crate::inbound::{self, Inbound};
use crate::report::events::Ready;
use crate::run::{Journal, Journals, Run};
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;
use crate::{cleanup, env_file, heartbeat, inside, leftovers, losses};

/// How long the original pods may take to leave before we say that we are ready.
const LEAVE: std::time::Duration = std::time::Duration::from_secs(15);

/// What was made and has to be undone; the rest stands in the journal.
#[derive(Default)]
struct Made {
    cluster: Option<(Cluster, Journal)>,
    shadow: Option<Keeper>,
    inbound: Option<Inbound>,
    /// It goes when this goes.
    env_file: Option<PrivateFile>,
    guards: Tasks,
}

/// Runs until something ends it, and gives the Deployment its pods back.
pub(super) async fn run(global: &Global, ask: &Exchange, triggers: Triggers) -> anyhow::Result<()> {
    let mut run = Run::begin("exchange", triggers)?;
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(global, ask, &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = end::undo(&mut run, made, ask.recover_wait_time).await;
    outcome.and(cleanup::outcome(&run, is_undone))
}

async fn start(
    global: &Global,
    ask: &Exchange,
    made: &mut Made,
    tasks: &Tasks,
    journals: &Journals,
) -> anyhow::Result<()> {
    let (name, ports) = check(ask)?;
    let cluster = crate::access(global).await?;
    tasks.start("rights", losses::say(cluster.clone(), &losses::SCALE));
    let journal = journals.open(global, &cluster)?;
    made.cluster = Some((cluster.clone(), journal.clone()));
    leftovers::of_this_laptop().await;
    info!("Using scale mode");
    let workload = cluster.find_workload(&TargetName::parse(name)?).await?;
    check_rights(&cluster, workload.name.kind).await?;
    check_labels(global, &workload)?;
    if let Some(target) = &workload.target {
        inbound::warn_of_kind(target, Way::Replace)?;
    }
    let exposed = resolve(&workload, &ports.pairs)?;
    let deliveries = deliveries(&exposed, ask.proxy_protocol);
    if !ask.skip_port_checking {
        inbound::check_ports(&deliveries).await?;
    }
    let from = takeover::ask_workload(&cluster, &workload, ask).await?;
    let title =
        workload.target.as_ref().map_or(workload.name.to_string(), |it| format!("service '{}'", it.service));
    inside::check(&cluster, title, &workload.labels, "exchange").await?;
    let env_file = ask.env_file.as_deref();
    made.env_file = env_file::write(&cluster, env_file, &workload.labels, &exposed, &journal).await?;
    let Counted { replicas, taken } = lock(&cluster, &workload, &journal, from.as_deref()).await?;
    match &taken {
        Some(there) => info!("Taking {} over from {}", workload.name, there.user),
        None => warn_of(&cluster, &workload, replicas).await,
    }

    let wanted = wanted(global, ports, &workload, replicas, &exposed)?;
    let own_labels = wanted.labels.clone();
    if let Some(target) = &workload.target {
        inbound::warn_of_names(target, &wanted.ports);
    }
    let keeper = Keeper::new(&cluster, global, &journal, wanted, &workload.name.name);
    made.shadow = Some(keeper.clone());
    let (shadow, opened) = keeper.open().await?;
    let inbound = Inbound::new(deliveries, tasks);
    made.inbound = Some(inbound.clone());
    let link = opened.link.clone();
    let stand_in = StandIn::new(&cluster, &workload, &own_labels, &inbound, &journal);
    let (kept, successor) = (keeper.clone(), stand_in.clone());
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    inbound.serve(&link, opened.incoming).await?;
    let pods = taken.iter().map(|there| there.pod.clone()).collect();
    journal.note_scaled(Scaled { workload: workload.name.clone(), replicas, taken: pods });
    stand_in.join(&shadow).await?;

    scale_to_nothing(&cluster, &workload.name, replicas).await?;
    stand_in.is_alone();
    if let Some(there) = &taken {
        stand_in.succeed(there).await?;
    }
    unlock(&cluster, &journal).await?;
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, Vec::new()));
    made.guards.start("guard", stand_in.guard());
    let guards = made.guards.clone();
    tasks.start("exchange", async move { Err::<(), _>(guards.why_failed().await) });
    sleep(SETTLE).await; // each node learns by itself which pods are left
    if let Some(target) = &workload.target {
        inbound.wait_for_callers(&link, &target.service, target.called_port(&exposed)).await;
    }
    let ready = format!("Now all request to {} will be redirected to local", workload.name);
    let WorkloadName { kind, name } = &workload.name;
    inbound.ready(Ready::new(&cluster, "exchange", Some("scale")).of(kind, name), &ready);
    Ok(())
}

/// Names what is missing before anything is changed.
async fn check_rights(cluster: &Cluster, kind: WorkloadKind) -> anyhow::Result<()> {
    let missing = cluster.missing_to_scale(kind).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let rights: Vec<String> = missing.iter().map(|right| format!("the right to {right}")).collect();
    let text = format!("exchange by scale needs {}", rights.join(", "));
    Err(Advised::new(text, "docs/rbac/exchange-scale.yaml has what it needs besides the common role").into())
}

/// A label of the user that hides the shadow from the callers is a mistake.
fn check_labels(global: &Global, workload: &Workload) -> Result<(), Usage> {
    let pairs = global.with_label.iter().flat_map(|pairs| pairs.0.iter());
    let mut pairs = pairs.filter(|(key, value)| workload.labels.get(key).is_some_and(|own| own != value));
    match pairs.next() {
        None => Ok(()),
        Some((key, value)) => Err(Usage(format!(
            "--withLabel {key}={value} would hide the shadow, {} has {key}={}",
            workload.name, workload.labels[key]
        ))),
    }
}

/// A Deployment without a Service is called on the ports of its pods.
fn resolve(workload: &Workload, pairs: &[Expose]) -> Result<Vec<Exposed>, NoSuchPort> {
    if let Some(target) = &workload.target {
        return target.resolve(pairs);
    }
    let plain = |pair: &Expose| Exposed {
        laptop: pair.laptop,
        pod: pair.cluster,
        service: pair.cluster,
        name: None,
        protocol: pair.protocol().into(),
    };
    Ok(pairs.iter().map(plain).collect())
}

/// Tells how many replicas the Deployment is meant to have, while we hold its lock.
async fn lock(
    cluster: &Cluster,
    workload: &Workload,
    journal: &Journal,
    from: Option<&str>,
) -> anyhow::Result<Counted> {
    let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
    journal.note_lock(&workload.name, &owner.to_string());
    let counted = cluster.lock_workload(&workload.name, &owner, from).await?;
    info!("{} locked", titled(&workload.name));
    Ok(counted)
}

/// Content when there is no lock, or not any more.
async fn unlock(cluster: &Cluster, journal: &Journal) -> anyhow::Result<()> {
    if let Some((workload, owner)) = journal.status().locked {
        cluster.unlock_workload(&workload, &owner).await?;
        journal.forget_lock();
    }
    Ok(())
}

async fn warn_of(cluster: &Cluster, workload: &Workload, replicas: i32) {
    warn!(
        "{} is scaled from {replicas} to 0 replicas: the service is interrupted while its pods restart, never do this in production",
        workload.name
    );
    if let Some(keeper) = &workload.kept {
        warn!("{keeper}");
    }
    for interferer in cluster.interferers(workload).await {
        warn!("{interferer}");
    }
}

/// Returns once the original pods are on their way out.
async fn scale_to_nothing(cluster: &Cluster, workload: &WorkloadName, replicas: i32) -> anyhow::Result<()> {
    info!("Scaling {} {} from {replicas} to 0", workload.kind, workload.name);
    cluster.scale_to_nothing(workload).await?;
    info!("{} scaled to 0", titled(workload));
    match timeout(LEAVE, cluster.wait_until_settled(workload, &|_, _| {})).await {
        Ok(settled) => Ok(settled?),
        Err(_) => {
            warn!("not all pods of {workload} have left yet, they may take some calls");
            Ok(())
        }
    }
}

fn wanted(
    global: &Global,
    ports: &Ports,
    workload: &Workload,
    replicas: i32,
    exposed: &[Exposed],
) -> anyhow::Result<ShadowWanted> {
    let WorkloadName { kind, name } = workload.name.clone();
    let wanted = shadow::wanted(global, Role::Exchange, &name)?;
    Ok(ShadowWanted {
        // A replica set takes pods with its labels for its own, unless somebody keeps them.
        deployment: wanted.deployment || kind == WorkloadKind::ReplicaSet,
        expose: ports.text.clone(),
        borrow_from: workload.labels.clone(),
        ports: shadow_ports(exposed),
        mode: "scale".into(),
        target_service: workload.target.as_ref().map(|target| target.service.clone()).unwrap_or_default(),
        config: Config { app: Some(name), kind, replicas: Some(replicas), ..Config::default() },
        ..wanted
    })
}

/// While this laptop is away nobody else is there.
fn deliveries(exposed: &[Exposed], says_caller: bool) -> Vec<Delivery> {
    let deliveries = inbound::deliveries("", exposed, says_caller).into_iter();
    deliveries.map(|delivery| Delivery { otherwise: None, ..delivery }).collect()
}

/// A workload that a run has scaled to nothing.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Scaled {
    #[serde(rename = "deployment")]
    pub(crate) workload: WorkloadName,
    /// How many it had.
    pub(crate) replicas: i32,
    /// Pods of the shadows from which it was taken over: they give nothing back.
    #[serde(default)]
    pub(crate) taken: Vec<String>,
}

/// Undoes what stands in a journal, whether its run lives or not; the shadows come later. Tells what
/// became of the workload.
pub(crate) async fn put_back(
    cluster: &Cluster,
    scaled: Option<&Scaled>,
    locked: Option<&(WorkloadName, String)>,
    shadows: &[String],
) -> anyhow::Result<Option<Back>> {
    let mut back = None;
    if let Some(Scaled { workload, replicas, taken }) = scaled {
        let ours = [shadows, taken].concat();
        let became = cluster.scale_back(workload, *replicas, &ours).await?;
        say_back(workload, *replicas, &became);
        back = Some(became);
    }
    if let Some((workload, owner)) = locked {
        cluster.unlock_workload(workload, owner).await?;
    }
    Ok(back)
}

fn say_back(workload: &WorkloadName, replicas: i32, back: &Back) {
    match back {
        Back::Done => info!("{} scaled back to {replicas}", titled(workload)),
        Back::Changed(now) if *now == replicas => {}
        Back::Changed(now) => {
            warn!("{workload} was scaled to {now} by somebody, and stays so");
        }
        Back::Taken(user) => info!("{workload} is exchanged by {user} now"),
        Back::Gone => info!("{workload} does not exist any more"),
    }
}

/// As a line begins.
fn titled(workload: &WorkloadName) -> String {
    let kind = workload.kind.to_string();
    format!("{}{} {}", kind[..1].to_uppercase(), &kind[1..], workload.name)
}

/// The labels that make a shadow a pod of the Deployment's callers.
type Labels = BTreeMap<String, String>;
