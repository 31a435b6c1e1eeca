//! Mode ephemeral: a container of ours in each pod of the service leads the pod's callers here. The
//! service, its pods and who selects whom stay as they are.

mod chosen;
mod end;
mod keeper;

use std::time::Duration;

use kt_cluster::Cluster;
use kt_cluster::ephemeral::{self, Running};
use kt_cluster::redirect::{self, Owner};
use kt_cluster::target::shadow_ports;
use kt_host::home::{host_name, user_name};
use kt_host::private_file::PrivateFile;
use kt_host::shutdown::Triggers;
use tracing::{debug, info, warn};

use self::chosen::Chosen;
use self::keeper::Keeper;
use super::check;
use crate::cli::{Exchange, Global};
use crate::failure::{Advised, Usage};
use crate::inbound::{self, Inbound};
use crate::report::events::Ready;
use crate::run::{Journal, Journals, Run};
use crate::tasks::Tasks;
use crate::{cleanup, env_file, leftovers};

/// What was made and has to be undone. The containers end by themselves when nobody needs them.
#[derive(Default)]
struct Made {
    cluster: Option<Cluster>,
    /// Tells other commands of this laptop that this one lives.
    journal: Option<Journal>,
    keeper: Option<Keeper>,
    /// It goes when this goes.
    env_file: Option<PrivateFile>,
    /// Ended before the containers.
    guards: Tasks,
}

/// Runs until something ends it, and gives the pods their callers back.
pub(super) async fn run(global: &Global, ask: &Exchange, triggers: Triggers) -> anyhow::Result<()> {
    let image = image(global)?;
    let mut run = Run::begin("exchange", triggers)?;
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(global, ask, &image, &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = end::undo(&mut run, made).await;
    outcome.and(cleanup::outcome(&run, is_undone))
}

async fn start(
    global: &Global,
    ask: &Exchange,
    image: &str,
    made: &mut Made,
    tasks: &Tasks,
    journals: &Journals,
) -> anyhow::Result<()> {
    let (name, ports) = check(ask)?;
    let cluster = crate::access(global).await?;
    let journal = journals.open(global, &cluster)?;
    made.cluster = Some(cluster.clone());
    made.journal = Some(journal.clone());
    leftovers::of_this_laptop().await;
    info!("Using ephemeral mode");
    if global.image_pull_secret.is_some() {
        warn!(
            "--imagePullSecret has no effect in mode ephemeral, the pods pull the image with their own secrets"
        );
    }
    cluster.check_ephemeral()?;
    check_rights(&cluster).await?;
    let chosen = Chosen::find(&cluster, name, &ports.pairs).await?;
    let deliveries = inbound::deliveries("", &chosen.exposed, ask.proxy_protocol);
    if !ask.skip_port_checking {
        inbound::check_ports(&deliveries).await?;
    }
    let wanted = wanted(global, image, &chosen);
    lock(&cluster, &chosen, &journal).await?;
    let present = cluster.running_pods(&chosen.pods).await?;
    check_pods(&cluster, &chosen, &present, &wanted).await?;
    let env_file = ask.env_file.as_deref();
    made.env_file = env_file::write(&cluster, env_file, &chosen.labels, &chosen.exposed, &journal).await?;

    journal.note_inside(&chosen.title);
    let within = Duration::from_secs(global.port_forward_timeout.max(1));
    let inbound = Inbound::new(deliveries, tasks);
    let keeper = Keeper::new(&cluster, wanted, inbound.clone(), within, tasks);
    made.keeper = Some(keeper.clone());
    keeper.begin(present).await?;
    unlock(&cluster, &journal).await?;
    made.guards.start("pods", keeper.follow(chosen.pods));
    let ready = Ready::new(&cluster, "exchange", Some("ephemeral"));
    let ready = match &chosen.service {
        Some(service) => ready.of("service", service),
        None => Ready { target: Some(name.to_owned()), ..ready },
    };
    inbound.ready(ready, &format!("Now all request to {} will be redirected to local", chosen.title));
    Ok(())
}

/// Whoever wants the service in another mode at the same time waits, and then finds the containers.
/// Who may not change the service goes without.
async fn lock(cluster: &Cluster, chosen: &Chosen, journal: &Journal) -> anyhow::Result<()> {
    let Some(service) = &chosen.service else { return Ok(()) };
    let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
    journal.note_service_lock(service, &owner.to_string());
    match cluster.lock(service, &owner, &|wait| info!("{wait}")).await {
        Ok(_) => info!("Service {service} locked"),
        Err(redirect::Error::Api { source, .. }) if source.is_forbidden() => {
            debug!(%source, "the service is not locked");
            journal.forget_service_lock();
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Content when there is no lock, or not any more.
async fn unlock(cluster: &Cluster, journal: &Journal) -> anyhow::Result<()> {
    if let Some((service, owner)) = journal.status().locked_service {
        cluster.unlock_held(&service, &owner).await?;
        journal.forget_service_lock();
        info!("Service {service} unlocked");
    }
    Ok(())
}

/// A pod that runs can not be given a file, so the program has to be in an image.
fn image(global: &Global) -> Result<String, Usage> {
    let text = "exchange mode 'ephemeral' needs an image with the shadow: name one which the pods may pull with --image, or use --mode selector, which needs none";
    global.image.clone().filter(|image| !image.is_empty()).ok_or_else(|| Usage(text.into()))
}

/// Names what is missing before anything is changed.
async fn check_rights(cluster: &Cluster) -> anyhow::Result<()> {
    let missing = cluster.missing_to_add().await?;
    if missing.is_empty() {
        return Ok(());
    }
    let rights: Vec<String> = missing.iter().map(|right| format!("the right to {right}")).collect();
    let text = format!("exchange in mode ephemeral needs {}", rights.join(", "));
    let advice = "docs/rbac/exchange-ephemeral.yaml has what it needs besides the common role; --mode selector does without";
    Err(Advised::new(text, advice).into())
}

/// Asks about all pods before the first is touched.
async fn check_pods(
    cluster: &Cluster,
    chosen: &Chosen,
    present: &[Running],
    wanted: &ephemeral::Wanted,
) -> anyhow::Result<()> {
    if let Some(service) = &chosen.service {
        cluster.check_redirectable(service).await?;
        cluster.check_not_scaled(&chosen.labels).await?;
    }
    if present.is_empty() {
        let text = format!("no pod of {} runs, so there are no callers to bring here", chosen.title);
        return Err(Advised::new(text, "start one, or use --mode selector, which needs none").into());
    }
    for pod in present {
        pod.check(&wanted.user, &wanted.host, cluster.time())?;
    }
    for pod in present {
        cluster.try_to_add(pod, wanted).await?;
    }
    if let Some(service) = &chosen.service
        && cluster.put_back_leftover(service).await?
    {
        info!("A dead run had left service {service} redirected, it is put back");
    }
    Ok(())
}

fn wanted(global: &Global, image: &str, chosen: &Chosen) -> ephemeral::Wanted {
    ephemeral::Wanted {
        image: image.to_owned(),
        force_update: global.force_update,
        user: user_name(),
        host: host_name(),
        ports: shadow_ports(&chosen.exposed),
        creation_timeout: Duration::from_secs(global.pod_creation_timeout),
    }
}
