//! The device is a pair of sockets that keep packets apart, and the test plays the kernel.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixDatagram};
use tokio::time::timeout;

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::dial::Target;
use super::super::dial::fake::Fake;
use super::packet::{ACK, RST, SYN, Udp};
use super::*;
use crate::outbound::dial::Reason;

/// The laptop's address, and the peer from which the kernel's copies of connections seem to come.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const PEER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd6b, 0, 0, 0, 0, 0, 0, 2));
/// Not one of the ports that a listener gets.
const CLIENT: &str = "127.0.0.1:20321";

fn end(text: &str) -> SocketAddr {
    text.parse().expect("address and port")
}

/// Says back what it is asked.
#[derive(Clone)]
struct Parrot;

impl Answers for Parrot {
    async fn answer(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        Some([if over_tcp { &b"tcp "[..] } else { b"udp " }, query].concat())
    }
}

/// What a program and the kernel see.
struct Laptop {
    device: UnixDatagram,
    header: usize,
}

impl Laptop {
    async fn with(dial: Fake, header: usize) -> Laptop {
        let (device, ours) = UnixDatagram::pair().expect("pair");
        let ours = OwnedFd::from(ours.into_std().expect("socket"));
        // Loopback has one address of IPv6, so that there nobody can play the peer's part.
        let v6 = Pair { address: Ipv6Addr::LOCALHOST.into(), peer: PEER6 };
        let v4 = Pair { address: ADDRESS, peer: PEER };
        let ends = Ends { v4, v6: Some(v6), header, mtu: 1500 };
        let capture = Capture::new(ours, ends, dial, Parrot).await.expect("capture");
        tokio::spawn(capture.serve());
        Laptop { device, header }
    }

    async fn new(targets: impl IntoIterator<Item = (&'static str, Result<SocketAddr, Reason>)>) -> Laptop {
        let targets = targets.into_iter().map(|(to, result)| (Target::Address(end(to)), result));
        Laptop::with(Fake::with(targets), 10).await
    }

    async fn send(&self, packet: &[u8]) {
        let frame = [&vec![0; self.header], packet].concat();
        self.device.send(&frame).await.expect("send");
    }

    async fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; device::FRAME];
        let received = timeout(Duration::from_secs(10), self.device.recv(&mut frame)).await;
        let length = received.expect("a packet in time").expect("receive");
        let packet = frame[self.header..length].to_vec();
        assert!(sample::is_sound(&packet), "{packet:?}");
        packet
    }

    async fn receive_tcp(&self) -> Tcp {
        match packet::read(&self.receive().await) {
            Some(Packet::Tcp(tcp)) => tcp,
            other => panic!("no TCP: {other:?}"),
        }
    }

    async fn receive_udp(&self) -> (Udp, Vec<u8>) {
        let packet = self.receive().await;
        match packet::read(&packet) {
            Some(Packet::Udp(udp)) => (udp, udp.data(&packet).to_vec()),
            other => panic!("no UDP: {other:?}"),
        }
    }

    async fn has_nothing_for(&self, time: Duration) {
        assert!(timeout(time, self.device.recv(&mut [0; 100])).await.is_err(), "an unexpected packet");
    }

    /// Does what the kernel does with a SYN to the listener.
    async fn let_in(&self, syn: &Tcp) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("option");
        socket.bind(syn.source).expect("bind");
        socket.connect(syn.destination).await.expect("connect")
    }
}

/// A service that says back what it is told.
async fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.expect("caller");
            tokio::spawn(async move {
                let (mut read, mut write) = caller.split();
                tokio::io::copy(&mut read, &mut write).await.expect("echo");
            });
        }
    });
    address
}

fn syn(to: &str) -> Vec<u8> {
    sample::segment(end(CLIENT), end(to), SYN, b"")
}

#[tokio::test]
async fn a_connection_is_led_to_its_service_and_its_answers_back() {
    let laptop = Laptop::new([("10.96.0.10:80", Ok(service().await))]).await;

    laptop.send(&syn("10.96.0.10:80")).await;
    let inside = laptop.receive_tcp().await;
    assert!(inside.opens() && inside.source.ip() == PEER && inside.destination.ip() == ADDRESS);

    let answer = sample::segment(inside.destination, inside.source, SYN | ACK, b"");
    laptop.send(&answer).await;
    let outside = laptop.receive_tcp().await;
    assert_eq!((outside.source, outside.destination), (end("10.96.0.10:80"), end(CLIENT)));

    let mut program = laptop.let_in(&inside).await;
    program.write_all(b"hello").await.expect("write");
    program.shutdown().await.expect("half-close");
    let mut heard = String::new();
    program.read_to_string(&mut heard).await.expect("read");
    assert_eq!(heard, "hello");
}

#[tokio::test]
async fn a_syn_is_held_while_its_service_is_dialled() {
    let targets = [(Target::Address(end("10.96.0.10:80")), Ok(service().await))];
    let mut dial = Fake::with(targets);
    dial.delay = Duration::from_millis(300);
    let laptop = Laptop::with(dial.clone(), 0).await;

    laptop.send(&syn("10.96.0.10:80")).await;
    laptop.send(&syn("10.96.0.10:80")).await;
    laptop.has_nothing_for(Duration::from_millis(100)).await;

    assert!(laptop.receive_tcp().await.opens());
    assert_eq!(dial.asked(), ["tcp 10.96.0.10:80"], "dialled once");
}

