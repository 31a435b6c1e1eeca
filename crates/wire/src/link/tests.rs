//! Both ends over carriers in memory which break again and again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::hello;
use crate::message::{Reason, Target};

/// Hands out one end of a pipe to the laptop and the other to the cluster.
struct Pipes {
    to_cluster: mpsc::UnboundedSender<DuplexStream>,
    /// Bytes that each carrier lives for, 0 for ever.
    cut_after: u64,
    cuts: AtomicUsize,
    closed: AtomicBool,
}

impl Dialer for Arc<Pipes> {
    async fn dial(&self) -> io::Result<Box<dyn Carrier>> {
        if self.closed.load(Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (laptop, cluster) = duplex(64 << 10);
        self.to_cluster.send(cluster).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        if self.cut_after == 0 {
            return Ok(Box::new(laptop));
        }
        self.cuts.fetch_add(1, Relaxed);
        let (near, far) = duplex(64 << 10);
        tokio::spawn(pass(far, laptop, self.cut_after));
        Ok(Box::new(near))
    }
}

/// Passes bytes both ways until so many have gone back, and then drops both ends.
async fn pass(far: DuplexStream, laptop: DuplexStream, bytes: u64) {
    let ((mut far_read, mut far_write), (mut read, mut write)) =
        (tokio::io::split(far), tokio::io::split(laptop));
    let mut back = (&mut read).take(bytes);
    tokio::select! {
        _ = tokio::io::copy(&mut back, &mut far_write) => {}
        _ = tokio::io::copy(&mut far_read, &mut write) => {}
    }
}

struct Both {
    laptop: Link,
    pipes: Arc<Pipes>,
    keeper: JoinHandle<LinkEnd>,
    links: Arc<Links>,
    cluster: Link,
}

/// A link whose cluster's end serves each stream with `serve`.
async fn both<F>(cut_after: u64, serve: fn(Incoming) -> F) -> Both
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, mut carriers) = mpsc::unbounded_channel();
    let settings =
        Settings { redial: (Duration::from_millis(1), Duration::from_millis(5)), ..Settings::default() };
    let links = Links::new("test", settings.clone());
    let (told, cluster) = tokio::sync::oneshot::channel();
    let accepting = links.clone();
    tokio::spawn(async move {
        let mut told = Some(told);
        while let Some(carrier) = carriers.recv().await {
            let Ok((accepted, life)) = accepting.accept(carrier).await else { continue };
            if let Accepted::New(link, mut incoming) = accepted {
                let _ = told.take().expect("one link").send(link);
                tokio::spawn(async move {
                    loop {
                        tokio::spawn(serve(incoming.next().await));
                    }
                });
            }
            tokio::spawn(life);
        }
    });
    let pipes = Arc::new(Pipes { to_cluster: sender, cut_after, cuts: 0.into(), closed: false.into() });
    let (laptop, _, keeper) = Link::connect(pipes.clone(), "test", settings).await.expect("link");
    let keeper = tokio::spawn(keeper.serve());
    Both { laptop, pipes, keeper, links, cluster: cluster.await.expect("cluster's end") }
}

async fn echo(incoming: Incoming) {
    let (mut read, mut write) = tokio::io::split(incoming.accept());
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

async fn echo_datagrams(incoming: Incoming) {
    let stream = incoming.accept();
    while let Ok(data) = stream.receive_datagram().await {
        stream.send_datagram(data);
    }
}

async fn decline(incoming: Incoming) {
    incoming.refuse(&Reason::Refused.into());
}

#[tokio::test]
async fn a_conversation_and_a_transfer_outlive_a_hundred_cuts() {
    let both = both(60_000, echo).await;
    let stream = both.laptop.open(&Open::Names).await.expect("stream");
    let mut talk = both.laptop.open(&Open::Info).await.expect("stream");
    let data: Vec<u8> =
        (0..8_000_000u32).map(|place| place.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();

    let sent = data.clone();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.expect("write");
        write.shutdown().await.expect("shutdown");
        write
    });
    let mut got = Vec::new();
    let reading = tokio::spawn(async move {
        read.read_to_end(&mut got).await.expect("read");
        got
    });
    for line in 0..100 {
        let line = format!("line {line}\n");
        talk.write_all(line.as_bytes()).await.expect("say");
        let mut answer = vec![0; line.len()];
        talk.read_exact(&mut answer).await.expect("answer");
        assert_eq!(answer, line.as_bytes());
    }

    assert!(reading.await.expect("reading") == data, "the bytes are not the same");
    writing.await.expect("writing");
    let cuts = both.pipes.cuts.load(Relaxed);
    assert!(cuts > 100, "only {cuts} cuts");
}

