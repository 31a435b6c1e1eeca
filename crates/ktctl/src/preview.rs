//! `ktctl preview`: the cluster calls a program on this laptop by a service that did not exist.

pub(crate) mod as_run;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kt_cluster::Cluster;
use kt_cluster::heartbeat::ObjectRef;
use kt_cluster::marks::Role;
use kt_cluster::preview::{PreviewWanted, is_service_name};
use kt_cluster::shadow::{Shadow, ShadowPort, ShadowWanted};
use kt_cluster::target::Expose;
use kt_host::home::user_name;
use kt_host::shutdown::Triggers;
use kt_wire::{IncomingQueue, Link, Protocol};
use tracing::{debug, info};

use crate::cli::{Global, Ports, Preview};
use crate::failure::Usage;
use crate::inbound::deliver::Delivery;
use crate::inbound::{self, Inbound};
use crate::report::events::Ready;
use crate::run::{Journal, Journals, Run};
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;
use crate::{cleanup, heartbeat, leftovers, losses};

/// How the preview looks in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A Service, and a shadow with a name of its own.
    Preview,
    /// A shadow with the name of the Service, which may be left out.
    Run { makes_service: bool },
}

/// What was made and has to be undone.
#[derive(Default)]
struct Made {
    cluster: Option<(Cluster, Journal)>,
    shadow: Option<Keeper>,
    inbound: Option<Inbound>,
}

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Preview) -> Result<(&str, &Ports), Usage> {
    let service = match &ask.services[..] {
        [] => return Err(Usage("name of service to preview is required".into())),
        [service] => service,
        many => {
            let text = format!("too many service names are spcified ({}), should be one", many.join(","));
            return Err(Usage(text));
        }
    };
    if !is_service_name(service) {
        let rule = "use lower-case letters, digits and '-', with a letter first";
        return Err(Usage(format!("'{service}' can not be the name of a service: {rule}")));
    }
    let missing = || Usage("--expose is required, e.g. --expose 8080 or --expose 8080:80".into());
    let ports = ask.expose.as_ref().ok_or_else(missing)?;
    Ok((service, ports))
}

/// Runs until something ends it, and removes the service.
pub(crate) async fn run(global: &Global, ask: &Preview, triggers: Triggers) -> anyhow::Result<()> {
    run_in(Form::Preview, global, ask, triggers).await
}

async fn run_in(form: Form, global: &Global, ask: &Preview, triggers: Triggers) -> anyhow::Result<()> {
    let mut run = Run::begin("preview", triggers)?;
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(form, global, ask, &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = undo(&mut run, made).await;
    outcome.and(cleanup::outcome(&run, is_undone))
}

async fn start(
    form: Form,
    global: &Global,
    ask: &Preview,
    made: &mut Made,
    tasks: &Tasks,
    journals: &Journals,
) -> anyhow::Result<()> {
    let (service, ports) = check(ask)?;
    let deliveries = deliveries(&ports.pairs, ask.proxy_protocol);
    if !ask.skip_port_checking {
        inbound::check_ports(&deliveries).await?;
    }
    let cluster = crate::access(global).await?;
    tasks.start("rights", losses::say(cluster.clone(), &losses::PREVIEW));
    let journal = journals.open(global, &cluster)?;
    made.cluster = Some((cluster.clone(), journal.clone()));
    leftovers::of_this_laptop().await;
    let makes_service = form != Form::Run { makes_service: false };
    if makes_service {
        cluster.check_previewable(service).await?;
    }

    let wanted = shadow_wanted(form, global, ports, service)?;
    let keeper = Keeper::new(&cluster, global, &journal, wanted, service);
    let keeper = if form == Form::Preview { keeper } else { keeper.keeping_its_name() };
    made.shadow = Some(keeper.clone());
    let (shadow, opened) = keeper.open().await?;
    let ours = shadow.mark();
    let inbound = Inbound::new(deliveries, tasks);
    made.inbound = Some(inbound.clone());
    let previewed = Arc::new(OnceLock::new());
    let link = opened.link.clone();
    let successor = Replaced {
        cluster: cluster.clone(),
        previewed: previewed.clone(),
        ours: ours.clone(),
        inbound: inbound.clone(),
    };
    let kept = keeper.clone().standing_in_for(&ours);
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    inbound.serve(&link, opened.incoming).await?;

    if !makes_service {
        tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, Vec::new()));
        let ready = Ready::new(&cluster, "run", None).of("deployment", service);
        inbound.ready(ready, &reached_by_pod(service, &shadow, ports));
        return Ok(());
    }
    journal.note_preview(service, &ours);
    let wanted = service_wanted(ask, service, &ports.pairs, ours);
    let object = cluster.make_preview(&wanted).await?;
    info!("Service {service} created");
    cluster.own_shadow(&object, &shadow).await;
    let object = previewed.get_or_init(|| object).clone();
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, vec![object]));
    let probed = ports.pairs.iter().find(|pair| !pair.udp).map(|pair| pair.cluster);
    inbound.wait_for_callers(&link, service, probed).await;
    let command = if form == Form::Preview { "preview" } else { "run" };
    let ready = Ready::new(&cluster, command, None).of("service", service);
    inbound.ready(ready, &format!("Now you can access your local service in cluster by name '{service}'"));
    Ok(())
}

