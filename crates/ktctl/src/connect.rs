//! `ktctl connect`: this laptop reaches pods, services and names of the cluster.

mod device;
mod hosts;
pub(crate) mod jvmrc;
mod plan;
mod resolver;

use std::net::SocketAddr;
use std::sync::Arc;

use kt_cluster::Cluster;
use kt_cluster::marks::Role;
use kt_host::Helper;
use kt_host::private_file::PrivateFile;
use kt_host::privilege;
use kt_host::shutdown::Triggers;
use kt_wire::{IncomingQueue, Link};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::cli::{Connect, Global};
use crate::failure::{Advised, Usage};
use crate::outbound::dial::ByLink;
use crate::outbound::proxy;
use crate::report::events::{self, Event, Ready};
use crate::run::{Journal, Journals, Run};
use crate::shadow::{self, Keeper};
use crate::tasks::Tasks;
use crate::uplink::{self, Uplink};
use crate::{cleanup, heartbeat, leftovers, losses, report};

/// The root helper, shared by those who change the laptop during a run.
pub(crate) type Laptop = Arc<Mutex<Helper>>;

const READY: &str = "All looks good, now you can access to resources in the kubernetes cluster";

/// What a run has made in the end has to be undone; noted before it is made.
#[derive(Default)]
struct Made {
    journal: Option<Journal>,
    shadow: Option<Keeper>,
    /// It goes when this goes.
    jvmrc: Option<PrivateFile>,
    /// What goes on to change the laptop: ends before anything is undone.
    guards: Tasks,
}

/// Checks what can be checked before anything is touched.
pub(crate) fn check(ask: &Connect) -> Result<(), Usage> {
    if !ask.surplus.is_empty() {
        return Err(Usage(format!("too many options specified ({})", ask.surplus.join(","))));
    }
    if ask.mode != "tun2socks" {
        let text = format!("invalid connect mode: '{}', supportted mode are tun2socks, sshuttle", ask.mode);
        let sshuttle = "mode sshuttle is not available yet, the default mode needs no sshuttle";
        return Err(Usage(if ask.mode == "sshuttle" { sshuttle.into() } else { text }));
    }
    if !ask.proxy_addr.is_loopback() && !ask.disable_tun_device {
        return Err(Usage("parameter --proxyAddr is valid only when --disableTunDevice is used".into()));
    }
    plan::dns_mode(&ask.dns_mode).map(drop)
}

/// Runs until something ends it, and undoes everything.
pub(crate) async fn run(
    global: &Global,
    ask: &Connect,
    helper: Option<Helper>,
    triggers: Triggers,
) -> anyhow::Result<()> {
    let mut run = Run::begin("connect", triggers)?;
    let laptop = helper.map(|helper| Arc::new(Mutex::new(helper)));
    let mut made = Made::default();
    let (tasks, journals) = (run.tasks.clone(), run.journals());
    let end = run.until_ended(start(global, ask, laptop.clone(), &mut made, &tasks, &journals)).await;
    let outcome = end.say();
    let is_undone = undo(&mut run, laptop, made).await;
    outcome.and(cleanup::outcome(&run, is_undone))
}