#[tokio::test]
async fn a_refusal_reaches_who_asked() {
    let both = both(0, decline).await;

    let refused = both.laptop.open(&Open::Tcp(Target::Name("nowhere".into(), 1))).await;

    assert_eq!(refused.expect_err("refused").reason, Reason::Refused);
    assert_eq!((both.laptop.streams(), both.cluster.streams()), (0, 0));
}

#[tokio::test]
async fn datagrams_go_both_ways() {
    let both = both(0, echo_datagrams).await;
    let stream = both.laptop.open(&Open::Udp(Target::Name("dns".into(), 53))).await.expect("stream");

    stream.send_datagram(b"ping"[..].into());

    assert_eq!(stream.receive_datagram().await.expect("datagram"), "ping");
}

#[tokio::test]
async fn a_shadow_that_forgot_the_link_ends_it() {
    let both = both(30_000, echo).await;
    let mut stream = both.laptop.open(&Open::Names).await.expect("stream");
    both.links.forget(&both.cluster);

    let _ = stream.write_all(&vec![0; 200_000]).await;
    let mut rest = Vec::new();
    let failed = stream.read_to_end(&mut rest).await;

    assert!(matches!(both.keeper.await.expect("keeper"), LinkEnd::ShadowGone(_)));
    assert_eq!(failed.expect_err("ended").kind(), io::ErrorKind::ConnectionAborted);
    assert!(matches!(&*both.laptop.status().borrow(), LinkState::Ended(_)));
}

#[tokio::test]
async fn the_state_of_a_link_can_be_watched() {
    let both = both(0, echo).await;
    let mut status = both.laptop.status();

    status.wait_for(|state| *state == LinkState::Up).await.expect("up");
    both.pipes.closed.store(true, Relaxed);
    drop(both.cluster.shared.abandon_carrier());
    status.wait_for(|state| matches!(state, LinkState::Down(..))).await.expect("down");
    both.pipes.closed.store(false, Relaxed);

    status.wait_for(|state| *state == LinkState::Up).await.expect("up again");
}

#[tokio::test]
async fn a_link_is_down_when_its_next_carrier_breaks_while_it_is_taken_into_use() {
    let both = both(0, echo).await;
    let mut status = both.cluster.status();
    status.wait_for(|state| *state == LinkState::Up).await.expect("up");
    let (mut near, far) = duplex(64 << 10);
    let shared = &both.laptop.shared;
    let mut resuming = Box::pin(hello::resume(&mut near, &shared.id, &shared.key, 0));
    let mut accepting = Box::pin(both.links.accept(far));

    poll_once(&mut resuming).await; // asks
    poll_once(&mut accepting).await; // has it prove who it is
    poll_once(&mut resuming).await; // proves it
    drop(resuming);
    drop(near);
    let broken = accepting.await.err();

    assert!(matches!(broken, Some(hello::HelloError::Carrier(_))), "{broken:?}");
    assert!(matches!(*status.borrow(), LinkState::Down(..)), "{:?}", *status.borrow());
}

async fn poll_once<F: Future + Unpin>(future: &mut F) {
    poll_fn(|context| {
        let _ = std::pin::Pin::new(&mut *future).poll(context);
        Poll::Ready(())
    })
    .await;
}
