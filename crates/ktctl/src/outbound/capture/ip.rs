//! IP packets of ours: the header of either family before a payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::packet::{IPV4_HEADER, IPV6_HEADER, protocol};

/// Hops that a packet may make: it makes one.
const HOPS: u8 = 64;
/// Bytes of the extension header of IPv6 before a part.
const PART_HEADER: usize = 8;

/// Between whom a packet goes: two addresses of one family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Way {
    pub(super) fn new(from: IpAddr, to: IpAddr) -> Option<Way> {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(Way::V4(from, to)),
            (IpAddr::V6(from), IpAddr::V6(to)) => Some(Way::V6(from, to)),
            _ => None,
        }
    }

    /// The sum of the pseudo header, which TCP, UDP and ICMPv6 have in their checksums.
    pub(super) fn pseudo(self, protocol: u8, length: usize) -> Sum {
        let sum = match self {
            Way::V4(from, to) => Sum::default().bytes(&from.octets()).bytes(&to.octets()),
            Way::V6(from, to) => Sum::default().bytes(&from.octets()).bytes(&to.octets()),
        };
        sum.word(protocol.into()).word(length as u16)
    }

    /// The bytes that a payload may have.
    pub(super) fn most(self) -> usize {
        match self {
            Way::V4(..) => usize::from(u16::MAX) - IPV4_HEADER,
            Way::V6(..) => usize::from(u16::MAX),
        }
    }

    /// A whole packet.
    pub(super) fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self {
            Way::V4(from, to) => v4(from, to, protocol, (0, 0), payload),
            Way::V6(from, to) => v6(from, to, protocol, payload),
        }
    }

    /// The packets of a payload: more than one when it is larger than `mtu` bytes with its header.
    /// `number` ties them together.
    pub(super) fn packets(self, protocol: u8, payload: &[u8], number: u32, mtu: usize) -> Vec<Vec<u8>> {
        let header = match self {
            Way::V4(..) => IPV4_HEADER,
            Way::V6(..) => IPV6_HEADER,
        };
        if header + payload.len() <= mtu {
            return vec![self.packet(protocol, payload)];
        }
        let part_header = if matches!(self, Way::V4(..)) { header } else { header + PART_HEADER };
        // The place of a part is counted in units of eight bytes.
        let most = (mtu.saturating_sub(part_header) & !7).max(8);
        let last = payload.len().saturating_sub(1) / most;
        let parts = payload.chunks(most).enumerate();
        let part = |(place, part): (usize, &[u8])| {
            self.part(protocol, part, number, (place * most / 8) as u16, place < last)
        };
        parts.map(part).collect()
    }

    fn part(self, protocol: u8, part: &[u8], number: u32, place: u16, more: bool) -> Vec<u8> {
        match self {
            Way::V4(from, to) => {
                let place = place | if more { 0x2000 } else { 0 };
                v4(from, to, protocol, (number as u16, place), part)
            }
            Way::V6(from, to) => {
                let mut payload = vec![protocol, 0];
                payload.extend_from_slice(&(place << 3 | u16::from(more)).to_be_bytes());
                payload.extend_from_slice(&number.to_be_bytes());
                payload.extend_from_slice(part);
                v6(from, to, protocol::FRAGMENT, &payload)
            }
        }
    }
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, (number, part): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = (IPV4_HEADER + payload.len()) as u16;
    let mut packet = Vec::with_capacity(length.into());
    packet.extend_from_slice(&[0x45, 0]);
    for word in [length, number, part] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&[HOPS, protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = Sum::default().bytes(&packet).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(IPV6_HEADER + payload.len());
    packet.extend_from_slice(&[0x60, 0, 0, 0]);
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[protocol, HOPS]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(payload);
    packet
}
