//! Which connection is known to the kernel under which port: the table of the address translation,
//! without a clock and without packets.
//!
//! A program's connection, `client` to `server`, is led to our listener as one from the peer's
//! address and a port of this table. A connection is *dialled* before its first packet is let
//! through, *waiting* until the listener has accepted it, then *carried*.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::packet::{FIN, RST, Tcp};

/// The first port; the ones below are the peer's own, e.g. its name server.
const FIRST_PORT: u16 = 1024;
/// How long a port rests before another connection gets it: the kernel's TIME_WAIT.
const REST: Duration = Duration::from_secs(60);
/// How long a connection whose ends have both said goodbye may still repeat it.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long a reset connection is remembered.
const AFTER_RESET: Duration = Duration::from_secs(1);
/// How long a program that got no answer from the listener is waited for.
const UNACCEPTED: Duration = Duration::from_secs(60);
/// How long a connection without a relay may be silent: the kernel may still hold data for a
/// program that reads slowly, but asks it at least every two minutes.
const SILENT: Duration = Duration::from_secs(300);

/// A program's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// A connection in the table: another one at the same port has another serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) port: u16,
    serial: u64,
}

/// What to do with a segment of a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes to the listener, from this port.
    Pass(u16),
    /// It opens a connection that is to be dialled, and is held until then.
    Dial(Ticket),
    /// It says nothing new.
    Swallow,
    /// It belongs to no connection.
    Unknown,
}

/// The table; `F` is the other half of a connection.
#[derive(Debug)]
pub(super) struct Connections<F> {
    by_ends: HashMap<Ends, u16>,
    by_port: Vec<Option<Connection<F>>>,
    /// Ports that had a connection, the longest free first.
    freed: VecDeque<(u16, Instant)>,
    serial: u64,
}

#[derive(Debug)]
struct Connection<F> {
    ends: Ends,
    serial: u64,
    state: State<F>,
    /// The sequence number of its SYN, by which a repeated one is known.
    sequence: u32,
    client_done: bool,
    server_done: bool,
    reset: bool,
    last: Instant,
}

#[derive(Debug)]
enum State<F> {
    /// With the frame of its SYN.
    Dialled(Vec<u8>),
    Waiting(F),
    Carried,
    /// Its relay has ended; the kernel may not have.
    Ended,
}

