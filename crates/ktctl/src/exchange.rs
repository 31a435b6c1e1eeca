//! `ktctl exchange`: the cluster calls a program on this laptop instead of a service.
//!
//! In mode selector, which is here, the service is led to a shadow and the original pods stay. In
//! mode scale the pods go, and the shadow takes their place; in mode ephemeral callers are led away
//! inside of the pods.

mod ephemeral;
pub(crate) mod scale;
mod takeover;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kt_cluster::Cluster;
use kt_cluster::leftovers::SETTLE;
use kt_cluster::marks::{Role, new_selector};
use kt_cluster::redirect::{self, GuardEnd, GuardEvent, Lock, Owner, Redirected, Restored, Stuntman};
use kt_cluster::shadow::{Shadow, ShadowWanted};
use kt_cluster::target::{Exposed, Target, TargetName, Way, shadow_ports};
use kt_host::home::{host_name, user_name};
use kt_host::private_file::PrivateFile;
use kt_host::shutdown::Triggers;
use kt_wire::{IncomingQueue, Link};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::cli::{Exchange, Global, Ports};
use crate::failure::Usage;
use crate::inbound::{self, Inbound};
use crate::report::events::Ready;
use crate::run::{Journal, Journals, Run, Status};
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;
use crate::{cleanup, env_file, heartbeat, inside, leftovers, losses};

/// What was made and has to be undone.
#[derive(Default)]
struct Made {
    cluster: Option<(Cluster, Journal)>,
    lock: Option<Lock>,
    /// Set once the service is redirected.
    redirected: Arc<OnceLock<Redirected>>,
    shadow: Option<Keeper>,
    inbound: Option<Inbound>,
    /// It goes when this goes.
    env_file: Option<PrivateFile>,
    /// Ended before the service is put back.
    guards: Tasks,
}

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Exchange) -> Result<(&str, &Ports), Usage> {
    let target = match &ask.targets[..] {
        [] => return Err(Usage("name of service to exchange is required".into())),
        [target] => target,
        many => {
            return Err(Usage(format!(
                "too many service names are spcified ({}), should be one",
                many.join(",")
            )));
        }
    };
    match ask.mode.as_str() {
        "selector" | "scale" | "ephemeral" => {}
        other => {
            return Err(Usage(format!(
                "invalid exchange method '{other}', supported are selector, scale, ephemeral"
            )));
        }
    }
    if target.starts_with("pod/") && ask.mode != "ephemeral" {
        return Err(Usage(format!(
            "'{target}' is a target for --mode ephemeral only, please name a service"
        )));
    }
    if ask.takeover && ask.mode == "ephemeral" {
        return Err(Usage(
            "--takeover is for modes selector and scale: only its own user can end a container inside of a pod, ask him (`ktctl birdseye` tells who)".into(),
        ));
    }
    if ask.yes && !ask.takeover {
        return Err(Usage("--yes answers what --takeover asks".into()));
    }
    let missing = || Usage("--expose is required, e.g. --expose 8080 or --expose 8080:80".into());
    let ports = ask.expose.as_ref().ok_or_else(missing)?;
    Ok((target, ports))
}