async fn start(
    global: &Global,
    ask: &Connect,
    laptop: Option<Laptop>,
    made: &mut Made,
    tasks: &Tasks,
    journals: &Journals,
) -> anyhow::Result<()> {
    if let Some(laptop) = &laptop {
        leftovers::say_recovered(&*laptop.lock().await);
    }
    let proxy = listen_proxy(ask).await?;
    let cluster = crate::access(global).await?;
    tasks.start("rights", losses::say(cluster.clone(), &losses::CONNECT));
    let journal = journals.open(global, &cluster)?;
    made.journal = Some(journal.clone());
    made.jvmrc = jvmrc::write(ask.jvmrc.as_deref(), ask.proxy_port, &journal)?;
    info!("Using tun2socks mode");
    leftovers::of_this_laptop().await;
    if !ask.skip_cleanup {
        tasks.start("sweep", leftovers::sweep(cluster.clone()));
    }
    let wanted = kt_cluster::shadow::ShadowWanted {
        ping: true,
        mode: ask.mode.clone(),
        ..shadow::wanted(global, Role::Connect, "")?
    };
    let keeper = Keeper::new(&cluster, global, &journal, wanted, "");
    made.shadow = Some(keeper.clone());
    let (_, opened) = keeper.open().await?;
    let uplink = Uplink::new(opened.link.clone());
    let (kept, successor) = (keeper.clone(), uplink.clone());
    tasks.start("tunnel", async move { kept.serve(opened.link, opened.keeper, &successor).await });
    tasks.start("heartbeat", heartbeat::beat(cluster.clone(), keeper, Vec::new()));
    let place = uplink::place(&uplink.link()).await?;
    let dial = ByLink::new(uplink);
    tasks.start("proxy", proxy::serve(proxy, dial.clone()));
    info!("Socks proxy established");
    let proxy = SocketAddr::new(ask.proxy_addr, ask.proxy_port);
    match laptop {
        Some(laptop) if !ask.disable_tun_device => {
            device::start(&cluster, ask, laptop, &place, dial, (tasks, &made.guards)).await?;
            report::ready(&[READY]);
        }
        laptop => {
            if let Some(namespaces) = plan::hosts(ask) {
                let wanted = hosts::Wanted { namespaces, domain: device::domain(ask, &place) };
                write_hosts(&cluster, laptop, wanted, &made.guards).await?;
            }
            report::ready(&[READY, &proxy_hint(proxy)]);
            info!("For cluster names, too: export http_proxy=http://{proxy}");
        }
    }
    let ready = Ready::new(&cluster, "connect", Some(&ask.mode));
    events::say(&Event::Ready(Ready { proxy: Some(proxy), ..ready }));
    Ok(())
}

async fn write_hosts(
    cluster: &Cluster,
    laptop: Option<Laptop>,
    wanted: hosts::Wanted,
    guards: &Tasks,
) -> anyhow::Result<()> {
    match laptop {
        Some(laptop) => hosts::start(cluster, laptop, wanted, guards, |_| std::future::ready(())).await,
        None => {
            warn!("Without root the names of the cluster are not in the hosts file; its addresses work");
            Ok(())
        }
    }
}

/// Whether root has something to do.
pub(crate) fn changes_the_laptop(ask: &Connect) -> bool {
    !ask.disable_tun_device || (plan::hosts(ask).is_some() && privilege::is_root())
}

/// New flows take the link to the new shadow.
impl shadow::Successor for Uplink {
    async fn take(&self, link: Link, _: IncomingQueue) -> anyhow::Result<()> {
        self.replace(link);
        Ok(())
    }
}

async fn listen_proxy(ask: &Connect) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(ask.proxy_addr, ask.proxy_port);
    if !ask.proxy_addr.is_loopback() {
        warn!("the proxy listens on {address}: everybody who reaches this laptop reaches the cluster");
    }
    let failed = |error: std::io::Error| {
        let text = format!("listening on {address} for the local proxy: {error}");
        Advised::new(text, "choose another port with --proxyPort")
    };
    Ok(TcpListener::bind(address).await.map_err(failed)?)
}

fn proxy_hint(address: SocketAddr) -> String {
    format!(">> Please setup proxy config by: export http_proxy=socks5://{address} <<")
}

/// The laptop first: it is what the user works with, and needs no network. Tells whether everything
/// is undone.
async fn undo(run: &mut Run, laptop: Option<Laptop>, made: Made) -> bool {
    made.guards.stop().await;
    let on_laptop = match laptop {
        Some(laptop) => cleanup::say_undone(laptop.lock().await.undo_all().await),
        None => true,
    };
    run.tasks.stop().await;
    let in_cluster = match (made.journal, made.shadow) {
        (Some(journal), Some(shadow)) => cleanup::in_cluster(run, &journal, shadow.delete()).await,
        _ => true,
    };
    on_laptop && in_cluster
}