fn reached_by_pod(service: &str, shadow: &Shadow, ports: &Ports) -> String {
    let address = shadow.address.as_deref().unwrap_or(&shadow.pod);
    let port = ports.pairs.first().map(|pair| pair.cluster).unwrap_or_default();
    format!(
        "Now you can access your local program in cluster by deployment '{service}', its pod is {address}:{port}"
    )
}

fn shadow_wanted(form: Form, global: &Global, ports: &Ports, service: &str) -> anyhow::Result<ShadowWanted> {
    let port = |pair: &Expose| ShadowPort {
        name: if pair.udp { format!("udp-{}", pair.cluster) } else { format!("http-{}", pair.cluster) },
        number: pair.cluster,
        protocol: pair.protocol().into(),
    };
    let wanted = shadow::wanted(global, Role::Preview, service)?;
    let name = if form == Form::Preview { wanted.name.clone() } else { service.to_owned() };
    Ok(ShadowWanted {
        name,
        expose: ports.text.clone(),
        ports: ports.pairs.iter().map(port).collect(),
        target_service: service.to_owned(),
        ..wanted
    })
}

fn service_wanted(
    ask: &Preview,
    service: &str,
    pairs: &[Expose],
    ours: BTreeMap<String, String>,
) -> PreviewWanted {
    PreviewWanted {
        service: service.into(),
        ports: pairs.iter().map(|pair| (pair.cluster, pair.protocol())).collect(),
        external: ask.external,
        user: user_name(),
        ours,
    }
}

/// While this laptop is away nobody else can answer: callers are reset.
fn deliveries(pairs: &[Expose], says_caller: bool) -> Vec<Delivery> {
    let delivery = |pair: &Expose| Delivery {
        cluster: pair.cluster,
        laptop: pair.laptop,
        protocol: if pair.udp { Protocol::Udp } else { Protocol::Tcp },
        otherwise: None,
        says_caller,
    };
    pairs.iter().map(delivery).collect()
}

/// What happens when the shadow is gone.
struct Replaced {
    cluster: Cluster,
    /// Set once the service is made.
    previewed: Arc<OnceLock<ObjectRef>>,
    ours: BTreeMap<String, String>,
    inbound: Inbound,
}

impl shadow::Successor for Replaced {
    /// Somebody who deletes the service removes the shadow with it: then it is over.
    async fn is_wanted(&self) -> anyhow::Result<()> {
        let Some(ObjectRef { name, .. }) = self.previewed.get() else { return Ok(()) };
        match self.cluster.is_previewed(name, &self.ours).await {
            Ok(there) => anyhow::ensure!(there, "somebody else has deleted service '{name}'"),
            Err(error) => debug!(%error, "whether the service is there is not known"),
        }
        Ok(())
    }

    async fn take(&self, link: Link, incoming: IncomingQueue) -> anyhow::Result<()> {
        self.inbound.serve(&link, incoming).await
    }

    async fn lead_to(&self, shadow: &Shadow) -> anyhow::Result<()> {
        if let Some(service) = self.previewed.get() {
            self.cluster.own_shadow(service, shadow).await;
        }
        Ok(())
    }
}

/// The last callers first: the shadow goes with its service. Tells whether everything is undone.
async fn undo(run: &mut Run, made: Made) -> bool {
    if let Some(inbound) = made.inbound {
        tokio::select! {
            () = inbound.finish() => {}
            () = run.impatience() => {}
        }
    }
    run.tasks.stop().await;
    let Some((cluster, journal)) = made.cluster else { return true };
    let previewed = journal.status().previewed;
    let undo = async {
        let service = remove_service(&cluster, previewed.as_ref()).await;
        let shadow = match made.shadow {
            Some(shadow) => shadow.delete().await,
            None => Ok(()),
        };
        service.and(shadow)
    };
    cleanup::in_cluster(run, &journal, undo).await
}

async fn remove_service(
    cluster: &Cluster,
    previewed: Option<&(String, BTreeMap<String, String>)>,
) -> anyhow::Result<()> {
    if let Some((service, ours)) = previewed
        && cluster.remove_preview(service, ours).await?
    {
        info!("Cleaning service {service}");
    }
    Ok(())
}