/// Runs until something ends it, and puts the service back.
pub(crate) async fn run(global: &Global, ask: &Exchange, triggers: Triggers) -> anyhow::Result<()> {
    match ask.mode.as_str() {
        "scale" => return scale::run(global, ask, triggers).await,
        "ephemeral" => return ephemeral::run(global, ask, triggers).await,
        _ => {}
    }
    let mut run = Run::begin("exchange", triggers)?;
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(global, ask, &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = undo(&mut run, made).await;
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
    tasks.start("rights", losses::say(cluster.clone(), &losses::EXCHANGE));
    let journal = journals.open(global, &cluster)?;
    made.cluster = Some((cluster.clone(), journal.clone()));
    leftovers::of_this_laptop().await;
    info!("Using selector mode");
    let target = cluster.find_target(&TargetName::parse(name)?).await?;
    if let Some(workload) = &target.workload {
        info!("{workload} is reached by service '{}', which is exchanged", target.service);
    }
    inbound::warn_of_kind(&target, Way::Redirect)?;
    let exposed = target.resolve(&ports.pairs)?;
    inbound::warn_of_unexposed(&target, &exposed);
    let service = target.service.clone();
    let deliveries = inbound::deliveries(&service, &exposed, ask.proxy_protocol);
    if !ask.skip_port_checking {
        inbound::check_ports(&deliveries).await?;
    }
    made.env_file =
        env_file::write(&cluster, ask.env_file.as_deref(), &target.selector, &exposed, &journal).await?;
    let from = takeover::ask(&cluster, &service, ask).await?;
    let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
    journal.note_service_lock(&service, &owner.to_string());
    made.lock = Some(cluster.lock(&service, &owner, &|wait| info!("{wait}")).await?);
    info!("Service {service} locked");
    takeover::check(&cluster, &service, from.as_deref()).await?;
    cluster.check_not_scaled(&target.selector).await?;
    inside::check(&cluster, format!("service '{service}'"), &target.selector, "exchange").await?;

    let wanted = wanted(global, ports, &target, &exposed)?;
    inbound::warn_of_names(&target, &wanted.ports);
    let ours: BTreeMap<_, _> =
        new_selector(Role::Exchange).into_iter().chain(wanted.labels.clone()).collect();
    let keeper = Keeper::new(&cluster, global, &journal, wanted, &service).standing_in_for(&ours);
    made.shadow = Some(keeper.clone());
    journal.note_redirect(&service, &ours);
    // Nodes learn of one change at once, and of the next ones a second later: they get to know the
    // stuntman while the shadow starts, and callers wait for one change only.
    let stuntman = async { anyhow::Ok(stuntman(&cluster, &service, from.is_some()).await?) };
    let (stuntman, (shadow, opened)) = tokio::try_join!(stuntman, keeper.open())?;
    let inbound = Inbound::new(deliveries, tasks);
    made.inbound = Some(inbound.clone());
    let link = opened.link.clone();
    let successor = Replaced {
        cluster: cluster.clone(),
        redirected: made.redirected.clone(),
        inbound: inbound.clone(),
        guards: made.guards.clone(),
    };
    let kept = keeper.clone();
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    inbound.serve(&link, opened.incoming).await?;

    let done = match from {
        Some(_) => cluster.take_over(&service, &ours).await?,
        None => cluster.redirect(&service, &ours, &stuntman).await?,
    };
    let redirected = made.redirected.get_or_init(|| done);
    if let Some(lock) = made.lock.take() {
        cluster.unlock(&lock).await?;
        journal.forget_service_lock();
        info!("Service {service} unlocked");
    }
    let stuntman = heartbeat::stuntman(redirected);
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, stuntman));
    made.guards.start("guard", guard(cluster.clone(), redirected.clone(), shadow.pod));
    let guards = made.guards.clone();
    tasks.start("exchange", async move { Err::<(), _>(guards.why_failed().await) });
    inbound.wait_for_callers(&link, &service, target.called_port(&exposed)).await;
    inbound.ready(ready(&cluster, &target), &ready_text(&target));
    Ok(())
}

/// Who is taken over from has made one.
async fn stuntman(cluster: &Cluster, service: &str, is_takeover: bool) -> Result<Stuntman, redirect::Error> {
    match is_takeover {
        true => Ok(Stuntman::default()),
        false => cluster.make_stuntman(service).await,
    }
}

fn ready<'a>(cluster: &'a Cluster, target: &Target) -> Ready<'a> {
    Ready::new(cluster, "exchange", Some("selector")).of("service", &target.service)
}

fn ready_text(target: &Target) -> String {
    match &target.workload {
        Some(workload) => format!("Now all request to {workload} will be redirected to local"),
        None => format!("Now all request to service '{}' will be redirected to local", target.service),
    }
}

fn wanted(
    global: &Global,
    ports: &Ports,
    target: &Target,
    exposed: &[Exposed],
) -> anyhow::Result<ShadowWanted> {
    Ok(ShadowWanted {
        expose: ports.text.clone(),
        borrow_from: target.selector.clone(),
        ports: shadow_ports(exposed),
        mode: "selector".into(),
        target_service: target.service.clone(),
        ..shadow::wanted(global, Role::Exchange, &target.service)?
    })
}

