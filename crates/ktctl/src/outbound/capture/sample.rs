//! Packets for tests, and their checksums from scratch.

use std::net::SocketAddrV4;

use super::checksum::Sum;
use super::packet::{ACK, protocol};

/// A SYN with the options of Linux: MSS, SACK permitted, timestamps, window scale.
pub(super) const SYN: &[u8] = &[
    0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x0a, 0x0b, 0x0a, 0x00, 0x00, 0x02, 0x0a,
    0x60, 0x00, 0x0a, 0xd4, 0x31, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x02,
    0xfa, 0xf0, 0x71, 0x19, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0x5c, 0x1d, 0x2e,
    0x3f, 0x00, 0x00, 0x00, 0x00, 0x01, 0x03, 0x03, 0x07,
];

/// A TCP segment.
pub(super) fn segment(source: SocketAddrV4, destination: SocketAddrV4, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    tcp[..2].copy_from_slice(&source.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&destination.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&1000u32.to_be_bytes());
    tcp[8..12].copy_from_slice(&(u32::from(flags & ACK != 0) * 2000).to_be_bytes());
    tcp[12..16].copy_from_slice(&[0x50, flags, 0xff, 0xff]);
    tcp.extend_from_slice(data);
    let mut packet = ipv4(source, destination, protocol::TCP, &tcp);
    unfinish(&mut packet);
    finish(&mut packet);
    packet
}

/// A UDP datagram without a checksum.
pub(super) fn datagram(source: SocketAddrV4, destination: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len()) as u16;
    let head = [source.port(), destination.port(), length, 0].map(u16::to_be_bytes).concat();
    ipv4(source, destination, protocol::UDP, &[&head, data].concat())
}

/// An ICMP echo request.
pub(super) fn echo(source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let mut icmp = *b"\x08\0\0\0\x12\x34\0\x01payload!";
    let sum = Sum::default().bytes(&icmp).complement();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(source, destination, protocol::ICMP, &icmp)
}

fn ipv4(source: SocketAddrV4, destination: SocketAddrV4, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend_from_slice(&source.ip().octets());
    packet.extend_from_slice(&destination.ip().octets());
    packet.extend_from_slice(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = Sum::default().bytes(&packet[..20]).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Leaves the checksum of a segment to the one who sends it on, as the kernel does.
pub(super) fn unfinish(packet: &mut [u8]) {
    let sum = pseudo(packet).folded();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

/// Does what the one who sends it on does.
pub(super) fn finish(packet: &mut [u8]) {
    let sum = Sum::default().bytes(&packet[20..]).complement();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo(packet: &[u8]) -> Sum {
    Sum::default().bytes(&packet[12..20]).word(packet[9].into()).word((packet.len() - 20) as u16)
}

/// Tells whether length and checksums of an IPv4 packet without options are right.
pub(super) fn is_sound(packet: &[u8]) -> bool {
    let header = Sum::default().bytes(&packet[..20]).complement() == 0;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len();
    let payload = Sum::default().bytes(&packet[20..]);
    let payload = match packet[9] {
        protocol::ICMP => payload,
        _ => payload.word(pseudo(packet).folded()),
    };
    header && length && payload.complement() == 0
}
