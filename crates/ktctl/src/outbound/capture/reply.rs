//! Packets that we answer ourselves, without a header of the device before them.

use std::net::{IpAddr, SocketAddr};

use super::checksum::{self, Sum};
use super::ip::Way;
use super::packet::{self, ACK, IPV6_HEADER, Packet, RST, Tcp, UDP_HEADER, protocol};

/// How much of a packet is quoted in an error about it, after its IP header: the ports at least.
const QUOTED: usize = 28;

/// Why a destination is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Nothing here carries its family.
    Route,
    Host,
    Port,
    Prohibited,
}

impl Code {
    /// Type and code of ICMP (RFC 792, RFC 1812).
    fn v4(self) -> [u8; 2] {
        match self {
            Code::Route => [3, 0],
            Code::Host => [3, 1],
            Code::Port => [3, 3],
            Code::Prohibited => [3, 13],
        }
    }

    /// Type and code of ICMPv6 (RFC 4443).
    fn v6(self) -> [u8; 2] {
        match self {
            Code::Route => [1, 0],
            Code::Host => [1, 3],
            Code::Port => [1, 4],
            Code::Prohibited => [1, 1],
        }
    }
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
    let way = Way::new(tcp.destination.ip(), tcp.source.ip())?;
    let sum = way.pseudo(protocol::TCP, header.len()).bytes(&header).complement();
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(way.packet(protocol::TCP, &header))
}

/// The error "destination unreachable" about a packet; `None` when the packet is none, or of another
/// family than `from`.
pub(super) fn unreachable(about: &[u8], from: IpAddr, code: Code) -> Option<Vec<u8>> {
    let way = Way::new(from, source(about)?)?;
    let (header, kind) = match way {
        Way::V4(..) => (usize::from(about.first()? & 0x0f) * 4, code.v4()),
        Way::V6(..) => (IPV6_HEADER, code.v6()),
    };
    let quoted = about.get(..about.len().min(header + QUOTED))?;
    let mut icmp = vec![kind[0], kind[1], 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quoted);
    let (protocol, sum) = match way {
        Way::V4(..) => (protocol::ICMP, Sum::default()),
        Way::V6(..) => (protocol::ICMPV6, way.pseudo(protocol::ICMPV6, icmp.len())),
    };
    let sum = sum.bytes(&icmp).complement();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(way.packet(protocol, &icmp))
}

/// The error "no route" about a packet whose sender waits for an answer.
pub(super) fn no_route(about: &[u8]) -> Option<Vec<u8>> {
    let to = match packet::read(about)? {
        Packet::Tcp(tcp) if !tcp.has(RST) => tcp.destination.ip(),
        Packet::Udp(udp) => udp.destination.ip(),
        Packet::Echo { destination, .. } => destination,
        _ => return None,
    };
    if to.is_multicast() { None } else { unreachable(about, to, Code::Route) }
}

fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(12..16)?.try_into().ok().map(|bytes: [u8; 4]| bytes.into()),
        _ => packet.get(8..24)?.try_into().ok().map(|bytes: [u8; 16]| bytes.into()),
    }
}

/// The head of a datagram, for errors about it.
pub(super) fn datagram_head(source: SocketAddr, destination: SocketAddr) -> Option<Vec<u8>> {
    let ports = [source.port(), destination.port(), UDP_HEADER as u16, 0].map(u16::to_be_bytes).concat();
    Some(Way::new(source.ip(), destination.ip())?.packet(protocol::UDP, &ports))
}

/// The answer to an echo request.
pub(super) fn echo(request: &[u8]) -> Option<Vec<u8>> {
    let Packet::Echo { source, destination } = packet::read(request)? else { return None };
    let way = Way::new(destination, source)?;
    let (icmp, protocol, kind) = match way {
        Way::V4(..) => {
            let end = usize::from(u16::from_be_bytes(request.get(2..4)?.try_into().ok()?));
            (request.get(usize::from(request.first()? & 0x0f) * 4..end)?, protocol::ICMP, 0)
        }
        Way::V6(..) => {
            let length = usize::from(u16::from_be_bytes(request.get(4..6)?.try_into().ok()?));
            (request.get(IPV6_HEADER..IPV6_HEADER + length)?, protocol::ICMPV6, 129)
        }
    };
    let mut icmp = icmp.to_vec();
    let change = Sum::default().change(icmp.get(..2)?, &[kind, 0]);
    icmp[0] = kind;
    checksum::patch(&mut icmp, 2, change);
    Some(way.packet(protocol, &icmp))
}