/// What happens when the shadow is gone.
struct Replaced {
    cluster: Cluster,
    redirected: Arc<OnceLock<Redirected>>,
    inbound: Inbound,
    guards: Tasks,
}

impl shadow::Successor for Replaced {
    /// Somebody who recovers the service puts it back and removes the shadow: then it is over.
    async fn is_wanted(&self) -> anyhow::Result<()> {
        let Some(redirected) = self.redirected.get() else { return Ok(()) };
        match self.cluster.is_redirected(redirected).await {
            Ok(is_ours) => anyhow::ensure!(
                is_ours,
                "somebody else has put service '{}' back, nothing is exchanged any more",
                redirected.service
            ),
            Err(error) => debug!(%error, "whether the service is redirected is not known"),
        }
        Ok(())
    }

    async fn take(&self, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await
    }

    async fn lead_to(&self, shadow: &Shadow) -> anyhow::Result<()> {
        if let Some(redirected) = self.redirected.get() {
            let guard = guard(self.cluster.clone(), redirected.clone(), shadow.pod.clone());
            self.guards.start("guard", guard);
        }
        Ok(())
    }
}

/// Keeps the service redirected while it is ours.
async fn guard(cluster: Cluster, redirected: Redirected, shadow: String) -> anyhow::Result<()> {
    let service = redirected.service.clone();
    let said = |event| match event {
        GuardEvent::Reapplied { after } => {
            warn!(
                "service {service} was applied anew, it is redirected again in {} s",
                after.as_secs().max(1)
            );
        }
        GuardEvent::RedirectedAgain => info!("service {service} is redirected again"),
        GuardEvent::ServiceDeleted => {
            warn!("service {service} was deleted; when it returns it is redirected again");
        }
        GuardEvent::Trouble(why) => warn!("service {service} can not be watched: {why}"),
    };
    match cluster.guard(&redirected, &shadow, &said).await {
        GuardEnd::ShadowGone => Ok(()), // the tunnel finds out, too, and decides
        end @ GuardEnd::TakenOver { .. } => anyhow::bail!("{end}"),
    }
}

/// The service first; then its last callers, then the shadow. Tells whether everything is undone.
async fn undo(run: &mut Run, made: Made) -> bool {
    let Some((cluster, journal)) = made.cluster else { return true };
    made.guards.stop().await;
    let Status { redirected, locked_service, .. } = journal.status();
    let was_redirected = made.redirected.get().is_some();
    let put_back = put_back(&cluster, redirected.as_ref(), was_redirected, locked_service.as_ref());
    let is_back = cleanup::in_cluster(run, &journal, put_back).await;
    if let (Some(inbound), true) = (made.inbound, is_back && redirected.is_some()) {
        tokio::select! {
            () = finish(&inbound) => {}
            () = run.impatience() => {}
        }
    }
    run.tasks.stop().await;
    match made.shadow {
        Some(shadow) if is_back => cleanup::in_cluster(run, &journal, shadow.delete()).await,
        _ => is_back,
    }
}

async fn put_back(
    cluster: &Cluster,
    redirected: Option<&(String, BTreeMap<String, String>)>,
    was_redirected: bool,
    locked: Option<&(String, String)>,
) -> anyhow::Result<()> {
    if let Some((service, ours)) = redirected {
        match cluster.restore_service(service, ours).await? {
            Restored::Done => info!("Original service {service} recovered"),
            Restored::NotOurs if !was_redirected => {}
            Restored::NotOurs => info!("Service {service} did not lead here any more, and stays as it is"),
            Restored::Gone => info!("Service {service} does not exist any more"),
        }
    }
    if let Some((service, owner)) = locked {
        cluster.unlock_held(service, owner).await?;
    }
    Ok(())
}

/// Lets callers finish who came before every node knew that the service is back.
async fn finish(inbound: &Inbound) {
    sleep(SETTLE).await;
    inbound.finish().await;
}
