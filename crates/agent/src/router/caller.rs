//! One connection of a caller: what it speaks decides who serves it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kt_wire::Protocol;
use kt_wire::rules::Speaks;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::sniff::{Speech, judge};
use super::{Router, http, http2, raw};
use crate::sockets::Counted;

/// How long a caller may be silent, or unclear, before the original gets its turn.
const SILENCE: Duration = Duration::from_millis(200);
/// Read at once while it is unclear what is spoken.
const FIRST: usize = 2048;

/// A caller whose first bytes were read.
pub(super) struct Caller {
    pub(super) router: Rc<Router>,
    /// The port where it came in.
    pub(super) listen: u16,
    pub(super) peer: SocketAddr,
}

/// Serves a caller until its end.
pub(super) async fn serve(router: Rc<Router>, listen: u16, socket: TcpStream, peer: SocketAddr) {
    let _ = socket.set_nodelay(true); // slower without, but not wrong
    let _counted = Counted::new(&router.callers);
    let caller = Caller { router, listen, peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()) };
    let mut socket = Replayed { first: BytesMut::new(), socket };
    let speech = match caller.speaks() {
        Speaks::Raw => Speech::Raw,
        // A name in a Service is a hint: nobody who speaks TLS there is to be cut.
        Speaks::Http => socket.listen().await.unwrap_or(Speech::Raw),
        Speaks::Unknown => match timeout(SILENCE, socket.listen()).await {
            Ok(heard) => heard.unwrap_or(Speech::Raw),
            Err(_) => Speech::Unclear,
        },
    };
    match speech {
        Speech::Http1 => http::serve(caller, socket).await,
        Speech::Http2 => http2::serve(caller, socket).await,
        Speech::Unclear if socket.first.is_empty() => raw::serve_silent(caller, socket).await,
        Speech::Unclear | Speech::Raw => raw::serve(caller, socket).await,
    }
}

impl Caller {
    fn speaks(&self) -> Speaks {
        let ours = |port: &kt_wire::rules::Port| port.listen == self.listen && port.protocol == Protocol::Tcp;
        self.router.table().ports().find(ours).map_or(Speaks::Unknown, |port| port.speaks)
    }
}

/// A connection, some of whose bytes were read and are read again.
pub(super) struct Replayed {
    pub(super) first: BytesMut,
    pub(super) socket: TcpStream,
}

impl Replayed {
    /// Reads until it is clear what is spoken. An end is raw.
    ///
    /// Cancel safe: what was read stays.
    pub(super) async fn listen(&mut self) -> io::Result<Speech> {
        loop {
            self.first.reserve(FIRST);
            if self.socket.read_buf(&mut self.first).await? == 0 {
                return Ok(Speech::Raw);
            }
            match judge(&self.first) {
                Speech::Unclear => {}
                speech => return Ok(speech),
            }
        }
    }

    /// The bytes that were read, and the connection.
    pub(super) fn into_parts(self) -> (Bytes, TcpStream) {
        (self.first.freeze(), self.socket)
    }
}

impl AsyncRead for Replayed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, to);
        }
        let length = self.first.len().min(to.remaining());
        to.put_slice(&self.first[..length]);
        self.first.advance(length);
        if self.first.is_empty() {
            self.first = BytesMut::new(); // gives the memory back
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
