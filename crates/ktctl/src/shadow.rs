//! The shadow of a run: how it is wanted, and how it is kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use kt_cluster::heartbeat::{Kind, ObjectRef};
use kt_cluster::marks::{Config, Role};
use kt_cluster::shadow::{Programs, Progress, Quota, Shadow, ShadowWanted};
use kt_cluster::{Cluster, names};
use kt_host::home::{host_name, user_name};
use kt_wire::link::LinkEnd;
use kt_wire::{IncomingQueue, Link};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::cli::{Global, Pairs, VERSION};
use crate::failure::{self, Advised};
use crate::report::events::{self, Event};
use crate::report::status;
use crate::run::Journal;
use crate::uplink::{self, Opened};

/// The programs that were embedded when this was built.
const PROGRAMS: Programs = Programs {
    x86_64: include_bytes!(concat!(env!("OUT_DIR"), "/shadow-x86_64")),
    aarch64: include_bytes!(concat!(env!("OUT_DIR"), "/shadow-aarch64")),
};

/// The router, likewise.
pub(crate) const ROUTER: Programs = Programs {
    x86_64: include_bytes!(concat!(env!("OUT_DIR"), "/router-x86_64")),
    aarch64: include_bytes!(concat!(env!("OUT_DIR"), "/router-aarch64")),
};

/// Where the shadow waits for us, unless a caller's port is the same.
const PORTS: [u16; 2] = [17617, 17618];

/// The first and the longest pause before another try for a new shadow.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The image, or the built-in program, can not be used at all.
#[derive(Debug, thiserror::Error)]
#[error("this ktctl was built without the program for pods")]
pub(crate) struct NoProgram;

/// The image that the user named holds some other program.
#[derive(Debug, thiserror::Error)]
#[error("image {0} does not contain a matching shadow")]
pub(crate) struct ForeignImage(pub(crate) String);

/// What a command wants of its shadow.
pub(crate) fn wanted(global: &Global, role: Role, service: &str) -> Result<ShadowWanted, NoProgram> {
    if global.image.is_none() && PROGRAMS.x86_64.is_empty() && PROGRAMS.aarch64.is_empty() {
        return Err(NoProgram);
    }
    let (quota, bad) = Quota::parse(global.pod_quota.as_deref().unwrap_or_default());
    for part in bad {
        warn!("'{part}' in --podQuota is not understood and skipped, the form is 0.5c,512m");
    }
    let pairs = |pairs: &Option<Pairs>| pairs.iter().flat_map(|pairs| pairs.0.clone()).collect();
    Ok(ShadowWanted {
        config: Config { service: (!service.is_empty()).then(|| service.to_owned()), ..Config::default() },
        labels: pairs(&global.with_label),
        annotations: pairs(&global.with_annotation),
        user: user_name(),
        host: host_name(),
        client_version: VERSION.into(),
        image: global.image.clone().filter(|image| !image.is_empty()),
        quota: (quota != Quota::default()).then_some(quota),
        node_selector: pairs(&global.node_selector),
        pull_secret: global.image_pull_secret.clone().filter(|secret| !secret.is_empty()),
        service_account: Some(global.service_account.clone()),
        force_update: global.force_update,
        deployment: global.use_shadow_deployment && role != Role::Router,
        creation_timeout: Duration::from_secs(global.pod_creation_timeout),
        ..ShadowWanted::new(role, &names::shadow(role, service), PROGRAMS)
    })
}

/// A run's shadow. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Keeper {
    cluster: Cluster,
    wanted: ShadowWanted,
    /// What the name of the next shadow is made of.
    service: String,
    port: u16,
    within: Duration,
    journal: Journal,
    /// The next shadow has the name of the first.
    keeps_name: bool,
    /// The shadow that runs now.
    present: Arc<Mutex<Option<Shadow>>>,
}

