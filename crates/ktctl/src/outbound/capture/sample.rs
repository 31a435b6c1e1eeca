//! Packets for tests, and their checksums from scratch.

use std::net::SocketAddr;

use super::checksum::Sum;
use super::ip::Way;
use super::packet::{ACK, IPV4_HEADER, IPV6_HEADER, protocol};

/// A SYN with the options of Linux: MSS, SACK permitted, timestamps, window scale.
pub(super) const SYN: &[u8] = &[
    0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x0a, 0x0b, 0x0a, 0x00, 0x00, 0x02, 0x0a,
    0x60, 0x00, 0x0a, 0xd4, 0x31, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02,
    0xfa, 0xf0, 0x71, 0x19, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x5c, 0x1d, 0x2e,
    0x3f, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x07,
];

/// A TCP segment.
pub(super) fn segment(source: SocketAddr, destination: SocketAddr, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    tcp[..2].copy_from_slice(&source.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&1000u32.to_be_bytes());
    tcp[8..12].copy_from_slice(&(u32::from(flags & ACK != 0) * 2000).to_be_bytes());
    tcp[12..16].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    tcp.extend_from_slice(data);
    let mut packet = way(source, destination).packet(protocol::TCP, &tcp);
    unfinish(&mut packet);
    finish(&mut packet);
    packet
}

/// A UDP datagram without a checksum.
pub(super) fn datagram(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let head = [source.port(), destination.port(), length, 0].map(u16::to_be_bytes).concat();
    way(source, destination).packet(protocol::UDP, &[&head, data].concat())
}

/// An echo request.
pub(super) fn echo(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let way = way(source, destination);
    let mut icmp = *b"\x08\0\0\0\x12\x34\0\x01payload!";
    let (protocol, sum) = match way {
        Way::V4(..) => (protocol::ICMP, Sum::default()),
        Way::V6(..) => {
            icmp[0] = 128;
            (protocol::ICMPV6, way.pseudo(protocol::ICMPV6, icmp.len()))
        }
    };
    let sum = sum.bytes(&icmp).complement();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    way.packet(protocol, &icmp)
}

fn way(source: SocketAddr, destination: SocketAddr) -> Way {
    Way::new(source.ip(), destination.ip()).expect("one family")
}

/// Bytes of a packet's IP header without options.
pub(super) fn header(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { IPV4_HEADER } else { IPV6_HEADER }
}

/// Leaves the checksum of a segment to the one who sends it on, as the kernel does.
pub(super) fn unfinish(packet: &mut [u8]) {
    let (sum, at) = (pseudo(packet).folded(), header(packet) + 16);
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Does what the one who sends it on does.
pub(super) fn finish(packet: &mut [u8]) {
    let start = header(packet);
    let sum = Sum::default().bytes(&packet[start..]).complement();
    packet[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo(packet: &[u8]) -> Sum {
    let start = header(packet);
    let (addresses, protocol) = if start == IPV4_HEADER { (12..20, packet[9]) } else { (8..40, packet[6]) };
    Sum::default().bytes(&packet[addresses]).word(protocol.into()).word((packet.len() - start) as u16)
}

/// Type and code of an ICMP packet of either family.
pub(super) fn icmp(packet: &[u8]) -> [u8; 2] {
    let start = header(packet);
    [packet[start], packet[start + 1]]
}

/// Tells whether length and checksums of a packet without options are right.
pub(super) fn is_sound(packet: &[u8]) -> bool {
    let start = header(packet);
    let payload = Sum::default().bytes(&packet[start..]);
    let word = |at| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if start == IPV6_HEADER {
        let length = word(4) == packet.len() - start;
        return length && payload.word(pseudo(packet).folded()).complement() == 0;
    }
    let header = Sum::default().bytes(&packet[..start]).complement() == 0;
    let payload = match packet[9] {
        protocol::ICMP => payload,
        _ => payload.word(pseudo(packet).folded()),
    };
    header && word(2) == packet.len() && payload.complement() == 0
}
