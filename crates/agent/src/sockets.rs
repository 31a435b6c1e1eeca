//! Sockets in a pod, as both programs use them.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use kt_wire::relay;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Listens for callers from everywhere, over both families where the system has both.
pub(crate) fn bind(port: u16) -> io::Result<TcpListener> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in anywhere(port) {
        let socket = match address.is_ipv6() {
            true => tokio::net::TcpSocket::new_v6(),
            false => tokio::net::TcpSocket::new_v4(),
        };
        result = socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(1024)
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The same for datagrams.
pub(crate) fn bind_udp(port: u16) -> io::Result<UdpSocket> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in anywhere(port) {
        result = std::net::UdpSocket::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        });
        if result.is_ok() {
            break;
        }
    }
    result
}

/// An address on all interfaces, of both families where the system has both.
fn anywhere(port: u16) -> [SocketAddr; 2] {
    [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
}

/// Relays; an error at the other side reaches the caller as a reset, not as a clean end.
pub(crate) async fn relay_or_reset<S>(other: S, mut caller: TcpStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if relay(other, &mut caller).await.error.is_some() {
        reset(caller);
    }
}

/// Closes a connection so that the caller sees an error instead of an end.
pub(crate) fn reset(caller: TcpStream) {
    let _ = SockRef::from(&caller).set_linger(Some(Duration::ZERO)); // else it is a plain close
}

/// Counts a caller for as long as it lives.
pub(crate) struct Counted(Rc<Cell<usize>>);

impl Counted {
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Counted {
        count.set(count.get() + 1);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