/// What a command does about a shadow that had to be replaced.
pub(crate) trait Successor {
    /// Fails when the run should rather end; that it can not be asked is no reason to.
    fn is_wanted(&self) -> impl Future<Output = anyhow::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Goes on with the new shadow's link.
    fn take(&self, link: Link, incoming: IncomingQueue) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Leads callers to the new shadow. It is tried again until it is done or not wanted.
    fn lead_to(&self, _: &Shadow) -> impl Future<Output = anyhow::Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// What keeps a link to a pod alive.
type LinkKeeper = kt_wire::link::Keeper<uplink::PodDialer>;

impl Keeper {
    pub(crate) fn new(
        cluster: &Cluster,
        global: &Global,
        journal: &Journal,
        wanted: ShadowWanted,
        service: &str,
    ) -> Keeper {
        let taken = |port: &u16| wanted.ports.iter().any(|exposed| exposed.number == *port);
        let port = PORTS.into_iter().find(|port| !taken(port)).unwrap_or(PORTS[0]);
        let wanted = ShadowWanted { args: vec!["--port".into(), port.to_string()], ..wanted };
        Keeper {
            cluster: cluster.clone(),
            wanted,
            service: service.into(),
            port,
            within: Duration::from_secs(global.port_forward_timeout.max(1)),
            journal: journal.clone(),
            keeps_name: false,
            present: Arc::default(),
        }
    }

    /// The same, whose later shadows have the name of the first.
    pub(crate) fn keeping_its_name(self) -> Keeper {
        Keeper { keeps_name: true, ..self }
    }

    /// The same, whose later shadows get the calls that `ours` selects, too.
    pub(crate) fn standing_in_for(mut self, ours: &BTreeMap<String, String>) -> Keeper {
        self.wanted.labels.extend(ours.clone());
        self
    }

