//! Datagrams from the cluster to the laptop.

use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn datagrams_of_a_peer_reach_the_laptop_and_its_answers_the_peer() {
    with_link(async |link, mut incoming| {
        let port = unused_port().await;
        let _listening = link.open(&listen_udp(port, None)).await.expect("listening");

        let (one, other) = (peer_of(port).await, peer_of(port).await);
        one.send(b"from one").await.expect("send");
        let first = arrived(&mut incoming, port, &one).await;
        other.send(b"from the other").await.expect("send");
        let second = arrived(&mut incoming, port, &other).await;
        one.send(b"more from one").await.expect("send");

        assert_eq!(first.receive_datagram().await.expect("datagram"), "from one");
        assert_eq!(first.receive_datagram().await.expect("datagram"), "more from one");
        assert_eq!(second.receive_datagram().await.expect("datagram"), "from the other");
        first.send_datagram(b"to one"[..].into());
        second.send_datagram(b"to the other"[..].into());
        assert_eq!(heard(&one).await, "to one");
        assert_eq!(heard(&other).await, "to the other");
    })
    .await;
}

#[tokio::test]
async fn tcp_and_udp_of_one_number_stand_side_by_side() {
    with_link(async |link, mut incoming| {
        let port = unused_port().await;
        let _tcp = link.open(&listen(port, None)).await.expect("listening");
        let udp = link.open(&listen_udp(port, None)).await.expect("listening");

        let peer = peer_of(port).await;
        peer.send(b"!").await.expect("send");
        arrived(&mut incoming, port, &peer).await;
        drop(udp);
        let _caller = TcpStream::connect(("127.0.0.1", port)).await.expect("TCP stays open");

        let asked = incoming.next().await;
        assert!(matches!(asked.what, Open::Arrived { protocol: Protocol::Tcp, .. }), "{:?}", asked.what);
    })
    .await;
}

#[tokio::test]
async fn a_udp_port_in_use_is_refused() {
    with_link(async |link, _| {
        let other = UdpSocket::bind("0.0.0.0:0").await.expect("socket");
        let port = other.local_addr().expect("address").port();

        let refused = link.open(&listen_udp(port, None)).await.expect_err("refused");

        assert_eq!(refused.reason, Reason::InUse);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_peer_is_forgotten_and_comes_again_as_a_new_one() {
    with_cable(async |mut away| {
        let _listening = away.listen_udp(None).await;
        let peer = peer_of(away.port).await;
        peer.send(b"1").await.expect("send");
        let first = arrived(&mut away.incoming, away.port, &peer).await;
        assert_eq!(first.receive_datagram().await.expect("datagram"), "1");

        let early = timeout(Duration::from_secs(55), first.receive_datagram()).await;
        assert!(early.is_err(), "forgotten too early: {early:?}");
        first.receive_datagram().await.expect_err("forgotten");
        peer.send(b"2").await.expect("send");
        let second = arrived(&mut away.incoming, away.port, &peer).await;

        assert_eq!(second.receive_datagram().await.expect("datagram"), "2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn datagrams_wait_for_a_laptop_that_is_back_in_time() {
    with_cable(async |mut away| {
        let _listening = away.listen_udp(None).await;
        let known = peer_of(away.port).await;
        known.send(b"1").await.expect("send");
        let stream = arrived(&mut away.incoming, away.port, &known).await;
        assert_eq!(stream.receive_datagram().await.expect("datagram"), "1");

        away.pull_cable(1).await;
        let new = peer_of(away.port).await;
        known.send(b"2").await.expect("send");
        new.send(b"3").await.expect("send");
        tokio::time::sleep(Duration::from_secs(2)).await;
        away.cable.plug_in();

        assert_eq!(stream.receive_datagram().await.expect("datagram"), "2");
        let other = arrived(&mut away.incoming, away.port, &new).await;
        assert_eq!(other.receive_datagram().await.expect("datagram"), "3");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn datagrams_go_to_the_original_while_the_laptop_is_away_for_too_long() {
    with_cable(async |mut away| {
        let _listening = away.listen_udp(Some(original().await)).await;
        let known = peer_of(away.port).await;
        known.send(b"1").await.expect("send");
        let stream = arrived(&mut away.incoming, away.port, &known).await;
        assert_eq!(stream.receive_datagram().await.expect("datagram"), "1");

        away.pull_cable(1).await;
        let new = peer_of(away.port).await;
        for peer in [&known, &new] {
            peer.send(b"2").await.expect("send");
            let early = timeout(Duration::from_secs(5), peer.recv(&mut [0; 9])).await;
            assert!(early.is_err(), "they should wait: {early:?}");
        }
        assert_eq!(heard(&known).await, "original: 2");
        assert_eq!(heard(&new).await, "original: 2");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_of_the_original_is_the_laptops_again_once_that_is_back() {
    with_cable(async |mut away| {
        let _listening = away.listen_udp(Some(original().await)).await;
        away.pull_cable(20).await;
        let peer = peer_of(away.port).await;
        peer.send(b"1").await.expect("send");
        assert_eq!(heard(&peer).await, "original: 1");

        away.cable.plug_in();
        let stream = arrived(&mut away.incoming, away.port, &peer).await;
        peer.send(b"2").await.expect("send");

        assert_eq!(stream.receive_datagram().await.expect("datagram"), "2");
    })
    .await;
}

fn listen_udp(port: u16, otherwise: Option<Target>) -> Open {
    Open::Listen { port, protocol: Protocol::Udp, otherwise }
}

impl Away {
    /// Beside the listener for TCP, at the same number.
    async fn listen_udp(&self, otherwise: Option<Target>) -> Stream {
        self.link.open(&listen_udp(self.port, otherwise)).await.expect("listening")
    }
}

async fn peer_of(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("socket");
    socket.connect(("127.0.0.1", port)).await.expect("connect");
    socket
}

/// The stream of a peer who is new to the laptop.
async fn arrived(incoming: &mut IncomingQueue, at: u16, from: &UdpSocket) -> Stream {
    let asked = incoming.next().await;
    let Open::Arrived { port, protocol, peer } = asked.what else { panic!("{:?}", asked.what) };
    assert_eq!((port, protocol), (at, Protocol::Udp));
    let from = from.local_addr().expect("address");
    assert_eq!((peer.ip().to_canonical(), peer.port()), (from.ip(), from.port()));
    asked.accept()
}

async fn heard(peer: &UdpSocket) -> String {
    let mut buffer = [0; 100];
    let length = peer.recv(&mut buffer).await.expect("answer");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Answers each datagram with its text.
async fn original() -> Target {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("socket");
    let address = socket.local_addr().expect("address");
    spawn_local(async move {
        let mut buffer = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [b"original: ", &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    });
    Target::Address(address)
}
