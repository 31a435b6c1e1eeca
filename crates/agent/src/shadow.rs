//! `shadow`: the cluster end of every tunnel.
//!
//! It listens on the pod's loopback, where the API server's port-forward arrives, and serves the
//! links of laptops: connections out into the cluster, and listeners whose callers go to the
//! laptop, which live as long as the pod. It needs no right, no file and no file system; only beside
//! the program that is called, in one pod with it, it needs NET_ADMIN (see `redirect`).

mod inbound;
mod outbound;
mod redirect;
mod start;
#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kt_wire::link::Links;
use kt_wire::{Incoming, Link, Open, Reason, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::info;
use crate::links::{self, Serves};
use crate::names::{self, Resolver};
use inbound::Ports;
use redirect::{Probes, Redirects};
use start::Words;
pub use start::main;

/// New callers go to the original pods so long after a laptop without a carrier was last heard.
const PASS_ON_AFTER: Duration = Duration::from_secs(15);

/// What all links of a shadow share.
struct Shadow {
    links: Arc<Links>,
    resolver: Resolver,
    ports: Ports,
}

/// Serves until the pod is told to stop, or nobody needs it any more.
async fn run(words: Words) -> io::Result<()> {
    let listener = links::listen(words.port).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let redirects = words.redirect.then(|| Rc::new(Redirects::new(Probes::of(words.node, words.probed))));
    let shadow = Shadow::new(Resolver::from_system(), redirects);
    let ending = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shadow.ports.end().await;
    };
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                () = links::serve(listener, shadow.clone()) => {}
                () = ending => {}
                () = shadow.ports.are_over() => {}
            }
        })
        .await;
    shadow.ports.leave();
    Ok(())
}

impl Shadow {
    fn new(resolver: Resolver, redirects: Option<Rc<Redirects>>) -> Rc<Shadow> {
        let name = concat!("shadow ", env!("CARGO_PKG_VERSION"));
        let links = Links::new(name, Settings::default());
        Rc::new(Shadow { links, resolver, ports: Ports::new(redirects) })
    }
}

impl Serves for Shadow {
    fn links(&self) -> &Arc<Links> {
        &self.links
    }

    fn has_come(&self, link: &Link) {
        self.ports.has_come(link);
    }

    async fn serve_stream(self: Rc<Shadow>, link: Link, asked: Incoming) {
        match asked.what.clone() {
            Open::Tcp(target) => outbound::tcp(&self.resolver, &target, asked).await,
            Open::Udp(target) => outbound::udp(&self.resolver, &target, asked).await,
            Open::Echo(address) => outbound::echo(address, asked).await,
            Open::Names => names::serve(&self.resolver, asked).await,
            Open::Info => info::tell(&self.resolver, asked).await,
            Open::Listen { .. } => self.ports.listen(&self.resolver, link, asked).await,
            Open::Arrived { .. } | Open::Rehearse { .. } | Open::Rules => {
                asked.refuse(&Reason::Unsupported.into());
            }
        }
    }
}
