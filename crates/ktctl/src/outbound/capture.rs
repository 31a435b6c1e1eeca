//! The device as the source of flows, with the kernel as the TCP stack.
//!
//! A program's segment `D:p -> X:80`, read from the device, is written back as `P:q -> D:L`: a call
//! of our own listener, whose answers go the other way round. `D` is the laptop's address on the
//! device, `P` its peer, which does not exist, `L` the listener's port. So the kernel does all of
//! TCP, and super-packets of up to 64 KiB pass as they are. A SYN is held until the far end of the
//! link has connected, so that *refused* stays *refused*.
//!
//! Datagrams and echoes are answered from packets, and so is the name server, which is the peer's
//! port 53.
//!
//! One task reads the device, and alone owns the tables; others only write.

mod checksum;
mod connections;
mod device;
mod door;
mod ip;
mod packet;
mod reply;
#[cfg(test)]
mod sample;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use self::connections::{Connections, Verdict};
use self::device::Device;
pub(crate) use self::door::Pair;
use self::door::{Door, Doors};
use self::packet::{Packet, Tcp};
use self::reply::Code;
use self::tcp::{Dialled, Half};
use self::udp::Conversations;
use super::dial::Dial;
use crate::names::Answers;

/// Packets that are handled before others get their turn.
const AT_ONCE: usize = 64;
/// How often what is over is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Echoes that are under way at once; more are dropped.
const ECHOES: usize = 64;
/// Port of the peer's name server.
const NAMES_PORT: u16 = 53;

/// What the device is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The laptop's address and its peer, which is nobody but our name server.
    pub(crate) v4: Pair,
    /// The same of the other family, when the cluster has it.
    pub(crate) v6: Option<Pair>,
    /// Bytes of the header before each packet: 10 with `IFF_VNET_HDR`, else 0.
    pub(crate) header: usize,
    /// The largest packet in bytes which the device takes.
    pub(crate) mtu: usize,
}

/// Takes flows from a device.
#[derive(Debug)]
pub(crate) struct Capture<D: Dial, N> {
    device: Arc<Device>,
    ends: Ends,
    doors: Doors,
    dial: D,
    names: N,
    connections: Connections<Half<D::Flow>>,
    conversations: Conversations,
    tasks: JoinSet<Event<D::Flow>>,
    echoes: usize,
}

/// What a task of ours has come to.
#[derive(Debug)]
enum Event<F> {
    Dialled(Dialled<F>),
    Relayed(connections::Ticket),
    Echoed,
    Conversed(udp::Ended),
}

impl<D: Dial, N: Answers> Capture<D, N> {
    /// Starts to listen on the laptop's addresses, which the device must have already; programs that
    /// connect before [`serve`](Self::serve) wait.
    pub(crate) async fn new(device: OwnedFd, ends: Ends, dial: D, names: N) -> io::Result<Capture<D, N>> {
        Ok(Capture {
            device: Arc::new(Device::new(device, ends.header)?),
            ends,
            doors: Doors::open(ends.v4, ends.v6)?,
            dial,
            names,
            connections: Connections::new(),
            conversations: Conversations::default(),
            tasks: JoinSet::new(),
            echoes: 0,
        })
    }

