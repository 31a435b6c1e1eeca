//! Both ends in one process: a link to a shadow which reaches real sockets on the loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use kt_wire::link::{IncomingQueue, Keeper};
use kt_wire::{Carrier, Dialer, LinkState, Protocol, Refused, Stream, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::*;

mod away;
mod beside;
mod udp;

struct Loopback(SocketAddr);

impl Dialer for Loopback {
    async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
        Ok(Box::new(TcpStream::connect(self.0).await?))
    }
}

/// Runs a test with a link to a shadow of its own.
async fn with_link<F: Future>(test: impl FnOnce(Link, IncomingQueue) -> F) -> F::Output {
    LocalSet::new()
        .run_until(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
            let dialer = Loopback(listener.local_addr().expect("address"));
            spawn_local(links::serve(listener, Shadow::new(Resolver::from_system(), None)));
            let (link, incoming, keeper) =
                Link::connect(dialer, "test", Settings::default()).await.expect("link");
            spawn_local(Keeper::serve(keeper));
            test(link, incoming).await
        })
        .await
}

/// A server which sends back what it gets, and ends when the caller does.
async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let address = listener.local_addr().expect("address");
    spawn_local(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            spawn_local(async move {
                let (mut read, mut write) = caller.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// A port below those which the system gives to callers, as other tests call at the same time.
async fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from = 10_000 + (std::process::id() % 200) as u16 * 100;
    loop {
        let port = from + NEXT.fetch_add(1, Ordering::Relaxed);
        let tcp = TcpListener::bind(("127.0.0.1", port)).await;
        if tcp.is_ok() && UdpSocket::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}

#[tokio::test]
async fn a_connection_goes_out_and_keeps_its_half_close() {
    with_link(async |link, _| {
        let target = Target::Address(echo_server().await);

        let mut stream = link.open(&Open::Tcp(target)).await.expect("stream");
        stream.write_all(b"hello").await.expect("write");
        stream.shutdown().await.expect("shutdown");

        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answer");
        assert_eq!(answer, "hello");
    })
    .await;
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    with_link(async |link, _| {
        let nowhere: SocketAddr = ([127, 0, 0, 1], unused_port().await).into();

        let refused = link.open(&Open::Tcp(Target::Address(nowhere))).await.expect_err("refused");

        assert_eq!(refused.reason, Reason::Refused);
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_out_and_come_back() {
    with_link(async |link, _| {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("socket");
        let target = Target::Address(server.local_addr().expect("address"));
        spawn_local(async move {
            let mut buffer = [0; 100];
            let (length, from) = server.recv_from(&mut buffer).await.expect("receive");
            server.send_to(&buffer[..length], from).await.expect("send");
        });

        let stream = link.open(&Open::Udp(target)).await.expect("stream");
        stream.send_datagram(b"ping"[..].into());

        assert_eq!(stream.receive_datagram().await.expect("datagram"), "ping");
    })
    .await;
}

#[tokio::test]
async fn the_shadow_tells_where_it_is() {
    with_link(async |link, _| {
        let mut text = String::new();

        let mut stream = link.open(&Open::Info).await.expect("stream");
        stream.read_to_string(&mut text).await.expect("text");

        assert!(text.starts_with(concat!("version ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
    })
    .await;
}

fn listen(port: u16, otherwise: Option<Target>) -> Open {
    Open::Listen { port, protocol: Protocol::Tcp, otherwise }
}

#[tokio::test]
async fn a_caller_reaches_the_laptop_and_the_laptop_sees_who_calls() {
    with_link(async |link, mut incoming| {
        let port = unused_port().await;
        let _listening = link.open(&listen(port, None)).await.expect("listening");

        let mut caller = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
        let peer = caller.local_addr().expect("address");
        let asked = incoming.next().await;
        let Open::Arrived { peer: seen, port: at, .. } = asked.what else { panic!("{:?}", asked.what) };
        let mut stream = asked.accept();
        stream.write_all(b"from the laptop").await.expect("write");
        stream.shutdown().await.expect("shutdown");

        let mut answer = [0; 15];
        caller.read_exact(&mut answer).await.expect("answer");
        assert_eq!(&answer, b"from the laptop");
        assert_eq!((at, seen.port(), seen.ip().to_canonical()), (port, peer.port(), peer.ip()));
    })
    .await;
}

#[tokio::test]
async fn a_refusal_of_the_laptop_resets_the_caller() {
    with_link(async |link, mut incoming| {
        let port = unused_port().await;
        let _listening = link.open(&listen(port, None)).await.expect("listening");

        let mut caller = TcpStream::connect(("127.0.0.1", port)).await.expect("connect");
        incoming.next().await.refuse(&Reason::Refused.into());

        let failed = caller.read(&mut [0; 1]).await.expect_err("reset");
        assert_eq!(failed.kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn a_port_that_the_laptop_closes_is_refused_afterwards() {
    with_link(async |link, _| {
        let port = unused_port().await;
        let listening = link.open(&listen(port, None)).await.expect("listening");
        drop(listening);

        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the port is still open");
    })
    .await;
}

#[tokio::test]
async fn a_port_below_1024_or_in_use_is_refused_with_the_reason() {
    with_link(async |link, _| {
        let other = TcpListener::bind("0.0.0.0:0").await.expect("listener");
        let port = other.local_addr().expect("address").port();

        let refused: Refused = link.open(&listen(port, None)).await.expect_err("refused");

        assert_eq!(refused.reason, Reason::InUse);
        assert!(refused.text.contains(&port.to_string()), "{}", refused.text);
    })
    .await;
}

#[tokio::test]
async fn a_port_of_a_laptop_that_lives_is_refused_to_another_one() {
    with_cable(async |away| {
        let (other, _incoming, keeper) =
            Link::connect(away.cable.clone(), "other", Settings::default()).await.expect("link");
        spawn_local(Keeper::serve(keeper));

        let refused: Refused = other.open(&listen(away.port, None)).await.expect_err("refused");

        assert_eq!(refused.reason, Reason::InUse);
        assert!(refused.text.contains("belongs to another ktctl"), "{}", refused.text);
    })
    .await;
}

/// A laptop whose cable can be pulled.
#[derive(Clone)]
struct Cable {
    to: SocketAddr,
    plugged: Arc<AtomicBool>,
    carriers: Arc<Mutex<JoinSet<()>>>,
    broken: Arc<Notify>,
}

impl Cable {
    /// Both ends see that their carrier is gone.
    fn pull(&self) {
        self.plugged.store(false, Ordering::Relaxed);
        self.carriers.lock().expect("lock").abort_all();
    }

    /// Nothing arrives any more, and nobody is told.
    fn fall_silent(&self) {
        self.plugged.store(false, Ordering::Relaxed);
        self.broken.notify_waiters();
    }

    fn plug_in(&self) {
        self.plugged.store(true, Ordering::Relaxed);
    }
}

impl Dialer for Cable {
    async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
        if !self.plugged.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let mut far = TcpStream::connect(self.to).await?;
        let (near, mut middle) = tokio::io::duplex(64 << 10);
        let broken = self.broken.clone();
        self.carriers.lock().expect("lock").spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut middle, &mut far) => {}
                () = broken.notified() => std::future::pending().await,
            }
        });
        Ok(Box::new(near))
    }
}

/// What a test about a laptop that goes away has.
struct Away {
    shadow: Rc<Shadow>,
    cable: Cable,
    link: Link,
    incoming: IncomingQueue,
    /// A port of the shadow whose callers the laptop gets.
    port: u16,
    _listening: Stream,
}

/// A laptop by its cable, in the same set of tasks as the shadow.
async fn linked(shadow: &Rc<Shadow>) -> (Cable, Link, IncomingQueue) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let to = listener.local_addr().expect("address");
    let cable =
        Cable { to, plugged: Arc::new(true.into()), carriers: Arc::default(), broken: Arc::default() };
    spawn_local(links::serve(listener, shadow.clone()));
    let (link, incoming, keeper) =
        Link::connect(cable.clone(), "test", Settings::default()).await.expect("link");
    spawn_local(Keeper::serve(keeper));
    (cable, link, incoming)
}

/// Runs a test with a shadow that listens for a laptop, and whose original is an echo.
async fn with_cable<F: Future>(test: impl FnOnce(Away) -> F) -> F::Output {
    LocalSet::new()
        .run_until(async {
            let shadow = Shadow::new(Resolver::from_system(), None);
            let (cable, link, incoming) = linked(&shadow).await;
            let port = unused_port().await;
            let original = Target::Address(echo_server().await);
            let listening = link.open(&listen(port, Some(original))).await.expect("listening");
            test(Away { shadow, cable, link, incoming, port, _listening: listening }).await
        })
        .await
}

impl Away {
    /// Pulls the cable and lets the shadow be without the laptop for so long.
    async fn pull_cable(&self, secs: u64) {
        self.cable.pull();
        let mut status = self.link.status();
        status.wait_for(|state| matches!(state, LinkState::Down(..))).await.expect("down");
        tokio::time::sleep(Duration::from_secs(secs)).await;
    }

    /// Plugs the cable in again and waits until the laptop is back.
    async fn come_back(&self) {
        self.cable.plug_in();
        let mut status = self.link.status();
        status.wait_for(|state| matches!(state, LinkState::Up)).await.expect("up");
    }

    /// A caller who has heard from the laptop.
    async fn talk(&mut self) -> (TcpStream, Stream) {
        let mut caller = self.call().await;
        let mut stream = self.incoming.next().await.accept();
        stream.write_all(b"!").await.expect("write");
        caller.read_exact(&mut [0]).await.expect("read");
        (caller, stream)
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("connect")
    }
}