#[tokio::test]
async fn refused_is_refused_and_unreachable_is_unreachable() {
    let refused = ("10.96.0.10:81", Err(Reason::Refused));
    let laptop = Laptop::new([refused, ("10.96.0.10:82", Err(Reason::Unreachable))]).await;

    laptop.send(&syn("10.96.0.10:81")).await;
    let reset = laptop.receive_tcp().await;
    assert_eq!((reset.flags, reset.source, reset.acknowledged), (RST | ACK, end("10.96.0.10:81"), 1001));

    laptop.send(&syn("10.96.0.10:82")).await;
    let error = laptop.receive().await;
    assert_eq!(error[20..22], [3, 1], "host unreachable");
}

#[tokio::test]
async fn a_service_that_does_not_answer_stays_silent_at_first() {
    let laptop = Laptop::new([("10.96.0.10:80", Err(Reason::TimedOut))]).await;

    laptop.send(&syn("10.96.0.10:80")).await;

    laptop.has_nothing_for(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn segments_of_unknown_connections_are_reset() {
    let laptop = Laptop::new([]).await;

    laptop.send(&sample::segment(end(CLIENT), end("10.96.0.10:80"), ACK, b"data")).await;
    assert!(laptop.receive_tcp().await.has(RST));

    laptop.send(&syn("127.0.0.2:80")).await;
    assert!(laptop.receive_tcp().await.has(RST), "the peer is nobody");
}

#[tokio::test]
async fn who_calls_the_listener_directly_is_reset() {
    let laptop = Laptop::new([("10.96.0.10:80", Ok(service().await))]).await;
    laptop.send(&syn("10.96.0.10:80")).await;
    let inside = laptop.receive_tcp().await;

    let mut stranger = TcpStream::connect(inside.destination).await.expect("connect");

    let error = stranger.read_u8().await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn datagrams_have_their_conversation() {
    let laptop = Laptop::new([("10.96.0.10:9", Err(Reason::Refused))]).await;

    for data in [&b"one"[..], b"two"] {
        laptop.send(&sample::datagram(end(CLIENT), end("10.96.0.10:5000"), data)).await;
        let (udp, heard) = laptop.receive_udp().await;
        assert_eq!((udp.source, udp.destination), (end("10.96.0.10:5000"), end(CLIENT)));
        assert_eq!(heard, data);
    }

    laptop.send(&sample::datagram(end(CLIENT), end("10.96.0.10:9"), b"x")).await;
    assert_eq!(laptop.receive().await[20..22], [3, 3], "port unreachable");
    laptop.send(&sample::datagram(end(CLIENT), end("224.0.0.251:5353"), b"x")).await;
    laptop.has_nothing_for(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn an_echo_is_answered_only_when_the_address_has_answered() {
    let laptop = Laptop::new([]).await;

    laptop.send(&sample::echo(end(CLIENT), end("10.96.0.1:0"))).await;
    assert_eq!(laptop.receive().await[20], 0, "a reply");
    laptop.send(&sample::echo(end(CLIENT), end("10.96.0.9:0"))).await;
    assert_eq!(laptop.receive().await[20..22], [3, 1], "host unreachable");
}

#[tokio::test]
async fn the_peer_is_a_name_server_over_udp_and_tcp() {
    let laptop = Laptop::new([]).await;

    laptop.send(&sample::datagram(end(CLIENT), end("127.0.0.2:53"), b"name?")).await;
    let (udp, answer) = laptop.receive_udp().await;
    assert_eq!((udp.source, answer.as_slice()), (end("127.0.0.2:53"), &b"udp name?"[..]));
    laptop.send(&sample::datagram(end(CLIENT), end("127.0.0.2:54"), b"x")).await;
    assert_eq!(laptop.receive().await[20..22], [3, 3], "port unreachable");

    laptop.send(&syn("127.0.0.2:53")).await;
    let inside = laptop.receive_tcp().await;
    let mut program = laptop.let_in(&inside).await;
    program.write_all(b"\0\x05name?").await.expect("write");
    let mut answer = [0; 11];
    program.read_exact(&mut answer).await.expect("answer");
    assert_eq!(&answer, b"\0\x09tcp name?");
}

#[tokio::test]
async fn the_other_family_is_led_through_its_own_listener() {
    let refused = ("[fd00:96::10]:81", Err(Reason::Refused));
    let laptop = Laptop::new([("[fd00:96::10]:80", Ok(service().await)), refused]).await;
    let client = end("[fd00::7]:20321");
    let syn = |to| sample::segment(client, end(to), SYN, b"");

    laptop.send(&syn("[fd00:96::10]:80")).await;
    let inside = laptop.receive_tcp().await;
    assert!(inside.opens() && inside.source.ip() == PEER6);
    assert_eq!(inside.destination.ip(), Ipv6Addr::LOCALHOST);
    laptop.send(&sample::segment(inside.destination, inside.source, SYN | ACK, b"")).await;
    let outside = laptop.receive_tcp().await;
    assert_eq!((outside.source, outside.destination), (end("[fd00:96::10]:80"), client));

    laptop.send(&syn("[fd00:96::10]:81")).await;
    assert!(laptop.receive_tcp().await.has(RST), "refused");
    laptop.send(&sample::datagram(client, end("[fd00:96::10]:5000"), b"one")).await;
    let (udp, heard) = laptop.receive_udp().await;
    assert_eq!((udp.source, heard.as_slice()), (end("[fd00:96::10]:5000"), &b"one"[..]));
    laptop.send(&sample::echo(client, end("[fd00:96::9]:0"))).await;
    assert_eq!(sample::icmp(&laptop.receive().await), [1, 3], "address unreachable");
}
