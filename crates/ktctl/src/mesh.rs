//! `ktctl mesh`: requests with a mark come to this laptop, all others go on to the original pods.
//!
//! In mode auto a router stands before the service, which everybody who meshes it shares. In mode
//! manual the shadow is one more pod of the service, for rules that somebody else makes.

pub(crate) mod dead;
mod keep;
pub(crate) mod manual;
mod mark;
mod older;
mod rehearsal;
pub(crate) mod router;
pub(crate) mod stand_in;

use std::collections::BTreeMap;

pub(crate) use manual::Joined;

use kt_cluster::heartbeat::{Kind, ObjectRef};
use kt_cluster::marks::{Role, new_selector};
use kt_cluster::mesh::{MeshWanted, Router};
use kt_cluster::redirect::{Lock, Owner, Redirected, Stuntman};
use kt_cluster::shadow::ShadowWanted;
use kt_cluster::target::{Exposed, Target, TargetName, Way, shadow_ports};
use kt_cluster::{Cluster, names};
use kt_host::home::{host_name, user_name};
use kt_host::private_file::PrivateFile;
use kt_host::shutdown::Triggers;
use kt_wire::rules::{MatchRule, Route};
use tracing::info;

use crate::cli::{Global, Mesh, Ports};
use crate::failure::Usage;
use crate::inbound::{self, Inbound};
use crate::mesh::keep::{Replaced, Watched};
use crate::mesh::mark::Mark;
use crate::mesh::rehearsal::Rehearsal;
use crate::mesh::router::Joining;
use crate::report::events::Ready;
use crate::run::{Journal, Journals, Run, Status};
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;
use crate::{cleanup, env_file, heartbeat, inside, leftovers, losses};

/// What a command line means.
pub(crate) struct Asked<'a> {
    target: &'a str,
    ports: &'a Ports,
    mark: Mark,
    rules: Vec<MatchRule>,
    is_manual: bool,
}

/// What was made and has to be undone.
#[derive(Default)]
struct Made {
    cluster: Option<(Cluster, Journal)>,
    lock: Option<Lock>,
    shadow: Option<Keeper>,
    inbound: Option<Inbound>,
    /// It goes when this goes.
    env_file: Option<PrivateFile>,
    guards: Tasks,
}

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Mesh) -> Result<Asked<'_>, Usage> {
    let target = match &ask.targets[..] {
        [] => return Err(Usage("name of service to mesh is required".into())),
        [target] => target,
        many => {
            let text = format!("too many service names are spcified ({}), should be one", many.join(","));
            return Err(Usage(text));
        }
    };
    let is_manual = match ask.mode.as_str() {
        "auto" => false,
        "manual" => true,
        other => {
            let text = format!("invalid mesh method '{other}', supportted are auto, manual");
            return Err(Usage(text));
        }
    };
    let missing = || Usage("--expose is required, e.g. --expose 8080 or --expose 8080:80".into());
    let ports = ask.expose.as_ref().ok_or_else(missing)?;
    if let Some(udp) = ports.pairs.iter().find(|pair| pair.udp) {
        return Err(not_by_http(udp.cluster));
    }
    if is_manual && !ask.rules.is_empty() {
        return Err(Usage("--match is for mode auto, in mode manual your mesh has the rules".into()));
    }
    let mark = Mark::parse(ask.version_mark.as_deref().unwrap_or_default())?;
    let rules: Result<Vec<MatchRule>, _> = ask.rules.iter().map(|rule| MatchRule::parse(rule)).collect();
    let mut rules = rules.map_err(|bad| Usage(bad.to_string()))?;
    if rules.is_empty() {
        rules.push(mark.rule());
    }
    Ok(Asked { target, ports, mark, rules, is_manual })
}

fn not_by_http(port: u16) -> Usage {
    Usage(format!("port {port}/udp can not be meshed, requests are told apart by HTTP"))
}

