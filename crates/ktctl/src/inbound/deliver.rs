//! Carries the callers that arrive at a shadow's ports to `127.0.0.1:<port>`.
//!
//! A program that does not listen gives its callers a refused connection: the first one is reset,
//! and the shadow's port stays closed until the program listens again.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kt_wire::{
    Incoming, IncomingQueue, Link, LinkState, Moved, Open, Protocol, Reason, Refused, Stream, Target,
    relay_counted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::inbound::callers::Callers;
use crate::inbound::drain::Drain;
use crate::inbound::http2::{Requests, Watched};
use crate::inbound::{datagrams, proxy_protocol};

/// A program that does not listen is looked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a caller may take to answer our end with his.
const GOODBYE: Duration = Duration::from_secs(2);

/// What is carried where.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// The port in the shadow.
    pub(crate) cluster: u16,
    /// The port of the program.
    pub(crate) laptop: u16,
    pub(crate) protocol: Protocol,
    /// Who gets the callers while this laptop is away.
    pub(crate) otherwise: Option<Target>,
    /// Is the program told who calls, by the PROXY protocol? Not with datagrams.
    pub(crate) says_caller: bool,
}

/// What all flows of a run share.
#[derive(Clone)]
pub(crate) struct Flows {
    pub(super) drain: Drain,
    pub(super) callers: Callers,
}

/// Listens in the shadow for every delivery. Returns once all ports are open there.
pub(crate) async fn listen(link: &Link, deliveries: &[Delivery]) -> Result<Vec<Stream>, Refused> {
    let mut ports = Vec::new();
    for delivery in deliveries {
        ports.push(link.open(&wanted(delivery)).await?);
        let datagrams = if delivery.protocol == Protocol::Udp { "/udp" } else { "" };
        info!("Reverse tunnel {}{datagrams} -> {} established", delivery.cluster, delivery.laptop);
    }
    Ok(ports)
}

fn wanted(delivery: &Delivery) -> Open {
    let Delivery { cluster: port, protocol, otherwise, .. } = delivery.clone();
    Open::Listen { port, protocol, otherwise }
}

/// Delivers callers until the link has ended.
pub(crate) async fn serve(
    link: Link,
    mut incoming: IncomingQueue,
    deliveries: Vec<Delivery>,
    ports: Vec<Stream>,
    flows: Flows,
) -> Result<(), anyhow::Error> {
    let mut tasks = JoinSet::new();
    let mut silent = HashMap::new();
    for (delivery, port) in deliveries.iter().zip(ports) {
        let refused = Arc::new(Notify::new());
        silent.insert((delivery.protocol, delivery.cluster), (delivery.clone(), refused.clone()));
        tasks.spawn(keep_open(link.clone(), delivery.clone(), port, refused, flows.drain.clone()));
    }
    let mut status = link.status();
    loop {
        tokio::select! {
            caller = incoming.next() => {
                let Open::Arrived { port, protocol, peer } = caller.what else { continue };
                flows.drain.count_caller();
                match silent.get(&(protocol, port)) {
                    Some((delivery, _)) if protocol == Protocol::Udp => {
                        tasks.spawn(datagrams::deliver(caller, peer, delivery.clone(), flows.callers.clone()));
                    }
                    Some((delivery, refused)) => {
                        let delivery = delivery.clone();
                        tasks.spawn(deliver(caller, peer, delivery, refused.clone(), flows.clone()));
                    }
                    None => caller.refuse(&Reason::Refused.into()),
                }
            }
            Some(_) = tasks.join_next() => {}
            _ = status.wait_for(|state| matches!(state, LinkState::Ended(_))) => return Ok(()),
        }
    }
}

/// Keeps a port of the shadow open while the program listens and no drain is wanted.
async fn keep_open(link: Link, delivery: Delivery, first: Stream, refused: Arc<Notify>, drain: Drain) {
    let mut port = Some(first);
    loop {
        let closed = async {
            match &port {
                Some(port) => drop(port.receive_datagram().await), // none comes: fails when it ends
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drain.is_closing() => return,
            // Of several callers who were refused at once, the last word may be an old one.
            () = refused.notified(), if port.is_some() => {
                if connect(delivery.laptop).await.is_ok() {
                    continue;
                }
                if let Some(port) = port.take() {
                    port.reset(&Reason::Refused.into()); // closes it
                }
                warn!("no application is running on port {}, callers are refused until there is one", delivery.laptop);
                while connect(delivery.laptop).await.is_err() {
                    sleep(LOOK_EVERY).await;
                }
                info!("an application is running on port {} again", delivery.laptop);
            }
            () = closed => port = None,
        }
        if port.is_none() {
            match link.open(&wanted(&delivery)).await {
                Ok(stream) => port = Some(stream),
                Err(why) => {
                    debug!(%why, port = delivery.cluster, "can not listen in the shadow");
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }
}

/// One caller's flow.
async fn deliver(caller: Incoming, peer: SocketAddr, delivery: Delivery, refused: Arc<Notify>, flows: Flows) {
    let program = match connect_for(&delivery, peer).await {
        Ok(program) => program,
        Err(error) => {
            flows.callers.met_nobody(peer, &delivery, &error);
            refused.notify_one();
            return caller.refuse(&error.into());
        }
    };
    flows.callers.came(peer, &delivery);
    let _flow = flows.drain.begin_flow();
    carry(caller.accept(), program, &flows.drain).await;
}

/// Relays until both directions have ended, or a drain ends the flow.
async fn carry(mut stream: Stream, mut program: TcpStream, drain: &Drain) {
    let (moved, requests) = (Moved::default(), Requests::default());
    let caller = Watched { caller: &mut stream, requests: &requests };
    tokio::select! {
        ended = relay_counted(caller, &mut program, &moved) => {
            if let Some(error) = ended.error {
                stream.reset(&error.into());
            }
            return;
        }
        () = drain.ends(&moved, &requests) => {}
    }
    if stream.shutdown().await.is_ok() {
        // The caller sees a plain end and answers with his own.
        let _ = timeout(GOODBYE, stream.read(&mut [0; 1])).await;
    }
}

/// The program of a delivery, which knows who calls if it wants to.
async fn connect_for(delivery: &Delivery, peer: SocketAddr) -> io::Result<TcpStream> {
    let mut program = connect(delivery.laptop).await?;
    if delivery.says_caller {
        program.write_all(&proxy_protocol::header(peer, delivery.cluster)?).await?;
    }
    Ok(program)
}

/// The program on this laptop, on whichever loopback it listens.
pub(crate) async fn connect(port: u16) -> io::Result<TcpStream> {
    let v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let program = match v4 {
        Ok(program) => program,
        Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error)?,
    };
    program.set_nodelay(true)?;
    Ok(program)
}
