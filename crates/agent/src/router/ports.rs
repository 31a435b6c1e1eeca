//! Listens on the ports of the rules, as they come and go.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use kt_wire::Protocol;
use kt_wire::rules::Port;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::{Router, caller, udp};
use crate::links::pause_after;
use crate::sockets::{bind, bind_udp};

/// How long until a port that can not be had is tried again, and until idle connections are
/// looked at again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A port that is open; callers who are there already do not end with it.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens and closes ports until it is dropped.
pub(super) async fn serve(router: Rc<Router>) {
    let mut open = HashMap::new();
    let mut changed = router.changed.subscribe();
    loop {
        follow(&router, &mut open);
        tokio::select! {
            _ = changed.changed() => {}
            () = sleep(AGAIN_AFTER) => router.table().drop_idle(),
        }
    }
}

fn follow(router: &Rc<Router>, open: &mut HashMap<(u16, bool), Serving>) {
    let key = |port: &Port| (port.listen, port.protocol == Protocol::Tcp);
    let wanted: Vec<Port> = router.table().ports().collect();
    open.retain(|present, _| wanted.iter().any(|port| key(port) == *present));
    for port in &wanted {
        if open.contains_key(&key(port)) {
            continue;
        }
        match start(port, router) {
            Ok(serving) => drop(open.insert(key(port), serving)),
            Err(error) => eprintln!("router: listening on port {}: {error}", port.listen),
        }
    }
}

fn start(port: &Port, router: &Rc<Router>) -> io::Result<Serving> {
    let task = match port.protocol {
        Protocol::Tcp => spawn_local(accept(bind(port.listen)?, port.listen, router.clone())),
        Protocol::Udp => spawn_local(udp::serve(bind_udp(port.listen)?, *port, router.clone())),
    };
    Ok(Serving(task))
}

async fn accept(listener: TcpListener, listen: u16, router: Rc<Router>) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let _ = router.arrived.send(peer.ip().to_canonical()); // hardly ever anybody waits for it
                spawn_local(caller::serve(router.clone(), listen, socket, peer));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}
