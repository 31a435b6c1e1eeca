//! The callers of a port: each goes to the laptop, or to the original while that is away.

use std::cell::Cell;
use std::rc::Rc;

use kt_wire::{Link, LinkState, Open, Protocol, Reason, Refused, Stream, Target};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::sleep_until;

use crate::names::Resolver;
use crate::shadow::{PASS_ON_AFTER, outbound};
use crate::sockets::{Counted, relay_or_reset, reset};

/// Serves the callers of one port.
pub(super) struct Callers {
    pub(super) port: u16,
    pub(super) link: Link,
    pub(super) resolver: Resolver,
    pub(super) otherwise: Option<Target>,
    pub(super) ending: watch::Receiver<bool>,
    pub(super) in_our_care: Rc<Cell<usize>>,
    /// Is what the laptop serves finished when the pod is to end?
    pub(super) finishes: bool,
}

impl Callers {
    /// Accepted callers do *not* end with this: they have their own tasks.
    pub(super) async fn serve(self: Rc<Callers>, listener: Rc<TcpListener>) {
        loop {
            match listener.accept().await {
                Ok((caller, _)) => drop(spawn_local(self.clone().serve_one(caller))),
                Err(error) => crate::links::pause_after(&error).await,
            }
        }
    }

    async fn serve_one(self: Rc<Callers>, caller: TcpStream) {
        let _ = caller.set_nodelay(true); // slower without, but not wrong
        let counted = Counted::new(&self.in_our_care);
        let Ok(peer) = caller.peer_addr() else { return }; // it has gone
        let arrived = Open::Arrived { port: self.port, protocol: Protocol::Tcp, peer };
        match self.to_laptop(&arrived).await {
            Ok(stream) => {
                // A pod that is to end with its laptop has nothing to finish.
                let _until_the_end = self.finishes.then_some(counted);
                relay_or_reset(stream, caller).await;
            }
            Err(why) if why.reason == Reason::LinkLost => self.to_original(caller).await,
            Err(_) => reset(caller),
        }
    }

    /// A stream to the laptop; [`Reason::LinkLost`] when that is away for too long.
    pub(super) async fn to_laptop(&self, arrived: &Open) -> Result<Stream, Refused> {
        tokio::select! {
            biased; // a laptop that is away would find what it is asked now when it is back
            () = laptop_is_away(&self.link, self.ending.clone()) => Err(Reason::LinkLost.into()),
            opened = self.link.open(arrived) => opened,
        }
    }

    async fn to_original(&self, caller: TcpStream) {
        let Some(target) = &self.otherwise else { return reset(caller) };
        match outbound::connect(&self.resolver, target).await {
            Ok(original) => relay_or_reset(original, caller).await,
            Err(_) => reset(caller),
        }
    }
}

/// Returns once the link has been without a carrier for too long, or for any time when the pod is
/// to end, or has ended.
pub(super) async fn laptop_is_away(link: &Link, mut ending: watch::Receiver<bool>) {
    let mut status = link.status();
    loop {
        let state = status.borrow_and_update().clone();
        match state {
            LinkState::Ended(_) => return,
            LinkState::Up => drop(status.changed().await),
            LinkState::Down(since, _) => tokio::select! {
                _ = status.changed() => {}
                () = sleep_until(since + PASS_ON_AFTER) => return,
                _ = ending.wait_for(|ending| *ending) => return,
            },
        }
    }
}