/// The packets of a datagram: more than one when it is larger than `mtu` bytes with its headers.
/// `number` ties them together. `None` when it fits into no packet.
pub(super) fn datagram(
    (source, destination): (SocketAddr, SocketAddr),
    data: &[u8],
    number: u32,
    mtu: usize,
) -> Option<Vec<Vec<u8>>> {
    let way = Way::new(source.ip(), destination.ip())?;
    let length = UDP_HEADER + data.len();
    if length > way.most() {
        return None;
    }
    let mut udp = [source.port(), destination.port(), length as u16, 0].map(u16::to_be_bytes).concat();
    udp.extend_from_slice(data);
    let sum = match way.pseudo(protocol::UDP, udp.len()).bytes(&udp).complement() {
        0 => 0xffff, // zero would mean that there is none
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    Some(way.packets(protocol::UDP, &udp, number, mtu))
}

#[cfg(test)]
mod tests {
    use super::super::packet::{Packet, SYN, read};
    use super::super::sample;
    use super::*;

    fn end(text: &str) -> SocketAddr {
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
        let packet = unreachable(sample::SYN, [198, 18, 0, 2].into(), Code::Host).expect("error");

        assert!(sample::is_sound(&packet));
        assert_eq!(packet[20..22], [3, 1]);
        assert_eq!(packet[28..76], sample::SYN[..48]);
    }

    #[test]
    fn an_echo_is_answered_with_its_own_bytes() {
        for (from, to, kind) in [("10.0.0.2:0", "10.96.0.1:0", 0), ("[fd00::2]:0", "[fd00:96::1]:0", 129)] {
            let request = sample::echo(end(from), end(to));
            let packet = echo(&request).expect("reply");

            assert!(sample::is_sound(&request) && sample::is_sound(&packet));
            let start = sample::header(&packet);
            assert_eq!(sample::icmp(&packet), [kind, 0]);
            assert_eq!(packet[start + 4..], request[start + 4..]);
            assert_eq!(source(&packet), Some(end(to).ip()));
        }
    }

    #[test]
    fn a_datagram_carries_its_checksum() {
        for (from, to) in [("10.96.0.10:53", "10.0.0.2:4711"), ("[fd00:96::10]:53", "[fd00::2]:4711")] {
            let ends = (end(from), end(to));
            let packets = datagram(ends, b"an answer", 1, 1500).expect("packets");

            assert_eq!(packets.len(), 1);
            assert!(sample::is_sound(&packets[0]));
            let Some(Packet::Udp(udp)) = read(&packets[0]) else { panic!("no UDP") };
            assert_eq!((udp.source, udp.destination), ends);
            assert_eq!(udp.data(&packets[0]), b"an answer");
        }
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
        let way = Way::new(ends.0.ip(), ends.1.ip()).expect("one family");
        assert!(sample::is_sound(&way.packet(protocol::UDP, &whole)));
        assert_eq!(datagram(ends, &vec![0; 65_508], 7, 1500), None);
    }

    #[test]
    fn the_parts_of_a_large_ipv6_datagram_follow_an_extension_header() {
        let data: Vec<u8> = (0..3000).map(|place| place as u8).collect();
        let ends = (end("[fd00:96::10]:53"), end("[fd00::2]:4711"));
        let packets = datagram(ends, &data, 0x0102_0304, 1500).expect("packets");

        let mut whole = Vec::new();
        for (place, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= 1500);
            assert_eq!((packet[6], packet[40]), (protocol::FRAGMENT, protocol::UDP));
            assert_eq!(packet[44..48], [1, 2, 3, 4]);
            let part = u16::from_be_bytes([packet[42], packet[43]]);
            assert_eq!(usize::from(part & !7), whole.len());
            assert_eq!(part & 1 != 0, place + 1 < packets.len());
            whole.extend_from_slice(&packet[48..]);
        }
        assert_eq!(whole[8..], data);
        let way = Way::new(ends.0.ip(), ends.1.ip()).expect("one family");
        assert!(sample::is_sound(&way.packet(protocol::UDP, &whole)));
    }

    #[test]
    fn who_calls_an_address_that_nothing_carries_is_told_that_there_is_no_route() {
        let segment = |flags, to| sample::segment(end("[fd00::2]:5"), end(to), flags, b"");

        let packet = no_route(&segment(SYN, "[fd00:96::10]:80")).expect("error");

        assert!(sample::is_sound(&packet));
        assert_eq!(sample::icmp(&packet), [1, 0]);
        assert_eq!(no_route(&segment(RST, "[fd00:96::10]:80")), None);
        assert_eq!(no_route(&segment(SYN, "[ff02::1]:80")), None);
    }
}
