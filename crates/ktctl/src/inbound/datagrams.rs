//! Carries the datagrams of one peer to `127.0.0.1:<port>`, else to `[::1]`, and the answers back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use kt_wire::{Incoming, Stream};
use tokio::net::UdpSocket;
use tracing::debug;

use super::callers::Callers;
use super::deliver::Delivery;

/// The largest datagram.
const DATAGRAM: usize = 65_535;
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Serves a peer until the shadow has forgotten it. What no program takes is lost.
pub(super) async fn deliver(caller: Incoming, peer: SocketAddr, to: Delivery, callers: Callers) {
    callers.came(peer, &to);
    let mut flow = Flow { stream: caller.accept(), unanswered: None, buffer: vec![0; DATAGRAM] };
    let mut is_told = false;
    loop {
        for loopback in LOOPBACKS {
            let Err(error) = flow.carry((loopback, to.laptop).into()).await else { return };
            debug!(%peer, laptop = to.laptop, %loopback, %error, "Local service error");
            if loopback.is_ipv6() && !std::mem::replace(&mut is_told, true) {
                callers.met_nobody(peer, &to, &error);
            }
        }
        flow.unanswered = match flow.stream.receive_datagram().await {
            Ok(data) => Some(data),
            Err(_) => return,
        };
    }
}

struct Flow {
    stream: Stream,
    /// What may have to be sent to the other loopback.
    unanswered: Option<Bytes>,
    buffer: Vec<u8>,
}

impl Flow {
    /// Returns when the peer is forgotten; fails when nobody listens there.
    async fn carry(&mut self, to: SocketAddr) -> io::Result<()> {
        let socket = UdpSocket::bind((to.ip(), 0)).await?;
        socket.connect(to).await?;
        if let Some(data) = &self.unanswered {
            socket.send(data).await?;
        }
        loop {
            tokio::select! {
                answer = socket.recv(&mut self.buffer) => {
                    let length = answer?;
                    self.unanswered = None;
                    self.stream.send_datagram(Bytes::copy_from_slice(&self.buffer[..length]));
                }
                data = self.stream.receive_datagram() => match data {
                    Ok(data) => {
                        self.unanswered = Some(data.clone());
                        socket.send(&data).await?;
                    }
                    Err(_) => return Ok(()),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kt_wire::link::{Accepted, IncomingQueue, Links};
    use kt_wire::{Carrier, Dialer, Link, Open, Protocol, Settings};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_program_on_either_loopback_answers() {
        let mut ends = Ends::new().await;
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let program = UdpSocket::bind(address).await.unwrap();
            let peer = ends.peer(program.local_addr().unwrap().port()).await;

            peer.send_datagram("hello".into());
            let (said, from) = receive(&program).await;
            program.send_to(b"and back", from).await.unwrap();

            assert_eq!(said, "hello", "{address}");
            assert_eq!(peer.receive_datagram().await.unwrap(), "and back", "{address}");
        }
    }

    #[tokio::test]
    async fn a_program_that_starts_later_gets_what_comes_later() {
        let mut ends = Ends::new().await;
        let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let peer = ends.peer(port).await;
        peer.send_datagram("lost".into());
        tokio::time::sleep(Duration::from_millis(100)).await;

        let program = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
        peer.send_datagram("hello".into());

        assert_eq!(receive(&program).await.0, "hello");
    }

    async fn receive(program: &UdpSocket) -> (String, SocketAddr) {
        let mut buffer = [0; 100];
        let received = timeout(Duration::from_secs(5), program.recv_from(&mut buffer)).await;
        let (length, from) = received.expect("a datagram comes").unwrap();
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), from)
    }

    /// Both ends of a link.
    struct Ends {
        cluster: Link,
        _laptop: Link,
        incoming: IncomingQueue,
        tasks: JoinSet<()>,
    }

    struct Loopback(SocketAddr);

    impl Dialer for Loopback {
        async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
            Ok(Box::new(TcpStream::connect(self.0).await?))
        }
    }

    impl Ends {
        async fn new() -> Ends {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let dialer = Loopback(listener.local_addr().unwrap());
            let links = Links::new("cluster", Settings::default());
            let accept = async { links.accept(listener.accept().await.unwrap().0).await.unwrap() };
            let (opened, (accepted, life)) =
                tokio::join!(Link::connect(dialer, "laptop", Settings::default()), accept);
            let (laptop, incoming, keeper) = opened.unwrap();
            let Accepted::New(cluster, _) = accepted else { panic!("not a new link") };
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { drop(keeper.serve().await) });
            tasks.spawn(async move { drop(life.await) });
            Ends { cluster, _laptop: laptop, incoming, tasks }
        }

        /// A peer in the cluster, whose datagrams go to a port of this laptop.
        async fn peer(&mut self, port: u16) -> Stream {
            let address = ([10, 1, 2, 3], 4660).into();
            let arrived = Open::Arrived { port: 53, protocol: Protocol::Udp, peer: address };
            let delivery = Delivery {
                cluster: 53,
                laptop: port,
                protocol: Protocol::Udp,
                otherwise: None,
                says_caller: false,
            };
            let (stream, ()) = tokio::join!(self.cluster.open(&arrived), async {
                let caller = self.incoming.next().await;
                self.tasks.spawn(deliver(caller, address, delivery, Callers::default()));
            });
            stream.unwrap()
        }
    }
}