/// Runs until something ends it, and puts the service back if nobody else meshes it.
pub(crate) async fn run(global: &Global, ask: &Mesh, triggers: Triggers) -> anyhow::Result<()> {
    let mut run = Run::begin("mesh", triggers)?;
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(global, ask, &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = undo(&mut run, made).await;
    outcome.and(cleanup::outcome(&run, is_undone))
}

async fn start(
    global: &Global,
    ask: &Mesh,
    made: &mut Made,
    tasks: &Tasks,
    journals: &Journals,
) -> anyhow::Result<()> {
    let asked = check(ask)?;
    let cluster = crate::access(global).await?;
    tasks.start("rights", losses::say(cluster.clone(), &losses::MESH));
    let journal = journals.open(global, &cluster)?;
    made.cluster = Some((cluster.clone(), journal.clone()));
    leftovers::of_this_laptop().await;
    info!("Using {} mode", ask.mode);
    let target = cluster.find_target(&TargetName::parse(asked.target)?).await?;
    if let Some(workload) = &target.workload {
        info!("{workload} is reached by service '{}', which is meshed", target.service);
    }
    inbound::warn_of_kind(&target, if asked.is_manual { Way::Join } else { Way::Route })?;
    let exposed = target.resolve(&asked.ports.pairs)?;
    if let Some(udp) = exposed.iter().find(|port| port.is_udp()) {
        return Err(not_by_http(udp.service).into());
    }
    let deliveries = inbound::deliveries(&target.service, &exposed, ask.proxy_protocol);
    if !ask.skip_port_checking {
        inbound::check_ports(&deliveries).await?;
    }
    made.env_file =
        env_file::write(&cluster, ask.env_file.as_deref(), &target.selector, &exposed, &journal).await?;
    if asked.is_manual {
        return manual::start(global, &cluster, &asked, &target, &exposed, deliveries, made, tasks, &journal)
            .await;
    }
    let service = target.service.clone();
    let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
    journal.note_service_lock(&service, &owner.to_string());
    made.lock = Some(cluster.lock(&service, &owner, &|wait| info!("{wait}")).await?);
    info!("Service {service} locked");
    cluster.check_meshable(&service, &target.selector).await?;
    inside::check(&cluster, format!("service '{service}'"), &target.selector, "mesh").await?;
    let version = names::mesh_shadow(&service, &asked.mark.value);
    cluster.free_version(&service, &version, &asked.mark.value, asked.mark.is_random).await?;

    let ours = new_selector(Role::Mesh);
    let keeper =
        Keeper::new(&cluster, global, &journal, wanted(global, &asked, &target, &exposed)?, &service)
            .standing_in_for(&ours);
    made.shadow = Some(keeper.clone());
    let wanted = MeshWanted {
        service: service.clone(),
        name: version.clone(),
        mark: asked.mark.text(),
        user: user_name(),
        ours: ours.clone(),
    };
    let image = ask.router_image.as_deref().filter(|image| !image.is_empty());
    // The router's labels are not known yet; whoever undoes this reads them off its pod.
    journal.note_mesh(&service, &version, &BTreeMap::new());
    journal.note_preview(&version, &ours);
    let (stuntman, made_router, opened) = tokio::join!(
        make_services(&cluster, &wanted),
        router::ensure(&cluster, global, image, &target),
        keeper.open()
    );
    let (stuntman, present) = (stuntman?, made_router?);
    journal.note_mesh(&service, &version, &present.mark);
    let (shadow, opened) = opened?;
    let inbound = Inbound::new(deliveries, tasks);
    made.inbound = Some(inbound.clone());
    let route = Route {
        name: version.clone(),
        user: user_name(),
        rules: asked.rules,
        since: since(&cluster),
        shadow: shadow.address.as_deref().and_then(|address| address.parse().ok()),
    };
    let mark = ask.rules.is_empty().then(|| asked.mark.text());
    let joining = Joining { route, mark: mark.clone() };
    let kept = keeper.clone();
    let link = opened.link.clone();
    let successor = Replaced {
        cluster: cluster.clone(),
        inbound: inbound.clone(),
        wanted: wanted.clone(),
        joining: joining.clone(),
    };
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    inbound.serve(&link, opened.incoming).await?;

    // Nodes learn of one change at once, and of the next ones a second later: callers wait for this
    // one. The router reaches the shadow by its address until the version's Service leads there, too.
    let redirected = cluster.lead_to_router(&service, &present.mark, &stuntman).await?;
    let rehearsal = Rehearsal {
        uplink: &link,
        caller: shadow.address.as_deref(),
        service: &service,
        port: target.called_port(&exposed),
        route: &version,
    };
    let (joined, opened) = tokio::join!(
        router::join(&cluster, &service, &joining),
        rehearsal.wait_and_open(&cluster, &present, &wanted)
    );
    opened?;
    let present = joined?;
    if let Some(lock) = made.lock.take() {
        cluster.unlock(&lock).await?;
        journal.forget_service_lock();
        info!("Service {service} unlocked");
    }
    // Of any uid: it may have to be made anew.
    let own = ObjectRef::new(Kind::Service, &version, "");
    let beaten = beaten(own, &redirected, &present);
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, beaten));
    let image = image.map(str::to_owned);
    let ready = Ready::new(&cluster, "mesh", Some("auto"));
    let watched =
        Watched { cluster: cluster.clone(), global: global.clone(), image, target, redirected, joining };
    made.guards.start("guard", watched.keep(present));
    let guards = made.guards.clone();
    tasks.start("mesh", async move { Err::<(), _>(guards.why_failed().await) });
    let ready = Ready { mark, rules: &ask.rules, ..ready.of("service", &service) };
    inbound.ready(ready, &ready_text(ask, &asked.mark));
    Ok(())
}

