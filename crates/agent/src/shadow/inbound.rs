//! Cluster to laptop: listeners in the pod whose callers go to the laptop.
//!
//! While the laptop is away, callers wait for it a little; then they are passed on to the original
//! pods, so that a laptop which never comes back does not mean a service which never answers. A
//! listener therefore lives as long as the pod, unless the laptop itself closes it.

mod callers;
mod udp;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use kt_wire::{Incoming, Link, LinkState, Open, Protocol, Reason, Refused, Stream};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

use self::callers::Callers;
use super::redirect::Redirects;
use crate::names::Resolver;
use crate::sockets::{bind, bind_udp};

/// How long a pod that is to end goes on passing callers to the originals; the pod's time for its
/// end is a second longer.
const ENDING: Duration = Duration::from_secs(4);
/// How long a port that nobody is led to any more is served for those who are on their way.
const LINGER: Duration = Duration::from_secs(1);
/// How often it looks whether anybody is left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The ports that are listened on, and for whom.
#[derive(Default)]
pub(super) struct Ports {
    taken: RefCell<HashMap<Number, Port>>,
    /// Told once the pod is to end.
    ending: watch::Sender<bool>,
    /// Callers who wait for the laptop, or whom an original serves; beside another program all.
    in_our_care: Rc<Cell<usize>>,
    /// What leads callers here where another program has the ports.
    redirects: Option<Rc<Redirects>>,
}

/// TCP and UDP have the same numbers, and nothing else in common.
pub(super) type Number = (Protocol, u16);

#[derive(Clone)]
enum Listener {
    Tcp(Rc<TcpListener>),
    Udp(Rc<UdpSocket>),
}

struct Port {
    listener: Listener,
    owner: Link,
    serving: AbortHandle,
}

impl Listener {
    fn port(&self) -> io::Result<u16> {
        let address = match self {
            Listener::Tcp(listener) => listener.local_addr(),
            Listener::Udp(socket) => socket.local_addr(),
        };
        Ok(address?.port())
    }
}

impl Ports {
    pub(super) fn new(redirects: Option<Rc<Redirects>>) -> Ports {
        Ports { redirects, ..Ports::default() }
    }

    pub(super) fn has_come(&self, link: &Link) {
        if let Some(redirects) = &self.redirects {
            spawn_local(redirects.clone().follow(link.clone()));
        }
    }

    /// Returns when nobody will need the ports any more; those of a shadow's own pod are always needed.
    pub(super) async fn are_over(&self) {
        match &self.redirects {
            Some(redirects) => redirects.are_over().await,
            None => std::future::pending().await,
        }
    }

    /// Listens on a port for as long as the laptop wants it.
    pub(super) async fn listen(&self, resolver: &Resolver, link: Link, asked: Incoming) {
        let Open::Listen { port, protocol, otherwise } = asked.what.clone() else { return };
        let number = (protocol, port);
        let taken = self.take(number, &link).and_then(|listener| {
            let led = self.lead(number, &listener, &link)?;
            Ok((listener, led))
        });
        let (listener, led) = match taken {
            Ok(taken) => taken,
            Err(why) => return asked.refuse(&why),
        };
        let callers = Callers {
            port,
            link: link.clone(),
            resolver: resolver.clone(),
            otherwise,
            ending: self.ending.subscribe(),
            in_our_care: self.in_our_care.clone(),
            finishes: self.redirects.is_some(),
        };
        let serving = match listener.clone() {
            Listener::Tcp(listener) => spawn_local(Rc::new(callers).serve(listener)),
            Listener::Udp(socket) => spawn_local(udp::serve(Rc::new(callers), socket)),
        };
        let stop = serving.abort_handle();
        self.taken.borrow_mut().insert(number, Port { listener, owner: link.clone(), serving: stop });
        let why = wait_for_end(asked.accept(), &link).await;
        // Only the laptop itself closes a port: one that is away may come back to it.
        if matches!(*link.status().borrow(), LinkState::Up | LinkState::Ended(_)) {
            self.release(number, led, why).await;
            self.close(number, &serving.abort_handle());
        }
    }

    /// Has callers come to the listener where they do not find it by themselves; tells its port then.
    fn lead(&self, number: Number, listener: &Listener, link: &Link) -> Result<Option<u16>, Refused> {
        let Some(redirects) = &self.redirects else { return Ok(None) };
        let led = listener.port().and_then(|to| redirects.lead(number, to, link).map(|()| Some(to)));
        let text = |error: &io::Error| format!("redirecting port {} in the pod: {error}", number.1);
        led.map_err(|error| Refused { reason: Reason::of(&error), text: text(&error) })
    }

    /// Gives callers back to the program that has the port, unless they shall be refused.
    async fn release(&self, number: Number, led: Option<u16>, why: Option<Reason>) {
        if let (Some(redirects), Some(to)) = (&self.redirects, led)
            && why != Some(Reason::Refused)
        {
            redirects.release(number, to);
            sleep(LINGER).await;
        }
    }

    /// A new listener, or that of the same link, or of one whose laptop is away.
    fn take(&self, number: Number, link: &Link) -> Result<Listener, Refused> {
        let (protocol, port) = number;
        let taken = self.taken.borrow_mut().remove(&number);
        if let Some(taken) = taken {
            let away = !matches!(*taken.owner.status().borrow(), LinkState::Up);
            if !away && !taken.owner.is_same(link) {
                self.taken.borrow_mut().insert(number, taken);
                let text = format!("port {port} of the shadow belongs to another ktctl");
                return Err(Refused { reason: Reason::InUse, text });
            }
            taken.serving.abort();
            return Ok(taken.listener);
        }
        let text = |error: &io::Error| format!("listening on port {port} in the pod: {error}");
        let port = if self.redirects.is_some() { 0 } else { port }; // another program has it
        let bound = match protocol {
            Protocol::Tcp => bind(port).map(|listener| Listener::Tcp(Rc::new(listener))),
            Protocol::Udp => bind_udp(port).map(|socket| Listener::Udp(Rc::new(socket))),
        };
        bound.map_err(|error| Refused { reason: Reason::of(&error), text: text(&error) })
    }

    /// Has callers wait no longer for a laptop that is away, and returns once the originals have
    /// served them, or after some seconds.
    pub(super) async fn end(&self) {
        self.ending.send_replace(true);
        let served = async {
            while self.in_our_care.get() > 0 {
                sleep(LOOK_EVERY).await;
            }
        };
        let _ = timeout(ENDING, served).await; // the rest is cut
    }

    /// Leaves nothing behind.
    pub(super) fn leave(&self) {
        if let Some(redirects) = &self.redirects {
            redirects.end();
        }
    }

    fn close(&self, number: Number, serving: &AbortHandle) {
        let mut taken = self.taken.borrow_mut();
        if taken.get(&number).is_some_and(|present| present.serving.id() == serving.id()) {
            taken.remove(&number);
        }
        serving.abort();
    }
}

/// Returns when the laptop closes the stream, and tells why, or nobody can any more.
async fn wait_for_end(stream: Stream, link: &Link) -> Option<Reason> {
    let mut status = link.status();
    tokio::select! {
        closed = stream.receive_datagram() => closed.err().map(|why| why.reason), // no datagram comes
        _ = status.wait_for(|state| matches!(state, LinkState::Ended(_))) => None,
    }
}
