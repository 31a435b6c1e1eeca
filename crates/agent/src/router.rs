//! `router`: sends the requests of a meshed Service to whom they are for.
//!
//! It listens on the target ports of the Service. What is HTTP goes, request by request, to the
//! shadow of the first route that wants it, else to the original; what is not HTTP goes to the
//! original as it is. Rules come over the links of laptops, from a file that holds the pod's
//! annotation, and from the commands of older clients, which it keeps in a file of its own; they
//! change while connections go on.

mod caller;
mod command;
mod failure;
mod headers;
mod http;
mod http2;
mod kept;
mod ports;
mod raw;
mod rehearsal;
mod rules;
mod sniff;
mod start;
mod table;
#[cfg(test)]
mod tests;
mod udp;
mod upstream;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kt_wire::link::Links;
use kt_wire::rules::{Route, RuleSet};
use kt_wire::{Incoming, Link, Open, Reason, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::info;
use crate::links::{self, Serves};
use crate::names::Resolver;
use http::Buffers;
pub use start::main;
use table::Table;

/// How long callers may still come once the pod is to end: until another router stands.
const COMING: Duration = Duration::from_secs(20);
/// Who has not seen a caller for so long has no more of them. Another router takes about half of it.
const QUIET: Duration = Duration::from_secs(10);
/// How long running requests may take after that.
const ENDING: Duration = Duration::from_secs(10);
/// How often it looks whether any are left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What all parts of the router share.
struct Router {
    links: Arc<Links>,
    resolver: Resolver,
    /// The file for what older clients have told.
    kept: Option<PathBuf>,
    /// What is in use. Whoever needs it takes it anew for each request.
    table: RefCell<Rc<Table>>,
    /// Told after each change of the table.
    changed: watch::Sender<()>,
    /// What is left of its life.
    life: Cell<Life>,
    /// Told once connections are to end.
    ending: watch::Sender<bool>,
    /// Callers who are connected.
    callers: Rc<Cell<usize>>,
    /// Told of each caller's address.
    arrived: broadcast::Sender<IpAddr>,
    /// For those who have read something.
    buffers: Rc<Buffers>,
}

/// How far a router is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Lives,
    /// The pod is to end, and callers come to it for as long as there is no other.
    Ends,
    /// Another one does its work.
    Unneeded,
}

/// How the program was started.
struct Options {
    port: u16,
    rules: Option<PathBuf>,
    kept: Option<PathBuf>,
}

/// Serves until the pod is told to stop.
async fn run(options: Options) -> io::Result<()> {
    let listener = links::listen(options.port).await?;
    let commands = command::listen(options.port)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let router = Router::new(Resolver::from_system(), options.kept);
    let serving = async {
        spawn_local(links::serve(listener, router.clone()));
        spawn_local(command::serve(commands, router.clone()));
        if let Some(path) = options.rules {
            spawn_local(rules::follow(path, router.clone()));
        }
        let ports = spawn_local(ports::serve(router.clone()));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        router.until_unneeded().await;
        ports.abort();
        router.end().await;
    };
    LocalSet::new().run_until(serving).await;
    Ok(())
}

impl Router {
    /// Knows at once what stands in the file `kept`, and keeps there what older clients tell.
    fn new(resolver: Resolver, kept: Option<PathBuf>) -> Rc<Router> {
        let name = concat!("router ", env!("CARGO_PKG_VERSION"));
        let router = Router {
            links: Links::new(name, Settings::default()),
            resolver,
            kept,
            table: RefCell::default(),
            changed: watch::Sender::default(),
            life: Cell::default(),
            ending: watch::Sender::default(),
            callers: Rc::default(),
            arrived: broadcast::Sender::new(rehearsal::REMEMBERED),
            buffers: Rc::default(),
        };
        if let Some(path) = &router.kept {
            kept::restore(path, &router);
        }
        Rc::new(router)
    }

    /// What is in use at the moment.
    fn table(&self) -> Rc<Table> {
        self.table.borrow().clone()
    }

    /// Uses a set of rules unless a newer one is in use; returns the generation in use. Told to end, it
    /// learns by a set without routes that nobody needs it; the last callers get what they got before.
    fn adopt(&self, set: RuleSet) -> u64 {
        let table = self.table();
        if set.routes.is_empty() && self.life.get() != Life::Lives {
            self.life.set(Life::Unneeded);
            self.changed.send_replace(());
            return table.generation();
        }
        if set.generation >= table.generation() {
            self.put(table.with_set(set, &self.resolver));
        }
        self.table().generation()
    }

    /// Adds the route of an older client.
    fn add(&self, route: Route) {
        self.put(self.table().with_route(route, &self.resolver));
    }

    fn put(&self, table: Table) {
        self.table.replace(Rc::new(table));
        self.changed.send_replace(());
    }

    /// Nodes send callers to a pod that ends for as long as there is no other. Returns once the laptops
    /// have said that there is one, when nobody comes any more, or after some time.
    async fn until_unneeded(&self) {
        let has_joined = self.table().has_routes();
        self.life.set(if has_joined { Life::Ends } else { Life::Unneeded });
        let mut changed = self.changed.subscribe();
        let mut arrived = self.arrived.subscribe();
        let needed = async {
            while self.life.get() != Life::Unneeded {
                tokio::select! {
                    _ = changed.changed() => {}
                    _ = arrived.recv() => {}
                    () = sleep(QUIET) => return,
                }
            }
        };
        let _ = timeout(COMING, needed).await; // whoever comes later is refused
    }

    /// Has connections end after the requests that run on them, and returns when none is left, or
    /// after some seconds.
    async fn end(&self) {
        self.ending.send_replace(true);
        let ended = async {
            while self.callers.get() > 0 {
                sleep(LOOK_EVERY).await;
            }
        };
        let _ = timeout(ENDING, ended).await; // the rest is cut
    }
}

impl Serves for Router {
    fn links(&self) -> &Arc<Links> {
        &self.links
    }

    async fn serve_stream(self: Rc<Router>, _: Link, asked: Incoming) {
        match asked.what.clone() {
            Open::Rules => rules::take(&self, asked).await,
            Open::Rehearse { caller, route } => rehearsal::serve(&self, caller, &route, asked).await,
            Open::Info => info::tell(&self.resolver, asked).await,
            _ => asked.refuse(&Reason::Unsupported.into()),
        }
    }
}