/// What the router will lead to. Nodes get to know both while the pods start.
async fn make_services(cluster: &Cluster, version: &MeshWanted) -> anyhow::Result<Stuntman> {
    let stuntman = cluster.make_stuntman(&version.service).await?;
    cluster.make_version(version, false).await?;
    info!("Service {} created", version.name);
    Ok(stuntman)
}

fn since(cluster: &Cluster) -> u64 {
    u64::try_from(cluster.time()).unwrap_or_default()
}

fn ready_text(ask: &Mesh, mark: &Mark) -> String {
    match &ask.rules[..] {
        [] => format!("Now you can access your service by header '{}'", mark.header()),
        rules => format!("Now requests that match {} come here", rules.join(" and ")),
    }
}

fn wanted(
    global: &Global,
    asked: &Asked<'_>,
    target: &Target,
    exposed: &[Exposed],
) -> anyhow::Result<ShadowWanted> {
    let name = names::mesh_shadow(&target.service, &asked.mark.value);
    let mut wanted = ShadowWanted {
        expose: asked.ports.text.clone(),
        borrow_from: target.selector.clone(),
        ports: shadow_ports(exposed),
        mode: if asked.is_manual { "manual" } else { "auto" }.into(),
        target_service: target.service.clone(),
        ..shadow::wanted(global, Role::Mesh, &name)?
    };
    wanted.name = name;
    wanted.annotations.insert(kt_cluster::marks::VERSION_MARK.to_owned(), asked.mark.text());
    Ok(wanted)
}

/// What everybody who meshes the service keeps alive, and what is this run's.
fn beaten(own: ObjectRef, redirected: &Redirected, router: &Router) -> Vec<ObjectRef> {
    let mut objects = heartbeat::stuntman(redirected);
    objects.extend(router.objects());
    objects.push(own);
    objects
}

/// The route first; then the last callers, then the version's Service and its shadow. Tells whether
/// everything is undone.
async fn undo(run: &mut Run, made: Made) -> bool {
    let Some((cluster, journal)) = made.cluster else { return true };
    made.guards.stop().await;
    let status = journal.status();
    let leave = leave(&cluster, &status, made.lock);
    let has_left = cleanup::in_cluster(run, &journal, leave).await;
    if let (Some(inbound), true) = (made.inbound, has_left) {
        tokio::select! {
            () = inbound.finish() => {}
            () = run.impatience() => {}
        }
    }
    run.tasks.stop().await;
    if !has_left {
        return false;
    }
    let remove = async {
        if let Some((version, ours)) = &status.previewed
            && cluster.remove_preview(version, ours).await?
        {
            info!("Cleaning service {version}");
        }
        match made.shadow {
            Some(shadow) => shadow.delete().await,
            None => Ok(()),
        }
    };
    cleanup::in_cluster(run, &journal, remove).await
}

async fn leave(cluster: &Cluster, status: &Status, lock: Option<Lock>) -> anyhow::Result<()> {
    if let Some(joined) = &status.joined {
        manual::leave(cluster, joined).await?;
    }
    if let Some(meshed) = &status.meshed {
        let lock = match lock {
            Some(lock) => lock,
            None => {
                let owner = Owner { user: user_name(), host: host_name(), pid: std::process::id() };
                cluster.lock(&meshed.service, &owner, &|wait| info!("{wait}")).await?
            }
        };
        let left = router::leave(cluster, &meshed.service, &meshed.route, &meshed.mark, true).await;
        cluster.unlock(&lock).await?;
        left?;
        return Ok(());
    }
    if let Some((service, owner)) = &status.locked_service {
        cluster.unlock_held(service, owner).await?;
    }
    Ok(())
}
