//! The links of laptops, as both programs take them: on the pod's loopback, where the API server's
//! port-forward arrives.
//!
//! Each carrier is a task, and so is each link, which owns the tasks of its streams. A link without
//! a carrier keeps its streams for a while (decision "link without carrier" in the protocol).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kt_wire::link::{Accepted, IncomingQueue, Links};
use kt_wire::{Incoming, Link, LinkState, Reason};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Where laptops look for us, unless they said otherwise when they made the pod.
pub(crate) const PORT: u16 = 17617;
/// Streams are reset so long after a laptop without a carrier was last heard.
pub(crate) const RESET_AFTER: Duration = Duration::from_secs(300);
/// And its link is forgotten after so long.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What serves the streams that laptops open.
pub(crate) trait Serves: 'static {
    /// The links that it has.
    fn links(&self) -> &Arc<Links>;

    /// A laptop has opened a link.
    fn has_come(&self, _link: &Link) {}

    /// Serves one stream until its end.
    fn serve_stream(self: Rc<Self>, link: Link, asked: Incoming) -> impl Future<Output = ()> + 'static;
}

/// Listens on the pod's loopback.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await,
    }
}

/// Serves all carriers that arrive.
pub(crate) async fn serve<S: Serves>(listener: TcpListener, server: Rc<S>) {
    let mut carriers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => drop(carriers.spawn_local(carry(server.clone(), connection))),
                Err(error) => pause_after(&error).await,
            },
            Some(_) = carriers.join_next() => {}
        }
    }
}

/// Out of files or memory: others need time to end before it is worth trying again.
pub(crate) async fn pause_after(error: &io::Error) {
    eprintln!("can not accept: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// One carrier's life.
async fn carry<S: Serves>(server: Rc<S>, carrier: TcpStream) {
    let _ = carrier.set_nodelay(true); // slower without, but not wrong
    match server.links().accept(carrier).await {
        Ok((Accepted::New(link, incoming), life)) => {
            server.has_come(&link);
            tokio::task::spawn_local(serve_link(server.clone(), link, incoming));
            life.await;
        }
        Ok((Accepted::Resumed(_), life)) => drop(life.await),
        // Also whoever only looks whether somebody listens.
        Err(error) => eprintln!("a connection is not used: {error}"),
    }
}

/// One link's life; its streams end with it.
async fn serve_link<S: Serves>(server: Rc<S>, link: Link, mut incoming: IncomingQueue) {
    let mut streams = JoinSet::new();
    let mut ageing = std::pin::pin!(age(&link));
    loop {
        tokio::select! {
            asked = incoming.next() => {
                streams.spawn_local(server.clone().serve_stream(link.clone(), asked));
            }
            Some(_) = streams.join_next() => {}
            () = &mut ageing => break,
        }
    }
    server.links().forget(&link);
}

/// Returns when the link has ended or was without a carrier for too long. Resets its streams when
/// nobody came back for them.
async fn age(link: &Link) {
    let mut status = link.status();
    loop {
        let state = status.borrow_and_update().clone();
        match state {
            LinkState::Ended(_) => return,
            LinkState::Up => drop(status.changed().await),
            LinkState::Down(since, _) => tokio::select! {
                _ = status.changed() => {}
                () = sleep_until(since + RESET_AFTER) => {
                    link.reset_streams(&Reason::LinkLost.into());
                    tokio::select! {
                        _ = status.changed() => {}
                        () = sleep_until(since + FORGET_AFTER) => return,
                    }
                }
            },
        }
    }
}
