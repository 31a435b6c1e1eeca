//! What is asked for when a stream is opened, and why it may be refused.
//!
//! Numbers are big-endian. A text has its length (u16) before it.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Where a flow goes in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address.
    Address(SocketAddr),
    /// A name which the far end looks up, and a port.
    Name(String, u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// A stream of bytes.
    Tcp = 6,
    /// Datagrams.
    Udp = 17,
}

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// Laptop to cluster: a TCP connection; accepted once it is established.
    Tcp(Target),
    /// Laptop to cluster: datagrams to one target and back.
    Udp(Target),
    /// Laptop to cluster: one ICMP echo; accepted once the address has answered it.
    Echo(IpAddr),
    /// Laptop to cluster: DNS messages, each with its length (u16) before it, in both directions;
    /// answers come in any order.
    Names,
    /// Laptop to cluster: the shadow tells what it knows of its place, as lines `key value`.
    Info,
    /// Laptop to cluster: listens on a port of the pod for as long as the stream lives.
    Listen {
        /// The port in the pod.
        port: u16,
        /// Of what arrives there.
        protocol: Protocol,
        /// Who gets what arrives when the laptop is not there.
        otherwise: Option<Target>,
    },
    /// Cluster to laptop: a connection (or the datagrams of one peer) arrived at a port listened on.
    Arrived {
        /// The port in the pod.
        port: u16,
        /// Of what arrived.
        protocol: Protocol,
        /// The caller.
        peer: SocketAddr,
    },
    /// Laptop to cluster: the laptop writes a rule set for the router as JSON and finishes; the
    /// router answers with the generation that it uses now.
    Rules,
    /// Laptop to cluster: accepted by a router once a connection from the caller has arrived at it and
    /// it has itself reached the route and the original.
    Rehearse {
        /// The address from which somebody calls.
        caller: IpAddr,
        /// The route's name.
        route: String,
    },
}

/// Why a stream was refused or has ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The target refused, or reset, the connection.
    Refused = 1,
    /// There is no way to the target.
    Unreachable = 2,
    /// The target did not answer in time.
    TimedOut = 3,
    /// The target's name does not exist.
    NoSuchName = 4,
    /// The port is in use already.
    InUse = 5,
    /// Not allowed there, e.g. a port below 1024.
    Forbidden = 6,
    /// The other end was no longer interested.
    Cancelled = 7,
    /// The link has ended.
    LinkLost = 8,
    /// The peer can not do this, e.g. as it is older.
    Unsupported = 9,
    /// Too much at once.
    Busy = 10,
    /// Anything else; the text says it.
    Other = 0,
}

/// A [`Reason`] with a text for people, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", if .text.is_empty() { .reason.words() } else { .text })]
pub struct Refused {
    /// What programs decide by.
    pub reason: Reason,
    /// What people read.
    pub text: String,
}

/// The payload is no message of this version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("message of kind {0} can not be read")]
pub struct Unreadable(pub u8);

impl Reason {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Reason::Refused => "connection refused",
            Reason::Unreachable => "no way to this address",
            Reason::TimedOut => "no answer in time",
            Reason::NoSuchName => "no such name",
            Reason::InUse => "port already in use",
            Reason::Forbidden => "not allowed",
            Reason::Cancelled => "cancelled",
            Reason::LinkLost => "the link has ended",
            Reason::Unsupported => "not supported by the other end",
            Reason::Busy => "too many streams",
            Reason::Other => "failed",
        }
    }

    fn from_byte(byte: u8) -> Reason {
        use Reason::*;
        [Refused, Unreachable, TimedOut, NoSuchName, InUse, Forbidden, Cancelled, LinkLost, Unsupported, Busy]
            .into_iter()
            .find(|reason| *reason as u8 == byte)
            .unwrap_or(Other)
    }

    /// What the operating system's error means for the peer.
    pub fn of(error: &std::io::Error) -> Reason {
        use std::io::ErrorKind::*;
        match error.kind() {
            ConnectionRefused | ConnectionReset => Reason::Refused,
            HostUnreachable | NetworkUnreachable => Reason::Unreachable,
            TimedOut => Reason::TimedOut,
            AddrInUse => Reason::InUse,
            PermissionDenied => Reason::Forbidden,
            _ => Reason::Other,
        }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refused { reason, text: String::new() }
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Refused {
        Refused { reason: Reason::of(&error), text: error.to_string() }
    }
}

impl From<Refused> for std::io::Error {
    fn from(refused: Refused) -> std::io::Error {
        use std::io::ErrorKind::*;
        let kind = match refused.reason {
            Reason::Refused => ConnectionRefused,
            Reason::Unreachable => HostUnreachable,
            Reason::TimedOut => TimedOut,
            Reason::NoSuchName => NotFound,
            Reason::InUse => AddrInUse,
            Reason::Forbidden => PermissionDenied,
            Reason::Cancelled => ConnectionReset,
            Reason::LinkLost => ConnectionAborted,
            Reason::Unsupported => Unsupported,
            Reason::Busy | Reason::Other => Other,
        };
        std::io::Error::new(kind, refused)
    }
}

