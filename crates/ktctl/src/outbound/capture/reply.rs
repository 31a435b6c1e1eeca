//! Packets that we answer ourselves, without a header of the device before them.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::checksum::{self, Sum};
use super::packet::{ACK, IPV4_HEADER, RST, Tcp, UDP_HEADER, protocol};

/// How much of a packet is quoted in an error about it, after its IP header: the ports at least.
const QUOTED: usize = 28;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// Why a destination is unreachable, as ICMP says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Code {
    Host = 1,
    Port = 3,
    Prohibited = 13,
}

/// The RST that refuses a segment (RFC 9293, 3.10.7.1).
pub(super) fn reset(tcp: &Tcp) -> Option<Vec<u8>> {
    if tcp.has(RST) {
        return None;
    }
    let (sequence, acknowledged, flags) = match tcp.has(ACK) {
        true => (tcp.acknowledged, 0, RST),
        false => (0, tcp.sequence.wrapping_add(tcp.length), RST | ACK),
    };
    let mut header = [0; 20];
    header[..2].copy_from_slice(&tcp.destination.port().to_be_bytes());
    header[2..4].copy_from_slice(&tcp.source.port().to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    header[12] = 5 << 4;
    header[13] = flags;
    let (from, to) = (*tcp.destination.ip(), *tcp.source.ip());
    let sum = pseudo(from, to, protocol::TCP, header.len()).bytes(&header).complement();
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(ipv4(from, to, protocol::TCP, (0, 0), &header))
}

/// The ICMP error "destination unreachable" about a packet; `None` when the packet is none.
pub(super) fn unreachable(about: &[u8], from: Ipv4Addr, code: Code) -> Option<Vec<u8>> {
    let header = usize::from(about.first()? & 0x0f) * 4;
    let to: [u8; 4] = about.get(12..16)?.try_into().ok()?;
    let quoted = about.get(..about.len().min(header + QUOTED))?;
    let mut icmp = vec![3, code as u8, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quoted);
    let sum = Sum::default().bytes(&icmp).complement();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(ipv4(from, to.into(), protocol::ICMP, (0, 0), &icmp))
}

/// The head of a datagram, for errors about it.
pub(super) fn datagram_head(source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    let ports = [source.port(), destination.port(), UDP_HEADER as u16, 0].map(u16::to_be_bytes).concat();
    ipv4(*source.ip(), *destination.ip(), protocol::UDP, (0, 0), &ports)
}

/// The answer to an ICMP echo request.
pub(super) fn echo(request: &[u8]) -> Option<Vec<u8>> {
    let header = usize::from(request.first()? & 0x0f) * 4;
    let end = usize::from(u16::from_be_bytes(request.get(2..4)?.try_into().ok()?));
    let from: [u8; 4] = request.get(12..16)?.try_into().ok()?;
    let to: [u8; 4] = request.get(16..20)?.try_into().ok()?;
    let mut icmp = request.get(header..end)?.to_vec();
    let change = Sum::default().change(icmp.get(..2)?, &[0, 0]);
    icmp[0] = 0;
    checksum::patch(&mut icmp, 2, change);
    Some(ipv4(to.into(), from.into(), protocol::ICMP, (0, 0), &icmp))
}

/// The packets of a datagram: more than one when it is larger than `mtu` bytes with its headers.
/// `number` ties them together. `None` when it fits into no IPv4 packet.
pub(super) fn datagram(
    (source, destination): (SocketAddrV4, SocketAddrV4),
    data: &[u8],
    number: u16,
    mtu: usize,
) -> Option<Vec<Vec<u8>>> {
    let (from, to) = (*source.ip(), *destination.ip());
    let length = u16::try_from(UDP_HEADER + data.len()).ok().filter(|length| *length <= 65_515)?;
    let mut udp = [source.port(), destination.port(), length, 0].map(u16::to_be_bytes).concat();
    udp.extend_from_slice(data);
    let sum = match pseudo(from, to, protocol::UDP, udp.len()).bytes(&udp).complement() {
        0 => 0xffff, // zero would mean that there is none
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    if IPV4_HEADER + udp.len() <= mtu {
        return Some(vec![ipv4(from, to, protocol::UDP, (number, 0), &udp)]);
    }
    // The place of a part is counted in units of eight bytes.
    let most = (mtu.saturating_sub(IPV4_HEADER) & !7).max(8);
    let last = (udp.len() - 1) / most;
    let parts = udp.chunks(most).enumerate();
    let part = |(place, part): (usize, &[u8])| {
        let more = if place < last { 0x2000 } else { 0 };
        ipv4(from, to, protocol::UDP, (number, more | (place * most / 8) as u16), part)
    };
    Some(parts.map(part).collect())
}

/// The error "no route" about an IPv6 packet of a kind whose sender waits for an answer.
pub(super) fn unreachable_v6(about: &[u8]) -> Option<Vec<u8>> {
    let kind = *about.get(6)?;
    let payload = about.get(IPV6_HEADER..)?;
    let waits = match kind {
        protocol::TCP => payload.get(13)? & RST == 0,
        protocol::UDP => true,
        protocol::ICMPV6 => *payload.first()? == 128,
        _ => false,
    };
    let (from, to) = (about.get(24..40)?, about.get(8..24)?);
    if !waits || from[0] == 0xff {
        return None;
    }
    let quoted = &about[..about.len().min(IPV6_HEADER + QUOTED)];
    let mut icmp = vec![1, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quoted);
    let length = icmp.len() as u16;
    let sum = Sum::default().bytes(from).bytes(to).word(length).word(protocol::ICMPV6.into());
    let sum = sum.bytes(&icmp).complement();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, (length >> 8) as u8, length as u8, protocol::ICMPV6, 64];
    packet.extend_from_slice(from);
    packet.extend_from_slice(to);
    packet.extend_from_slice(&icmp);
    Some(packet)
}

fn pseudo(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, length: usize) -> Sum {
    Sum::default().bytes(&from.octets()).bytes(&to.octets()).word(protocol.into()).word(length as u16)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, (number, part): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = (IPV4_HEADER + payload.len()) as u16;
    let mut packet = Vec::with_capacity(length.into());
    packet.extend_from_slice(&[0x45, 0]);
    for word in [length, number, part] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&[64, protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = Sum::default().bytes(&packet).complement();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Packet, SYN, read};
    use super::super::sample;
    use super::*;

    fn end(text: &str) -> SocketAddrV4 {
        text.parse().expect("address and port")
    }

    fn tcp(packet: &[u8]) -> Tcp {
        match read(packet) {
            Some(Packet::Tcp(tcp)) => tcp,
            other => panic!("no TCP: {other:?}"),
        }
    }

    #[test]
    fn a_syn_is_refused_with_what_its_sender_believes() {
        let packet = reset(&tcp(sample::SYN)).expect("reset");

        assert!(sample::is_sound(&packet));
        let reset = tcp(&packet);
        assert_eq!((reset.source, reset.destination), (end("10.96.0.10:80"), end("10.0.0.2:54321")));
        assert_eq!((reset.flags, reset.sequence, reset.acknowledged), (RST | ACK, 0, 0x1234_5679));
    }

    #[test]
    fn a_segment_of_an_unknown_connection_is_reset_and_a_reset_never_is() {
        let segment = sample::segment(end("1.2.3.4:5"), end("6.7.8.9:10"), ACK, b"data");
        let packet = reset(&tcp(&segment)).expect("reset");

        assert!(sample::is_sound(&packet));
        assert_eq!((tcp(&packet).flags, tcp(&packet).sequence), (RST, 2000));
        let reset_itself = sample::segment(end("1.2.3.4:5"), end("6.7.8.9:10"), RST | SYN, b"");
        assert_eq!(reset(&tcp(&reset_itself)), None);
    }

    #[test]
    fn an_error_quotes_the_packet_it_is_about() {
        let packet = unreachable(sample::SYN, Ipv4Addr::new(198, 18, 0, 2), Code::Host).expect("error");

        assert!(sample::is_sound(&packet));
        assert_eq!(packet[20..22], [3, 1]);
        assert_eq!(packet[28..76], sample::SYN[..48]);
    }

    #[test]
    fn an_echo_is_answered_with_its_own_bytes() {
        let request = sample::echo(end("10.0.0.2:0"), end("10.96.0.1:0"));
        let packet = echo(&request).expect("reply");

        assert!(sample::is_sound(&request) && sample::is_sound(&packet));
        assert_eq!(packet[20], 0);
        assert_eq!(packet[24..], request[24..]);
        assert_eq!(packet[12..16], [10, 96, 0, 1]);
    }

    #[test]
    fn a_datagram_carries_its_checksum() {
        let ends = (end("10.96.0.10:53"), end("10.0.0.2:4711"));
        let packets = datagram(ends, b"an answer", 1, 1500).expect("packets");

        assert_eq!(packets.len(), 1);
        assert!(sample::is_sound(&packets[0]));
        let Some(Packet::Udp(udp)) = read(&packets[0]) else { panic!("no UDP") };
        assert_eq!((udp.source, udp.destination), ends);
        assert_eq!(udp.data(&packets[0]), b"an answer");
    }

    #[test]
    fn a_large_datagram_is_cut_into_parts_that_fit_together() {
        let data: Vec<u8> = (0..5000).map(|place| place as u8).collect();
        let ends = (end("10.96.0.10:53"), end("10.0.0.2:4711"));
        let packets = datagram(ends, &data, 7, 1500).expect("packets");

        let mut whole = Vec::new();
        for (place, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= 1500);
            assert_eq!(Sum::default().bytes(&packet[..20]).complement(), 0);
            let part = u16::from_be_bytes([packet[6], packet[7]]);
            assert_eq!(usize::from(part & 0x1fff) * 8, whole.len());
            assert_eq!(part & 0x2000 != 0, place + 1 < packets.len());
            whole.extend_from_slice(&packet[20..]);
        }
        assert_eq!(whole[8..], data);
        assert!(sample::is_sound(&ipv4(*ends.0.ip(), *ends.1.ip(), protocol::UDP, (7, 0), &whole)));
        assert_eq!(datagram(ends, &vec![0; 65_508], 7, 1500), None);
    }

    #[test]
    fn an_ipv6_connection_is_told_that_there_is_no_route() {
        let mut syn = vec![0x60, 0, 0, 0, 0, 20, protocol::TCP, 64];
        syn.extend_from_slice(&[0xfd; 16]);
        syn.extend_from_slice(&[0xfc; 16]);
        syn.extend_from_slice(&[0; 20]);

        let packet = unreachable_v6(&syn).expect("error");

        assert_eq!((packet[6], packet[40]), (protocol::ICMPV6, 1));
        let length = (packet.len() - 40) as u16;
        let sum = Sum::default().bytes(&packet[8..40]).word(length).word(58).bytes(&packet[40..]);
        assert_eq!(sum.complement(), 0);
        syn[24] = 0xff;
        assert_eq!(unreachable_v6(&syn), None);
    }
}