    /// What has to be kept alive.
    pub(crate) fn objects(&self) -> Vec<ObjectRef> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shadow) = present.as_ref() else { return Vec::new() };
        let named = |kind: Kind, uid: &String| ObjectRef::new(kind, &shadow.name, uid);
        let deployment = shadow.deployment.iter().map(|uid| named(Kind::Deployment, uid));
        let config_map = shadow.config_map.iter().map(|uid| named(Kind::ConfigMap, uid));
        let pod = ObjectRef::new(Kind::Pod, &shadow.pod, &shadow.uid);
        std::iter::once(pod).chain(deployment).chain(config_map).collect()
    }

    /// Makes the shadow and opens a link to it. Cancel safety: a shadow that is half made stands in
    /// the journal.
    pub(crate) async fn open(&self) -> anyhow::Result<(Shadow, Opened)> {
        if self.wanted.deployment {
            check_rights(&self.cluster).await?;
            self.journal.note_deployments();
        }
        self.open_as(self.wanted.clone()).await
    }

    async fn open_as(&self, wanted: ShadowWanted) -> anyhow::Result<(Shadow, Opened)> {
        let image = wanted.image.clone();
        self.make_and_open(wanted).await.map_err(|error| match image {
            Some(image) if failure::is_of_another_program(&error) => error.context(ForeignImage(image)),
            _ => error,
        })
    }

    async fn make_and_open(&self, wanted: ShadowWanted) -> anyhow::Result<(Shadow, Opened)> {
        self.journal.note_shadow(&wanted.name);
        let said = Mutex::new(String::new());
        let made = self.cluster.ensure_shadow(&wanted, &|progress| say(&said, &progress)).await;
        if made.as_ref().is_err_and(|error| error.made_nothing(&wanted)) {
            self.journal.forget_shadow(&wanted.name);
        }
        self.open_made(made?).await
    }

    fn present(&self) -> Option<Shadow> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn open_made(&self, shadow: Shadow) -> anyhow::Result<(Shadow, Opened)> {
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Some(shadow.clone());
        if shadow.deployment.is_some() {
            self.beat(&shadow).await;
        }
        let opened = uplink::open(&self.cluster, &shadow.pod, self.port, self.within).await?;
        if !self.wanted.expose.is_empty() {
            info!("Forwarding pod {} to local via port {}", shadow.pod, self.wanted.expose);
        }
        Ok((shadow, opened))
    }

    /// A pod that a Deployment has made has no sign of life yet.
    async fn beat(&self, shadow: &Shadow) {
        let pod = ObjectRef::new(Kind::Pod, &shadow.pod, &shadow.uid);
        for (object, beaten) in self.cluster.beat(&[pod]).await {
            if let Err(error) = beaten {
                warn!("no heartbeat for {object}: {error}");
            }
        }
    }

    /// Serves the link; when the shadow is gone, makes another one and hands its link over. Returns
    /// only when that is not possible or not wanted.
    pub(crate) async fn serve(
        self,
        link: Link,
        keeper: LinkKeeper,
        successor: &impl Successor,
    ) -> anyhow::Result<()> {
        let (mut link, mut keeper, mut news) = (link, keeper, None);
        let mut pod = self.present().map(|shadow| shadow.pod).unwrap_or_default();
        loop {
            let aside = async {
                let reported = async {
                    uplink::report(link.clone(), &pod).await;
                    anyhow::Ok(())
                };
                let handed_over = async {
                    match news.take() {
                        Some((shadow, incoming)) => hand_over(successor, &shadow, &link, incoming).await,
                        None => Ok(()),
                    }
                };
                tokio::try_join!(reported, handed_over)?;
                anyhow::Ok(pending::<Infallible>().await) // the keeper tells how the link has ended
            };
            let end = tokio::select! {
                end = keeper.serve() => end,
                Err(error) = aside => return Err(error),
            };
            status::done();
            match end {
                LinkEnd::Ended(why) => anyhow::bail!("the tunnel has ended: {why}"),
                LinkEnd::ShadowGone(why) => {
                    warn!("the shadow pod is gone, making another one ({why})");
                    events::say(&Event::Lost { pod: &pod, why: why.to_string() });
                }
            }
            let (shadow, opened) = self.open_again(successor).await?;
            events::say(&Event::Shadow { pod: &shadow.pod, replaces: &pod });
            pod.clone_from(&shadow.pod);
            (link, keeper, news) = (opened.link, opened.keeper, Some((shadow, opened.incoming)));
            info!("connection restored");
        }
    }

    async fn open_again(&self, successor: &impl Successor) -> anyhow::Result<(Shadow, Opened)> {
        let mut pause = AGAIN.0;
        loop {
            successor.is_wanted().await?;
            match self.open_next().await {
                Ok(kept) => return Ok(kept),
                Err(error) => warn!("no new shadow yet, trying again in {} s: {error:#}", pause.as_secs()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    /// A Deployment makes the next pod by itself, for as long as it is there.
    async fn open_next(&self) -> anyhow::Result<(Shadow, Opened)> {
        if let Some(lost) = self.present().filter(|lost| lost.deployment.is_some()) {
            let said = Mutex::new(String::new());
            let next =
                self.cluster.follow_shadow(&lost, &self.wanted, &|progress| say(&said, &progress)).await?;
            if let Some(next) = next {
                return self.open_made(next).await;
            }
        }
        let name = match self.keeps_name {
            true => self.wanted.name.clone(),
            false => names::shadow(self.wanted.role, &self.service),
        };
        self.open_as(ShadowWanted { name, ..self.wanted.clone() }).await
    }

    /// Deletes every shadow of the run.
    pub(crate) async fn delete(&self) -> anyhow::Result<()> {
        for name in self.journal.status().shadows {
            let kind = if self.wanted.deployment { "deployment" } else { "pod" };
            if self.present().is_some_and(|shadow| shadow.config_map.is_some()) {
                info!("Cleaning configmap {name}");
            }
            info!("Cleaning shadow {kind} {name}");
            let deleted = self.cluster.delete_shadow(&name).await;
            deleted.with_context(|| format!("deleting shadow {kind} {name}"))?;
        }
        Ok(())
    }
}

/// A link that has ended tells why by itself, so an error is worth a moment's wait.
async fn hand_over(
    successor: &impl Successor,
    shadow: &Shadow,
    link: &Link,
    incoming: IncomingQueue,
) -> anyhow::Result<()> {
    if let Err(error) = successor.take(link.clone(), incoming).await {
        sleep(AGAIN.0).await;
        return Err(error);
    }
    let mut pause = AGAIN.0;
    while let Err(error) = successor.lead_to(shadow).await {
        warn!("callers are not led here yet, trying again in {} s: {error:#}", pause.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
        successor.is_wanted().await?;
    }
    Ok(())
}

/// Names what is missing for a Deployment before it is made.
async fn check_rights(cluster: &Cluster) -> anyhow::Result<()> {
    let missing = cluster.missing_to_deploy().await?;
    if missing.is_empty() {
        return Ok(());
    }
    let rights: Vec<String> = missing.iter().map(|right| format!("the right to {right}")).collect();
    let text = format!("a shadow in a deployment needs {}", rights.join(", "));
    let advice = "docs/rbac/use-shadow-deployment.yaml has what it needs besides the common role";
    Err(Advised::new(text, advice).into())
}

/// Says progress, each line once.
fn say(said: &Mutex<String>, progress: &Progress) {
    let line = progress.to_string();
    let mut last = said.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != line {
        info!("{line}");
        *last = line;
    }
    match progress {
        Progress::Waiting { pod, what, .. } if what.is_empty() => status::waiting_for(&format!("pod {pod}")),
        Progress::Waiting { pod, what, .. } => status::waiting_for(&format!("pod {pod}: {what}")),
        _ => status::done(),
    }
}