impl Refused {
    /// Writes it as the payload of a frame.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(self.reason as u8);
        out.put_slice(self.text.as_bytes());
        out.freeze()
    }

    /// Reads it; never fails, as an unknown reason is still a refusal.
    pub fn decode(payload: &[u8]) -> Refused {
        let reason = payload.first().map_or(Reason::Other, |byte| Reason::from_byte(*byte));
        let text = String::from_utf8_lossy(payload.get(1..).unwrap_or_default()).into_owned();
        Refused { reason, text }
    }
}

impl Open {
    /// Writes it as the payload of a frame.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Open::Tcp(target) => {
                out.put_u8(0);
                put_target(&mut out, target);
            }
            Open::Udp(target) => {
                out.put_u8(1);
                put_target(&mut out, target);
            }
            Open::Echo(address) => {
                out.put_u8(2);
                put_target(&mut out, &Target::Address(SocketAddr::new(*address, 0)));
            }
            Open::Names => out.put_u8(3),
            Open::Info => out.put_u8(4),
            Open::Listen { port, protocol, otherwise } => {
                out.put_u8(5);
                out.put_u16(*port);
                out.put_u8(*protocol as u8);
                out.put_u8(otherwise.is_some().into());
                if let Some(target) = otherwise {
                    put_target(&mut out, target);
                }
            }
            Open::Arrived { port, protocol, peer } => {
                out.put_u8(6);
                out.put_u16(*port);
                out.put_u8(*protocol as u8);
                put_target(&mut out, &Target::Address(*peer));
            }
            Open::Rules => out.put_u8(7),
            Open::Rehearse { caller, route } => {
                out.put_u8(8);
                put_target(&mut out, &Target::Address(SocketAddr::new(*caller, 0)));
                put_text(&mut out, route);
            }
        }
        out.freeze()
    }

    /// Reads it. Bytes after the end are ignored: a later version may say more.
    pub fn decode(payload: &[u8]) -> Result<Open, Unreadable> {
        let kind = payload.first().copied().unwrap_or(u8::MAX);
        decode_open(kind, payload.get(1..).unwrap_or_default()).ok_or(Unreadable(kind))
    }
}

fn decode_open(kind: u8, mut rest: &[u8]) -> Option<Open> {
    let rest = &mut rest;
    Some(match kind {
        0 => Open::Tcp(get_target(rest)?),
        1 => Open::Udp(get_target(rest)?),
        2 => match get_target(rest)? {
            Target::Address(address) => Open::Echo(address.ip()),
            Target::Name(..) => return None,
        },
        3 => Open::Names,
        4 => Open::Info,
        5 => {
            let (port, protocol) = (rest.try_get_u16().ok()?, get_protocol(rest)?);
            let otherwise = match rest.try_get_u8().ok()? {
                0 => None,
                _ => Some(get_target(rest)?),
            };
            Open::Listen { port, protocol, otherwise }
        }
        6 => {
            let (port, protocol) = (rest.try_get_u16().ok()?, get_protocol(rest)?);
            match get_target(rest)? {
                Target::Address(peer) => Open::Arrived { port, protocol, peer },
                Target::Name(..) => return None,
            }
        }
        7 => Open::Rules,
        8 => match get_target(rest)? {
            Target::Address(caller) => Open::Rehearse { caller: caller.ip(), route: get_text(rest)? },
            Target::Name(..) => return None,
        },
        _ => return None,
    })
}

fn put_target(out: &mut BytesMut, target: &Target) {
    match target {
        Target::Address(SocketAddr::V4(address)) => {
            out.put_u8(4);
            out.put_slice(&address.ip().octets());
            out.put_u16(address.port());
        }
        Target::Address(SocketAddr::V6(address)) => {
            out.put_u8(6);
            out.put_slice(&address.ip().octets());
            out.put_u16(address.port());
        }
        Target::Name(name, port) => {
            out.put_u8(0);
            put_text(out, name);
            out.put_u16(*port);
        }
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    let length = text.len() as u16;
    out.put_u16(length);
    out.put_slice(&text.as_bytes()[..length.into()]);
}

fn get_text(from: &mut &[u8]) -> Option<String> {
    let length = from.try_get_u16().ok()?.into();
    let text = std::str::from_utf8(from.get(..length)?).ok()?.to_owned();
    from.advance(length);
    Some(text)
}

fn get_target(from: &mut &[u8]) -> Option<Target> {
    let address = match from.try_get_u8().ok()? {
        4 => IpAddr::V4(Ipv4Addr::from_bits(from.try_get_u32().ok()?)),
        6 => IpAddr::V6(Ipv6Addr::from_bits(from.try_get_u128().ok()?)),
        0 => {
            return Some(Target::Name(get_text(from)?, from.try_get_u16().ok()?));
        }
        _ => return None,
    };
    Some(Target::Address(SocketAddr::new(address, from.try_get_u16().ok()?)))
}

fn get_protocol(from: &mut &[u8]) -> Option<Protocol> {
    match from.try_get_u8().ok()? {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}
