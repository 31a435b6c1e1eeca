//! What a packet says: pure functions over its bytes, which never trust a length.

use std::net::{Ipv4Addr, SocketAddrV4};

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
/// Bytes of a UDP header.
pub(super) const UDP_HEADER: usize = 8;

/// The protocol numbers of IP that we know.
pub(super) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

/// What is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Tcp(Tcp),
    Udp(Udp),
    /// An ICMP echo request.
    Echo {
        source: Ipv4Addr,
        destination: Ipv4Addr,
    },
    /// A whole IPv6 packet, not looked into.
    V6,
    /// A part of an IPv4 packet that was too large.
    Fragment,
    /// Whatever else.
    Other,
}

/// A TCP segment (of up to 64 KiB when it will be cut later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
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
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
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
        6 => Some(Packet::V6),
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
    let (source, destination) = (ip(packet, 12)?, ip(packet, 16)?);
    match packet[9] {
        protocol::TCP => read_tcp(packet, at, source, destination),
        protocol::UDP => {
            let (source, destination) = ports(packet, at, source, destination)?;
            let end = at + usize::from(word(packet, at + 4)?);
            let at = at + UDP_HEADER;
            (at <= end && end <= packet.len()).then_some(Packet::Udp(Udp { source, destination, at, end }))
        }
        protocol::ICMP if packet.get(at..at + 2)? == [8, 0] => Some(Packet::Echo { source, destination }),
        _ => Some(Packet::Other),
    }
}

fn read_tcp(packet: &[u8], at: usize, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Packet> {
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

/// Gives a segment other ends. With `partial`, its checksum field holds only the sum of the pseudo
/// header, to which the rest will be added later; the ports are part of that rest.
pub(super) fn redirect(
    packet: &mut [u8],
    tcp: &Tcp,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    partial: bool,
) {
    let mut addresses = [0; 8];
    addresses[..4].copy_from_slice(&source.ip().octets());
    addresses[4..].copy_from_slice(&destination.ip().octets());
    let mut ports = [0; 4];
    ports[..2].copy_from_slice(&source.port().to_be_bytes());
    ports[2..].copy_from_slice(&destination.port().to_be_bytes());

    let moved = Sum::default().change(&packet[12..20], &addresses);
    checksum::patch(packet, 10, moved);
    match partial {
        true => checksum::patch_partial(packet, tcp.at + 16, moved),
        false => {
            let changed = moved.change(&packet[tcp.at..tcp.at + 4], &ports);
            checksum::patch(packet, tcp.at + 16, changed);
        }
    }
    packet[12..20].copy_from_slice(&addresses);
    packet[tcp.at..tcp.at + 4].copy_from_slice(&ports);
}

fn ports(
    packet: &[u8],
    at: usize,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let (from, to) = (word(packet, at)?, word(packet, at + 2)?);
    Some((SocketAddrV4::new(source, from), SocketAddrV4::new(destination, to)))
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn long(packet: &[u8], at: usize) -> Option<u32> {
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn ip(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    long(packet, at).map(Ipv4Addr::from_bits)
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
