//! The TCP connection below TLS: `TCP_NODELAY`, keep-alive, and big reads.
//!
//! rustls asks for about 4 KiB at a time, which costs a system call each. So a connection reads
//! ahead into a buffer of its own, and TLS takes from there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::Addresses;

/// What one read fetches at most.
const AHEAD: usize = 64 * 1024;

/// A dead peer is noticed after this: when nothing is sent, by probes; when something is, by the
/// lack of an acknowledgement (Linux).
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Makes [`Socket`]s.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Addresses>,
}

impl Connector {
    /// A connector which looks names up through `addresses` and gives up after `limit`.
    pub(super) fn new(addresses: Addresses, limit: Duration) -> Connector {
        let mut tcp = HttpConnector::new_with_resolver(addresses);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(DEAD_AFTER / 2));
        tcp.set_keepalive_interval(Some(DEAD_AFTER / 6));
        tcp.set_keepalive_retries(Some(3));
        tcp.set_connect_timeout(Some(limit));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(DEAD_AFTER));
        Connector { tcp }
    }
}

impl Service<Uri> for Connector {
    type Response = Socket;
    type Error = <HttpConnector<Addresses> as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        Box::pin(async move { Ok(Socket::new(connecting.await?)) })
    }
}

/// A connection that reads ahead.
pub(super) struct Socket {
    tcp: TokioIo<TcpStream>,
    ahead: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Socket {
    fn new(tcp: TokioIo<TcpStream>) -> Socket {
        Socket { tcp, ahead: vec![0; AHEAD].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Fills the empty buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(&mut self.ahead);
        ready!(Pin::new(self.tcp.inner_mut()).poll_read(cx, &mut room))?;
        (self.start, self.end) = (0, room.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start == self.end {
            ready!(self.poll_fill(cx))?;
        }
        let count = to.remaining().min(self.end - self.start);
        to.put_slice(&self.ahead[self.start..self.start + count]);
        self.start += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, data)
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        self.tcp.inner().connected()
    }
}
