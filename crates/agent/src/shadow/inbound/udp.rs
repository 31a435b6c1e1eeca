//! Datagrams of a port: each peer is a stream to the laptop, or a socket to the original while the
//! laptop is away. While it is away for a short time, they wait.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use kt_wire::{LinkState, Open, Protocol, Reason, Stream};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::callers::{Callers, laptop_is_away};
use crate::shadow::outbound;
use crate::sockets::Counted;

/// After so long without a datagram a peer is forgotten, as in most NATs.
const IDLE: Duration = Duration::from_secs(60);
/// Peers at once; datagrams of more are lost.
const PEERS_MOST: usize = 4096;
/// Datagrams of one peer that wait for the laptop; more are lost.
const WAITING_MOST: usize = 64;
/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Serves until it is dropped; then its peers are forgotten, too.
pub(super) async fn serve(callers: Rc<Callers>, socket: Rc<UdpSocket>) {
    let mut peers: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (length, address) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                crate::links::pause_after(&error).await;
                continue;
            }
        };
        let mut data = buffer[..length].to_vec();
        if let Some(waiting) = peers.get(&address) {
            match waiting.try_send(data) {
                Err(mpsc::error::TrySendError::Closed(back)) => data = back,
                _ => continue, // one too many is as lost as on any network
            }
        }
        peers.retain(|_, waiting| !waiting.is_closed());
        if peers.len() < PEERS_MOST {
            let (first, arriving) = mpsc::channel(WAITING_MOST);
            let _ = first.try_send(data); // there is room
            peers.insert(address, first);
            let peer = Peer { callers: callers.clone(), socket: socket.clone(), address, arriving };
            spawn_local(peer.serve());
        }
    }
}

/// One peer, until it is idle.
struct Peer {
    callers: Rc<Callers>,
    socket: Rc<UdpSocket>,
    address: SocketAddr,
    arriving: mpsc::Receiver<Vec<u8>>,
}

impl Peer {
    async fn serve(mut self) {
        let arrived = Open::Arrived { port: self.callers.port, protocol: Protocol::Udp, peer: self.address };
        loop {
            let counted = Counted::new(&self.callers.in_our_care);
            let goes_on = match self.callers.to_laptop(&arrived).await {
                Ok(stream) => {
                    drop(counted);
                    self.with_laptop(stream).await
                }
                Err(why) if why.reason == Reason::LinkLost => self.with_original(counted).await,
                Err(_) => return,
            };
            if goes_on.is_break() {
                return;
            }
        }
    }

    /// Goes on once the laptop is away for too long.
    async fn with_laptop(&mut self, stream: Stream) -> ControlFlow<()> {
        let callers = self.callers.clone();
        let mut status = callers.link.status();
        let away = laptop_is_away(&callers.link, callers.ending.clone());
        tokio::pin!(away);
        loop {
            let is_up = matches!(*status.borrow_and_update(), LinkState::Up);
            let moved = async {
                tokio::select! {
                    data = self.arriving.recv(), if is_up => match data {
                        Some(data) => stream.send_datagram(data.into()),
                        None => return ControlFlow::Break(()),
                    },
                    answer = stream.receive_datagram() => match answer {
                        Ok(answer) => drop(self.socket.send_to(&answer, self.address).await),
                        // That of a link that is lost leads to the original.
                        Err(_) if is_up => return ControlFlow::Break(()),
                        Err(_) => std::future::pending().await,
                    },
                    _ = status.changed() => {}
                }
                ControlFlow::Continue(())
            };
            tokio::select! {
                () = &mut away => return ControlFlow::Continue(()),
                moved = timeout(IDLE, moved) => match moved {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) | Err(_) => return ControlFlow::Break(()),
                },
            }
        }
    }

    /// Goes on once the laptop is back. `counted` is held until there was an answer.
    async fn with_original(&mut self, counted: Counted) -> ControlFlow<()> {
        let callers = self.callers.clone();
        let Some(target) = &callers.otherwise else { return ControlFlow::Break(()) };
        let original = outbound::udp_socket(&callers.resolver, target).await;
        let Ok(original) = original else { return ControlFlow::Break(()) };
        let mut counted = Some(counted);
        let mut status = callers.link.status();
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let moved = async {
                tokio::select! {
                    data = self.arriving.recv() => match data {
                        Some(data) => drop(original.send(&data).await), // as lost as on any network
                        None => return ControlFlow::Break(()),
                    },
                    answer = original.recv(&mut buffer) => match answer {
                        Ok(length) => {
                            let _ = self.socket.send_to(&buffer[..length], self.address).await;
                            counted = None;
                        }
                        Err(_) => return ControlFlow::Break(()), // refused; the next datagram tries anew
                    },
                }
                ControlFlow::Continue(())
            };
            tokio::select! {
                Ok(_) = status.wait_for(|state| matches!(state, LinkState::Up)) => return ControlFlow::Continue(()),
                moved = timeout(IDLE, moved) => match moved {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) | Err(_) => return ControlFlow::Break(()),
                },
            }
        }
    }
}
