//! Serves the links of laptops.
//!
//! Each carrier is a task, and so is each link, which owns the tasks of its streams. A link without
//! a carrier keeps its streams for a while (decision "link without carrier" in the protocol), and
//! its listeners for as long as the pod lives.

mod inbound;
mod info;
mod names;
mod outbound;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kt_wire::link::{Accepted, IncomingQueue, Links};
use kt_wire::{Incoming, Link, LinkState, Open, Reason, Settings};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep_until;

use inbound::Ports;
use names::Resolver;

/// After so long without a carrier new callers go to the original pods.
const PASS_ON_AFTER: Duration = Duration::from_secs(15);
/// After so long without a carrier streams are reset.
const RESET_AFTER: Duration = Duration::from_secs(300);
/// After so long without a carrier a link is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What all links of a shadow share.
struct Shadow {
    links: Arc<Links>,
    resolver: Resolver,
    ports: Ports,
}

/// Serves until the pod is told to stop.
pub(crate) async fn run(port: u16) -> io::Result<()> {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await?,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shadow = Shadow::new(Resolver::from_system());
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
                () = serve(listener, shadow.clone()) => {}
                () = ending => {}
            }
        })
        .await;
    Ok(())
}

async fn serve(listener: TcpListener, shadow: Rc<Shadow>) {
    let mut carriers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((carrier, _)) => drop(carriers.spawn_local(shadow.clone().carry(carrier))),
                Err(error) => pause_after(&error).await,
            },
            Some(_) = carriers.join_next() => {}
        }
    }
}

/// Out of files or memory: others need time to end before it is worth trying again.
async fn pause_after(error: &io::Error) {
    eprintln!("shadow: can not accept: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

impl Shadow {
    fn new(resolver: Resolver) -> Rc<Shadow> {
        let name = concat!("shadow ", env!("CARGO_PKG_VERSION"));
        let links = Links::new(name, Settings::default());
        Rc::new(Shadow { links, resolver, ports: Ports::default() })
    }

    /// One carrier's life.
    async fn carry(self: Rc<Shadow>, carrier: TcpStream) {
        let _ = carrier.set_nodelay(true); // slower without, but not wrong
        match self.links.accept(carrier).await {
            Ok((Accepted::New(link, incoming), life)) => {
                tokio::task::spawn_local(self.clone().serve_link(link, incoming));
                life.await;
            }
            Ok((Accepted::Resumed(_), life)) => drop(life.await),
            // Also whoever only looks whether somebody listens.
            Err(error) => eprintln!("shadow: a connection is not used: {error}"),
        }
    }

    /// One link's life; its streams end with it.
    async fn serve_link(self: Rc<Shadow>, link: Link, mut incoming: IncomingQueue) {
        let mut streams = JoinSet::new();
        let mut ageing = std::pin::pin!(age(&link));
        loop {
            tokio::select! {
                asked = incoming.next() => {
                    streams.spawn_local(self.clone().serve_stream(link.clone(), asked));
                }
                Some(_) = streams.join_next() => {}
                () = &mut ageing => break,
            }
        }
        self.links.forget(&link);
    }

    async fn serve_stream(self: Rc<Shadow>, link: Link, asked: Incoming) {
        match asked.what.clone() {
            Open::Tcp(target) => outbound::tcp(&self.resolver, &target, asked).await,
            Open::Udp(target) => outbound::udp(&self.resolver, &target, asked).await,
            Open::Echo(address) => outbound::echo(address, asked).await,
            Open::Names => names::serve(&self.resolver, asked).await,
            Open::Info => info::tell(&self.resolver, asked).await,
            Open::Listen { .. } => self.ports.listen(&self.resolver, link, asked).await,
            Open::Arrived { .. } | Open::Rules => asked.refuse(&Reason::Unsupported.into()),
        }
    }
}

/// Returns when the link has ended or was without a carrier for too long. Resets its streams when
/// nobody came back for them.
async fn age(link: &Link) {
    let mut status = link.status();
    loop {
        let state = status.borrow_and_update().clone();
        match state {
            LinkState::Ended(_) => return,
            LinkState::Up => drop(status.changed().await),
            LinkState::Down(since, _) => tokio::select! {
                _ = status.changed() => {}
                () = sleep_until(since + RESET_AFTER) => {
                    link.reset_streams(&Reason::LinkLost.into());
                    tokio::select! {
                        _ = status.changed() => {}
                        () = sleep_until(since + FORGET_AFTER) => return,
                    }
                }
            },
        }
    }
}

/// An address on all interfaces, of both families where the system has both.
fn anywhere(port: u16) -> [SocketAddr; 2] {
    [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
}