    /// Serves until the device is gone. Cancel safety: dropping it ends all flows.
    pub(crate) async fn serve(mut self) -> io::Result<()> {
        let device = self.device.clone();
        let mut buffer = vec![0; device::FRAME];
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ready = device.readable() => {
                    let (mut ready, now) = (ready?, Instant::now());
                    for _ in 0..AT_ONCE {
                        match device::next_frame(&mut ready, &mut buffer)? {
                            Some(length) => self.take(&mut buffer[..length], now),
                            None => break,
                        }
                    }
                }
                accepted = self.doors.accept() => if let Some((program, from)) = accepted {
                    self.accepted(program, from);
                },
                Some(Ok(event)) = self.tasks.join_next() => self.happened(event),
                _ = sweep.tick() => self.connections.sweep(Instant::now()),
            }
        }
    }

    /// One frame of the device.
    fn take(&mut self, frame: &mut [u8], now: Instant) {
        let Some(packet) = frame.get(self.device.header()..) else { return };
        match packet::read(packet) {
            Some(Packet::Tcp(tcp)) => match self.doors.at(tcp.destination.ip()) {
                Some(door) => self.segment(frame, &tcp, door, now),
                None => self.no_route(packet),
            },
            Some(Packet::Udp(udp)) if !is_for_many(udp.destination.ip()) => self.datagram(packet, udp),
            Some(Packet::Echo { destination, .. }) if !is_for_many(destination) => {
                self.echo(packet, destination);
            }
            other => tracing::trace!(?other, length = packet.len(), "dropped a packet of the laptop"),
        }
    }

    /// Tells a program that its family is not carried.
    fn no_route(&self, packet: &[u8]) {
        if let Some(error) = reply::no_route(packet) {
            self.device.write_packet(&error);
        }
    }

    fn segment(&mut self, frame: &mut [u8], tcp: &Tcp, door: Door, now: Instant) {
        if tcp.source == door.listening && tcp.destination.ip() == door.peer {
            if let Some(ends) = self.connections.incoming(tcp.destination.port(), tcp, now) {
                self.pass(frame, tcp, ends.server, ends.client);
            }
            return;
        }
        match self.connections.outgoing(tcp, frame, now) {
            Verdict::Pass(port) => {
                self.pass(frame, tcp, SocketAddr::new(door.peer, port), door.listening);
            }
            Verdict::Dial(ticket) => self.dial(ticket, tcp.destination, door.peer),
            Verdict::Swallow => {}
            Verdict::Unknown => {
                if tcp.opens() {
                    tracing::warn!(
                        connections = self.connections.len(),
                        "too many connections, one is refused"
                    );
                }
                if let Some(reset) = reply::reset(tcp) {
                    self.device.write_packet(&reset);
                }
            }
        }
    }

    /// Writes a segment back with other ends.
    fn pass(&self, frame: &mut [u8], tcp: &Tcp, source: SocketAddr, destination: SocketAddr) {
        let (header, packet) = frame.split_at_mut(self.device.header());
        packet::redirect(packet, tcp, source, destination, device::is_unfinished(header));
        self.device.write_frame(frame);
    }

    fn dial(&mut self, ticket: connections::Ticket, to: SocketAddr, peer: IpAddr) {
        if to.ip() != peer {
            let dialled = tcp::dial(self.dial.clone(), ticket, to);
            self.tasks.spawn(async { Event::Dialled(dialled.await) });
        } else if to.port() == NAMES_PORT {
            self.dialled(Dialled { ticket, result: Ok(Half::Names) });
        } else {
            self.dialled(Dialled { ticket, result: Err(kt_wire::Reason::Refused.into()) });
        }
    }

    fn dialled(&mut self, Dialled { ticket, result }: Dialled<D::Flow>) {
        let now = Instant::now();
        match result {
            Ok(half) => {
                if let Some((ends, mut syn)) = self.connections.connected(ticket, half, now)
                    && let Some(Packet::Tcp(tcp)) = syn.get(self.device.header()..).and_then(packet::read)
                    && let Some(door) = self.doors.at(tcp.destination.ip())
                {
                    tracing::trace!(client = %ends.client, server = %ends.server, "connected");
                    let source = SocketAddr::new(door.peer, ticket.port);
                    self.pass(&mut syn, &tcp, source, door.listening);
                }
            }
            Err(why) => {
                let syn = self.connections.refused(ticket, now);
                let syn = syn.as_deref().and_then(|frame| frame.get(self.device.header()..));
                if let Some(answer) = syn.and_then(|syn| tcp::refusal(syn, &self.doors, &why)) {
                    tracing::debug!(%why, "a connection is refused");
                    self.device.write_packet(&answer);
                }
            }
        }
    }

    /// Nobody but the kernel's copy of a known connection gets in.
    fn accepted(&mut self, program: TcpStream, from: SocketAddr) {
        let is_peer = self.doors.at(from.ip()).is_some_and(|door| door.peer == from.ip());
        let known = is_peer.then(|| self.connections.accepted(from.port())).flatten();
        let Some((ticket, half)) = known else {
            tracing::debug!(%from, "somebody called the listener directly");
            return super::dial::reset(program);
        };
        let carried = tcp::carry(half, program, self.names.clone());
        self.tasks.spawn(async move {
            carried.await;
            Event::Relayed(ticket)
        });
    }

    fn datagram(&mut self, packet: &[u8], udp: packet::Udp) {
        let Some(door) = self.doors.at(udp.destination.ip()) else { return self.no_route(packet) };
        let writer = udp::Writer { device: self.device.clone(), mtu: self.ends.mtu, peer: door.peer };
        let ended = if udp.destination.ip() != door.peer {
            self.conversations.say(udp, udp.data(packet), writer, &self.dial)
        } else if udp.destination.port() == NAMES_PORT {
            self.conversations.ask(udp, udp.data(packet), writer, &self.names)
        } else {
            return writer.refuse(udp, Code::Port);
        };
        if let Some(ended) = ended {
            self.tasks.spawn(async { Event::Conversed(ended.await) });
        }
    }

    /// Answers an echo once the address itself has.
    fn echo(&mut self, request: &[u8], to: IpAddr) {
        let Some(Door { peer, .. }) = self.doors.at(to) else { return self.no_route(request) };
        if self.echoes >= ECHOES {
            return;
        }
        self.echoes += 1;
        let (device, dial, request) = (self.device.clone(), self.dial.clone(), request.to_vec());
        self.tasks.spawn(async move {
            let answer = match to == peer {
                true => Ok(()),
                false => dial.echo(to).await,
            };
            let answer = match answer {
                Ok(()) => reply::echo(&request),
                Err(_) => reply::unreachable(&request, peer, Code::Host),
            };
            if let Some(answer) = answer {
                device.write_packet(&answer);
            }
            Event::Echoed
        });
    }

    fn happened(&mut self, event: Event<D::Flow>) {
        match event {
            Event::Dialled(dialled) => self.dialled(dialled),
            Event::Relayed(ticket) => self.connections.ended(ticket),
            Event::Echoed => self.echoes -= 1,
            Event::Conversed(ended) => self.conversations.ended(ended),
        }
    }
}

/// Discovery of neighbours and the like, which has no place in a cluster.
fn is_for_many(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    address.is_multicast() || address.is_unspecified() || is_broadcast
}
