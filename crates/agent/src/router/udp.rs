//! Datagrams go to the original; each caller has a socket of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kt_wire::rules::Port;
use tokio::net::UdpSocket;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Router;

/// After so long without an answer a caller is forgotten, as in most NATs.
const IDLE: Duration = Duration::from_secs(60);
/// Callers at once; datagrams of more are lost.
const CALLERS_MOST: usize = 4096;
/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Relays until it is dropped.
pub(super) async fn serve(socket: UdpSocket, port: Port, router: Rc<Router>) {
    let socket = Rc::new(socket);
    let mut callers: HashMap<SocketAddr, Rc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error belongs to a caller who is gone.
        let Ok((length, caller)) = socket.recv_from(&mut buffer).await else { continue };
        // Only a caller's own task holds its socket besides this map.
        callers.retain(|_, original| Rc::strong_count(original) > 1);
        let original = match callers.get(&caller) {
            Some(original) => original.clone(),
            None if callers.len() >= CALLERS_MOST => continue,
            None => match dial(&port, &router).await {
                Some(original) => {
                    spawn_local(answer(original.clone(), socket.clone(), caller));
                    callers.insert(caller, original.clone());
                    original
                }
                None => continue,
            },
        };
        let _ = original.send(&buffer[..length]).await; // as lost as on any network
    }
}

async fn dial(port: &Port, router: &Router) -> Option<Rc<UdpSocket>> {
    let address = router.table().udp_original(port.listen)?.address().await.ok()?;
    let from: SocketAddr = match address.is_ipv4() {
        true => (Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await.ok()?;
    socket.connect(address).await.ok()?;
    Some(Rc::new(socket))
}

/// Carries what the original answers, until it does not for a while.
async fn answer(original: Rc<UdpSocket>, socket: Rc<UdpSocket>, caller: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(received) = timeout(IDLE, original.recv(&mut buffer)).await {
        match received {
            Ok(length) => drop(socket.send_to(&buffer[..length], caller).await),
            Err(_) => return, // refused; the next datagram tries anew
        }
    }
}
