//! Flows over a real link, whose carrier is a pipe in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use kt_wire::link::{Accepted, Links};
use kt_wire::{Carrier, Dialer, Incoming, Link, Settings};
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;

/// Gives away its one carrier.
struct Once(Mutex<Option<DuplexStream>>);

impl Dialer for Once {
    async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
        let carrier = self.0.lock().expect("carrier").take();
        Ok(Box::new(carrier.ok_or(io::ErrorKind::NotFound)?))
    }
}

/// Flows to a cluster which serves each stream with `serve`; also counts the streams for names.
async fn linked<F>(serve: fn(Incoming) -> F) -> (ByLink, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (near, far) = duplex(64 << 10);
    let streams = Arc::new(AtomicUsize::new(0));
    let counted = streams.clone();
    tokio::spawn(async move {
        let links = Links::new("test", Settings::default());
        let (accepted, life) = links.accept(far).await.expect("link");
        let Accepted::New(_link, mut incoming) = accepted else { panic!("not a new link") };
        tokio::spawn(life);
        loop {
            let asked = incoming.next().await;
            counted.fetch_add(usize::from(asked.what == Open::Names), Ordering::Relaxed);
            tokio::spawn(serve(asked));
        }
    });
    let (link, _, keeper) =
        Link::connect(Once(Mutex::new(Some(near))), "test", Settings::default()).await.expect("link");
    tokio::spawn(keeper.serve());
    (ByLink::new(Uplink::new(link)), streams)
}

/// Says back what it is told, of every kind; refuses port 81 and the address 10.96.0.9.
async fn echo(asked: Incoming) {
    match &asked.what {
        Open::Tcp(Target::Name(_, 81)) => asked.refuse(&Reason::Refused.into()),
        Open::Echo(address) if address.to_string() == "10.96.0.9" => asked.refuse(&Reason::TimedOut.into()),
        Open::Udp(_) => {
            let stream = asked.accept();
            while let Ok(data) = stream.receive_datagram().await {
                stream.send_datagram(data);
            }
        }
        _ => {
            let (mut read, mut write) = tokio::io::split(asked.accept());
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        }
    }
}

/// Resets every stream once it was told something.
async fn break_off(asked: Incoming) {
    let mut stream = asked.accept();
    let _ = stream.read_u8().await;
    stream.reset(&Reason::Refused.into());
}

fn name(port: u16) -> Target {
    Target::Name("tomcat".into(), port)
}

/// A program's connection, and our side of it.
async fn program() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let program = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
    (program, listener.accept().await.expect("accept").0)
}

#[tokio::test]
async fn connections_datagrams_and_echoes_are_carried_or_refused() {
    let (dial, _) = linked(echo).await;

    let (mut program, ours) = program().await;
    tokio::spawn(carry(connect(&dial, &name(80)).await.expect("flow"), ours));
    program.write_all(b"hello").await.expect("write");
    program.shutdown().await.expect("half-close");
    let mut heard = String::new();
    program.read_to_string(&mut heard).await.expect("read");
    assert_eq!(heard, "hello");
    assert_eq!(connect(&dial, &name(81)).await.expect_err("refused").reason, Reason::Refused);

    let datagrams = dial.udp(&name(53)).await.expect("datagrams");
    datagrams.send(Bytes::from_static(b"one"));
    assert_eq!(datagrams.receive().await.expect("datagram"), &b"one"[..]);

    dial.echo("10.96.0.1".parse().expect("address")).await.expect("echo");
    let refused = dial.echo("10.96.0.9".parse().expect("address")).await.expect_err("no echo");
    assert_eq!(refused.reason, Reason::TimedOut);
}

#[tokio::test]
async fn a_reset_of_the_far_end_reaches_the_program() {
    let (dial, _) = linked(break_off).await;
    let (mut program, ours) = program().await;
    tokio::spawn(carry(connect(&dial, &name(80)).await.expect("flow"), ours));

    program.write_all(b"hello").await.expect("write");

    let error = program.read_u8().await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn queries_one_after_the_other_share_a_stream_and_others_do_not() {
    let (dial, streams) = linked(echo).await;

    for query in [&b"first"[..], b"second"] {
        assert_eq!(dial.names(query).await.expect("answer"), query);
    }
    assert_eq!(streams.load(Ordering::Relaxed), 1);

    let (third, fourth) = tokio::join!(dial.names(b"third"), dial.names(b"fourth"));
    assert_eq!(
        (third.expect("answer").as_slice(), fourth.expect("answer").as_slice()),
        (&b"third"[..], &b"fourth"[..])
    );
    assert_eq!(streams.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_query_on_a_broken_stream_fails_instead_of_waiting() {
    let (dial, _) = linked(break_off).await;

    assert!(dial.names(b"first").await.is_err());
}
