//! What a packet says: pure functions over its bytes, which never trust a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::{self, Sum};

/// TCP's flag FIN.
pub(super) const FIN: u8 = 0x01;
/// TCP's flag SYN.
pub(super) const SYN: u8 = 0x02;
/// TCP's flag RST.
pub(super) const RST: u8 = 0x04;
/// TCP's flag ACK.
pub(super) const ACK: u8 = 0x10;

/// Bytes of an IPv4 header without options.
pub(super) const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header.
pub(super) const IPV6_HEADER: usize = 40;
/// Bytes of a UDP header.
pub(super) const UDP_HEADER: usize = 8;

/// The protocol numbers of IP that we know.
pub(super) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    /// The extension header of IPv6 before a part of a packet.
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
}

/// What is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Tcp(Tcp),
    Udp(Udp),
    /// An ICMP echo request.
    Echo {
        source: IpAddr,
        destination: IpAddr,
    },
    /// A part of a packet that was too large.
    Fragment,
    /// Whatever else.
    Other,
}

/// A TCP segment (of up to 64 KiB when it will be cut later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// Where its header starts.
    at: usize,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    /// How much of the sequence space it takes.
    pub(super) length: u32,
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Udp {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// Where its data starts.
    at: usize,
    end: usize,
}

impl Tcp {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Opens a connection: a SYN that answers none.
    pub(super) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }
}

impl Udp {
    /// Its data in the packet it was read from.
    pub(super) fn data(self, packet: &[u8]) -> &[u8] {
        packet.get(self.at..self.end).unwrap_or_default()
    }
}

/// Reads a packet; `None` when it is malformed.
pub(super) fn read(packet: &[u8]) -> Option<Packet> {
    match packet.first()? >> 4 {
        4 => read_v4(packet),
        6 => read_v6(packet),
        _ => None,
    }
}

fn read_v4(packet: &[u8]) -> Option<Packet> {
    let at = usize::from(packet[0] & 0x0f) * 4;
    let end = usize::from(word(packet, 2)?);
    if at < IPV4_HEADER || end < at || packet.len() < end {
        return None;
    }
    let packet = &packet[..end];
    if word(packet, 6)? & 0x3fff != 0 {
        return Some(Packet::Fragment);
    }
    let ip = |at| long(packet, at).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let (source, destination) = (ip(12)?, ip(16)?);
    match packet[9] {
        protocol::ICMP if packet.get(at..at + 2)? == [8, 0] => Some(Packet::Echo { source, destination }),
        protocol => read_payload(packet, protocol, at, source, destination),
    }
}

/// Extension headers other than that of a part are not looked into: no program sends them.
fn read_v6(packet: &[u8]) -> Option<Packet> {
    let at = IPV6_HEADER;
    let packet = packet.get(..at + usize::from(word(packet, 4)?))?;
    let ip = |at| {
        let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(Ipv6Addr::from(bytes)))
    };
    let (source, destination) = (ip(8)?, ip(24)?);
    match packet[6] {
        protocol::FRAGMENT => Some(Packet::Fragment),
        protocol::ICMPV6 if packet.get(at..at + 2)? == [128, 0] => Some(Packet::Echo { source, destination }),
        protocol => read_payload(packet, protocol, at, source, destination),
    }
}

fn read_payload(
    packet: &[u8],
    protocol: u8,
    at: usize,
    source: IpAddr,
    destination: IpAddr,
) -> Option<Packet> {
    match protocol {
        protocol::TCP => read_tcp(packet, at, source, destination),
        protocol::UDP => {
            let (source, destination) = ports(packet, at, source, destination)?;
            let end = at + usize::from(word(packet, at + 4)?);
            let at = at + UDP_HEADER;
            (at <= end && end <= packet.len()).then_some(Packet::Udp(Udp { source, destination, at, end }))
        }
        _ => Some(Packet::Other),
    }
}

fn read_tcp(packet: &[u8], at: usize, source: IpAddr, destination: IpAddr) -> Option<Packet> {
    let (source, destination) = ports(packet, at, source, destination)?;
    let header = usize::from(packet.get(at + 12)? >> 4) * 4;
    if header < 20 {
        return None;
    }
    let data = packet.len().checked_sub(at + header)?;
    let flags = packet[at + 13];
    let length = data as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledged) = (long(packet, at + 4)?, long(packet, at + 8)?);
    Some(Packet::Tcp(Tcp { source, destination, at, flags, sequence, acknowledged, length }))
}

/// Gives a segment other ends of the same family. With `partial`, its checksum field holds only the sum of the pseudo
/// header, to which the rest will be added later; the ports are part of that rest.
pub(super) fn redirect(
    packet: &mut [u8],
    tcp: &Tcp,
    source: SocketAddr,
    destination: SocketAddr,
    partial: bool,
) {
    let mut addresses = [0; 32];
    let place = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            addresses[..4].copy_from_slice(&source.octets());
            addresses[4..8].copy_from_slice(&destination.octets());
            12..20
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            addresses[..16].copy_from_slice(&source.octets());
            addresses[16..].copy_from_slice(&destination.octets());
            8..40
        }
        _ => return, // nobody's ends are of two families
    };
    let addresses = &addresses[..place.len()];
    let mut ports = [0; 4];
    ports[..2].copy_from_slice(&source.port().to_be_bytes());
    ports[2..].copy_from_slice(&destination.port().to_be_bytes());

    let moved = Sum::default().change(&packet[place.clone()], addresses);
    if source.is_ipv4() {
        checksum::patch(packet, 10, moved);
    }
    match partial {
        true => checksum::patch_partial(packet, tcp.at + 16, moved),
        false => {
            let changed = moved.change(&packet[tcp.at..tcp.at + 4], &ports);
            checksum::patch(packet, tcp.at + 16, changed);
        }
    }
    packet[place].copy_from_slice(addresses);
    packet[tcp.at..tcp.at + 4].copy_from_slice(&ports);
}

fn ports(packet: &[u8], at: usize, source: IpAddr, destination: IpAddr) -> Option<(SocketAddr, SocketAddr)> {
    let (from, to) = (word(packet, at)?, word(packet, at + 2)?);
    Some((SocketAddr::new(source, from), SocketAddr::new(destination, to)))
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn long(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
