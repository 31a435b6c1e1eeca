//! Who calls. Programs are told of each caller (`-o json`), people of each address once.
//!
//! A line for each connection would bury all others within seconds. A line for the first one answers
//! what a developer asks: does anybody come here, and who? More is in the debug log. An address here
//! is that of a pod or a node, not of a person; docs/decisions/0011 weighs it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kt_wire::Protocol;
use tracing::{debug, info};

use super::deliver::Delivery;
use crate::report::events::{self, Event};

/// So many addresses are named for people; a busy service has thousands.
const NAMED: usize = 20;

/// Who has called so far. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Callers {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Before this, our own trial calls come, too.
    is_ready: bool,
    addresses: BTreeSet<(IpAddr, u16)>,
}

/// What people are told of a caller.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Caller,
    /// The last one who is named.
    Last,
}

impl Callers {
    /// From now on callers are told.
    pub(super) fn ready(&self) {
        self.known().is_ready = true;
    }

    /// One has come. Whether the program took him is not known of datagrams.
    pub(super) fn came(&self, peer: SocketAddr, to: &Delivery) {
        debug!(%peer, laptop = to.laptop, "delivers a caller");
        self.tell(&caller(peer, to, (to.protocol == Protocol::Tcp).then_some(true), None));
        let (address, port) = (peer.ip().to_canonical(), port(to));
        let said = self.known().add(address, to.cluster);
        match said {
            Said::Nothing => {}
            Said::Caller => info!("{address} calls port {port}"),
            Said::Last => info!("{address} calls port {port}; who else does is told by --debug and -o json"),
        }
    }

    /// One has come whom no program took.
    pub(super) fn met_nobody(&self, peer: SocketAddr, to: &Delivery, error: &io::Error) {
        debug!(%peer, laptop = to.laptop, %error, "Local service error");
        self.tell(&caller(peer, to, Some(false), Some(error.to_string())));
    }

    fn tell(&self, caller: &Event<'_>) {
        if self.known().is_ready {
            events::say(caller);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn add(&mut self, address: IpAddr, port: u16) -> Said {
        if !self.is_ready || self.addresses.len() == NAMED || !self.addresses.insert((address, port)) {
            return Said::Nothing;
        }
        if self.addresses.len() == NAMED { Said::Last } else { Said::Caller }
    }
}

fn port(to: &Delivery) -> String {
    match to.protocol {
        Protocol::Tcp => to.cluster.to_string(),
        Protocol::Udp => format!("{}/udp", to.cluster),
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn caller(peer: SocketAddr, to: &Delivery, delivered: Option<bool>, error: Option<String>) -> Event<'static> {
    Event::Caller {
        peer: peer.ip().to_canonical(),
        peer_port: peer.port(),
        protocol: protocol(to.protocol),
        port: to.cluster,
        laptop_port: to.laptop,
        delivered,
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 244, 1, last].into()
    }

    #[test]
    fn an_address_is_named_once_for_each_port() {
        let mut known = Known { is_ready: true, ..Known::default() };

        let said = [(1, 80), (1, 80), (1, 81), (2, 80)].map(|(last, port)| known.add(address(last), port));

        assert_eq!(said, [Said::Caller, Said::Nothing, Said::Caller, Said::Caller]);
    }

    #[test]
    fn a_trial_call_is_not_named_and_does_not_hide_a_caller() {
        let mut known = Known::default();

        let before = known.add(address(1), 80);
        known.is_ready = true;

        assert_eq!((before, known.add(address(1), 80)), (Said::Nothing, Said::Caller));
    }

    #[test]
    fn a_busy_service_does_not_flood_the_log() {
        let mut known = Known { is_ready: true, ..Known::default() };

        let said: Vec<Said> = (0..=255).map(|last| known.add(address(last), 80)).collect();

        assert_eq!(said.iter().filter(|said| **said != Said::Nothing).count(), NAMED);
        assert_eq!(said[NAMED - 1], Said::Last);
    }
}
