use super::super::{reply, sample};
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
fn a_real_syn_is_read() {
    let syn = tcp(sample::SYN);

    assert_eq!((syn.source, syn.destination), (end("10.0.0.2:54321"), end("10.96.0.10:80")));
    assert!(syn.opens());
    assert_eq!(syn.length, 1);
    assert!(sample::is_sound(sample::SYN), "the sample itself");
}

#[test]
fn a_redirected_segment_has_sound_checksums() {
    let v4 = ("10.0.0.2:54321", "10.96.0.10:80");
    let v6 = ("[fd00::2]:54321", "[fd00:96::10]:80");
    for ((from, to), source, destination) in [
        (v4, end("198.18.0.2:1024"), end("198.18.0.1:40000")),
        (v4, end("255.255.255.255:65535"), end("0.0.0.0:0")),
        (v4, end("10.0.0.2:54321"), end("10.96.0.10:80")),
        (v6, end("[fd6b::2]:1024"), end("[fd6b::1]:40000")),
        (v6, end("[ffff:ffff::ffff]:65535"), end("[::]:0")),
    ] {
        for data in [&b""[..], b"odd", b"even"] {
            let mut packet = sample::segment(end(from), end(to), ACK, data);
            let segment = tcp(&packet);

            redirect(&mut packet, &segment, source, destination, false);

            assert!(sample::is_sound(&packet));
            let redirected = tcp(&packet);
            assert_eq!((redirected.source, redirected.destination), (source, destination));
            assert_eq!((redirected.sequence, redirected.length), (segment.sequence, segment.length));
        }
    }
}

#[test]
fn an_unfinished_checksum_stays_the_sum_of_the_pseudo_header() {
    for (from, to, source, destination) in [
        ("10.0.0.2:54321", "10.96.0.10:80", "198.18.0.2:1024", "198.18.0.1:40000"),
        ("[fd00::2]:54321", "[fd00:96::10]:80", "[fd6b::2]:1024", "[fd6b::1]:40000"),
    ] {
        let mut packet = sample::segment(end(from), end(to), ACK, b"hello");
        sample::unfinish(&mut packet);
        let segment = tcp(&packet);

        redirect(&mut packet, &segment, end(source), end(destination), true);

        sample::finish(&mut packet);
        assert!(sample::is_sound(&packet));
    }
}

#[test]
fn options_of_both_headers_are_stepped_over() {
    let mut packet = sample::segment(end("10.0.0.2:1"), end("10.0.0.3:2"), ACK, b"data");
    packet.splice(20..20, [1u8, 1, 1, 1]);
    packet[0] = 0x46;
    packet[3] += 4;

    let segment = tcp(&packet);

    assert_eq!((segment.source.port(), segment.length), (1, 4));
}

#[test]
fn a_part_of_a_packet_is_no_segment() {
    let mut packet = sample::SYN.to_vec();
    packet[6] = 0x20;

    assert_eq!(read(&packet), Some(Packet::Fragment));
    let mut packet = sample::segment(end("[fd00::2]:1"), end("[fd00::3]:2"), ACK, b"");
    packet[6] = protocol::FRAGMENT;
    assert_eq!(read(&packet), Some(Packet::Fragment));
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut short_header = sample::SYN.to_vec();
    short_header[0] = 0x44;
    let mut long_header = sample::SYN.to_vec();
    long_header[0x20] = 0xf0;
    let mut longer_than_read = sample::SYN.to_vec();
    longer_than_read[2] = 1;
    let mut longer_v6 = sample::segment(end("[fd00::2]:1"), end("[fd00::3]:2"), ACK, b"");
    longer_v6[4] = 1;

    for packet in [short_header, long_header, longer_than_read, longer_v6] {
        assert_eq!(read(&packet), None);
    }
}

#[test]
fn no_bytes_whatever_cause_a_panic() {
    let mut random = 1u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    };
    let v6 = sample::segment(end("[fd00::2]:1"), end("[fd00::3]:2"), SYN, b"");
    for round in 0..200_000 {
        let whole = if round % 2 == 0 { sample::SYN } else { &v6 };
        let mut packet = whole[..usize::from(next()) % (whole.len() + 1)].to_vec();
        for _ in 0..round % 6 {
            let place = usize::from(next()) % packet.len().max(1);
            if let Some(byte) = packet.get_mut(place) {
                *byte = next();
            }
        }
        if let Some(Packet::Tcp(segment)) = read(&packet) {
            redirect(&mut packet, &segment, segment.destination, segment.source, next() > 127);
        }
        let _ = reply::unreachable(&packet, [10, 0, 0, 1].into(), reply::Code::Host);
        let _ = reply::no_route(&packet);
        let _ = reply::echo(&packet);
    }
}