impl<F> Connections<F> {
    pub(super) fn new() -> Connections<F> {
        Connections { by_ends: HashMap::new(), by_port: Vec::new(), freed: VecDeque::new(), serial: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.by_ends.len()
    }

    /// Judges a segment that a program sends; `frame` is the whole of it.
    pub(super) fn outgoing(&mut self, tcp: &Tcp, frame: &[u8], now: Instant) -> Verdict {
        let ends = Ends { client: tcp.source, server: tcp.destination };
        let known = self.by_ends.get(&ends).copied();
        let known = known.and_then(|port| Some((port, self.by_port.get_mut(index(port))?.as_mut()?)));
        match known {
            Some((port, connection)) if !connection.is_replaced_by(tcp) => {
                if let State::Dialled(syn) = &mut connection.state {
                    if tcp.has(RST) {
                        self.free(port, now);
                    } else if tcp.opens() {
                        syn.clear();
                        syn.extend_from_slice(frame);
                        connection.sequence = tcp.sequence;
                    }
                    return Verdict::Swallow;
                }
                connection.client_done |= tcp.has(FIN);
                connection.reset |= tcp.has(RST);
                connection.last = now;
                Verdict::Pass(port)
            }
            Some((port, _)) => {
                self.free(port, now);
                self.dial(ends, tcp, frame, now)
            }
            None if tcp.opens() => self.dial(ends, tcp, frame, now),
            None => Verdict::Unknown,
        }
    }

    /// Whose connection a segment from the listener to a port belongs to.
    pub(super) fn incoming(&mut self, port: u16, tcp: &Tcp, now: Instant) -> Option<Ends> {
        let connection = self.by_port.get_mut(port.checked_sub(FIRST_PORT)? as usize)?.as_mut()?;
        connection.server_done |= tcp.has(FIN);
        connection.reset |= tcp.has(RST);
        connection.last = now;
        Some(connection.ends)
    }

    /// The far end has connected: gives back ends and frame of the SYN, which may pass now. `None`
    /// when the program is no longer interested; then `flow` is dropped.
    pub(super) fn connected(&mut self, ticket: Ticket, flow: F, now: Instant) -> Option<(Ends, Vec<u8>)> {
        let connection = self.get(ticket)?;
        if !matches!(connection.state, State::Dialled(_)) {
            return None;
        }
        connection.last = now;
        match std::mem::replace(&mut connection.state, State::Waiting(flow)) {
            State::Dialled(syn) => Some((connection.ends, syn)),
            _ => None,
        }
    }

    /// The far end has not connected: forgets the connection, and gives back the frame of its SYN.
    pub(super) fn refused(&mut self, ticket: Ticket, now: Instant) -> Option<Vec<u8>> {
        self.get(ticket)?;
        match self.free(ticket.port, now)?.state {
            State::Dialled(syn) => Some(syn),
            _ => None,
        }
    }

    /// The listener has accepted a connection from a port: gives its other half, once.
    pub(super) fn accepted(&mut self, port: u16) -> Option<(Ticket, F)> {
        let connection = self.by_port.get_mut(port.checked_sub(FIRST_PORT)? as usize)?.as_mut()?;
        if !matches!(connection.state, State::Waiting(_)) {
            return None;
        }
        let ticket = Ticket { port, serial: connection.serial };
        match std::mem::replace(&mut connection.state, State::Carried) {
            State::Waiting(flow) => Some((ticket, flow)),
            _ => None,
        }
    }

    /// The relay of a connection has ended.
    pub(super) fn ended(&mut self, ticket: Ticket) {
        if let Some(connection) = self.get(ticket) {
            connection.state = State::Ended;
        }
    }

    /// Forgets the connections that are over.
    pub(super) fn sweep(&mut self, now: Instant) {
        for place in 0..self.by_port.len() {
            let over = self.by_port[place].as_ref().is_some_and(|connection| connection.is_over(now));
            if over {
                self.free(port(place), now);
            }
        }
    }

    fn get(&mut self, ticket: Ticket) -> Option<&mut Connection<F>> {
        let connection = self.by_port.get_mut(index(ticket.port))?.as_mut()?;
        (connection.serial == ticket.serial).then_some(connection)
    }

    fn dial(&mut self, ends: Ends, tcp: &Tcp, frame: &[u8], now: Instant) -> Verdict {
        let Some(port) = self.free_port(now) else { return Verdict::Unknown };
        self.serial += 1;
        let connection = Connection {
            ends,
            serial: self.serial,
            state: State::Dialled(frame.to_vec()),
            sequence: tcp.sequence,
            client_done: false,
            server_done: false,
            reset: false,
            last: now,
        };
        self.by_port[index(port)] = Some(connection);
        self.by_ends.insert(ends, port);
        Verdict::Dial(Ticket { port, serial: self.serial })
    }

    /// A port that has rested, else a fresh one, else the one that has rested longest: its next user
    /// may lose a second to a connection which the kernel still remembers.
    fn free_port(&mut self, now: Instant) -> Option<u16> {
        let rested = self.freed.front().is_some_and(|(_, since)| now.duration_since(*since) >= REST);
        let fresh = self.by_port.len() <= usize::from(u16::MAX - FIRST_PORT);
        if fresh && !rested {
            self.by_port.push(None);
            return Some(port(self.by_port.len() - 1));
        }
        self.freed.pop_front().map(|(port, _)| port)
    }

    fn free(&mut self, port: u16, now: Instant) -> Option<Connection<F>> {
        let connection = self.by_port.get_mut(index(port))?.take()?;
        self.by_ends.remove(&connection.ends);
        self.freed.push_back((port, now));
        Some(connection)
    }
}

impl<F> Connection<F> {
    /// Tells whether a segment opens another connection between the same ends.
    fn is_replaced_by(&self, tcp: &Tcp) -> bool {
        let again = tcp.sequence == self.sequence || matches!(self.state, State::Dialled(_));
        tcp.opens() && !again
    }

    fn is_over(&self, now: Instant) -> bool {
        let silent = now.duration_since(self.last);
        if self.reset {
            return silent >= AFTER_RESET;
        }
        match self.state {
            State::Dialled(_) => false, // the one who dials has a limit
            State::Waiting(_) => silent >= UNACCEPTED,
            State::Carried | State::Ended if self.client_done && self.server_done => silent >= GOODBYE,
            State::Carried => false,
            State::Ended => silent >= SILENT,
        }
    }
}

/// The place of a port in the table; only for ports of the table.
fn index(port: u16) -> usize {
    usize::from(port.saturating_sub(FIRST_PORT))
}

fn port(place: usize) -> u16 {
    FIRST_PORT + place as u16
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
