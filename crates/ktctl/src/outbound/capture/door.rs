//! The listeners on the device, one of each family: what is led back to the laptop comes in here.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

/// Connections that may wait to be accepted: a burst of them must not be answered with cookies, which
/// the kernel forgets. It cuts this to its own limit, 4096 as a rule.
const BACKLOG: u32 = 4096;
/// The pause after a failure to accept; a lack of descriptors passes.
const PAUSE: Duration = Duration::from_millis(100);

/// Both ends of the device in one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// The laptop's address on the device.
    pub(crate) address: IpAddr,
    /// The other end.
    pub(crate) peer: IpAddr,
}

/// Where connections of one family are led to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) listening: SocketAddr,
    pub(super) peer: IpAddr,
}

#[derive(Debug)]
pub(super) struct Doors {
    v4: (Door, TcpListener),
    v6: Option<(Door, TcpListener)>,
}

impl Doors {
    /// A laptop whose IPv6 is switched off goes on without.
    pub(super) fn open(v4: Pair, v6: Option<Pair>) -> io::Result<Doors> {
        let v6 = v6.and_then(|pair| {
            let opened = open(pair, TcpSocket::new_v6);
            let failed = |error| tracing::warn!(%error, "IPv6 addresses of the cluster are not reached");
            opened.map_err(failed).ok()
        });
        Ok(Doors { v4: open(v4, TcpSocket::new_v4)?, v6 })
    }

    /// The door for what goes to this address.
    pub(super) fn at(&self, to: IpAddr) -> Option<Door> {
        match to {
            IpAddr::V4(_) => Some(self.v4.0),
            IpAddr::V6(_) => self.v6.as_ref().map(|(door, _)| *door),
        }
    }

    /// The next connection; nothing after a failure. Cancel safe.
    pub(super) async fn accept(&self) -> Option<(TcpStream, SocketAddr)> {
        let v6 = async {
            match &self.v6 {
                Some((_, listener)) => listener.accept().await,
                None => pending().await,
            }
        };
        let accepted = tokio::select! {
            accepted = self.v4.1.accept() => accepted,
            accepted = v6 => accepted,
        };
        match accepted {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::warn!(%error, "can not accept a connection");
                sleep(PAUSE).await;
                None
            }
        }
    }
}

fn open(pair: Pair, socket: fn() -> io::Result<TcpSocket>) -> io::Result<(Door, TcpListener)> {
    let socket = socket()?;
    socket.bind((pair.address, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    let door = Door { listening: listener.local_addr()?, peer: pair.peer };
    Ok((door, listener))
}
