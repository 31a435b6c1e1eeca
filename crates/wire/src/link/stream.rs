//! A stream as a program uses it: bytes both ways, and datagrams beside them.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use crate::message::Refused;
use crate::mux::Read;

/// One stream of a link. Shutting it down finishes this direction only; the other goes on.
/// Dropping it resets it, unless both directions have finished.
#[derive(Debug)]
pub struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u32,
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: u32) -> Stream {
        Stream { shared, id }
    }

    /// Ends the stream at once; the peer is told why.
    pub fn reset(self, why: &Refused) {
        self.shared.with(|state| state.mux.reset(self.id, why));
    }

    /// Sends a datagram, or drops it when too many wait or the link has no carrier.
    pub fn send_datagram(&self, data: Bytes) {
        self.shared.with(|state| state.mux.send_datagram(self.id, data));
    }

    /// The next datagram; an error once no more can come. Cancel safe.
    pub async fn receive_datagram(&self) -> Result<Bytes, Refused> {
        poll_fn(|context| {
            let mut state = self.shared.lock();
            match state.mux.receive_datagram(self.id) {
                Some(result) => Poll::Ready(result),
                None => {
                    state.wakers.entry(self.id).or_default().read = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        let mut some = false;
        while buffer.remaining() > 0 {
            match state.mux.read(self.id, buffer.remaining(), now) {
                Read::Data(data) => {
                    buffer.put_slice(&data);
                    some = true;
                }
                Read::End => return Poll::Ready(Ok(())),
                _ if some => break,
                Read::Failed(why) => return Poll::Ready(Err(why.into())),
                Read::Wait => {
                    state.wakers.entry(self.id).or_default().read = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
        let has_credit_to_tell = state.mux.has_control();
        drop(state);
        if has_credit_to_tell {
            self.shared.send.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.shared.lock();
        match state.mux.write(self.id, data) {
            Err(why) => Poll::Ready(Err(why.into())),
            Ok(0) if !data.is_empty() => {
                state.wakers.entry(self.id).or_default().write = Some(context.waker().clone());
                Poll::Pending
            }
            Ok(taken) => {
                drop(state);
                self.shared.send.notify_one();
                Poll::Ready(Ok(taken))
            }
        }
    }

    /// Does nothing: what was written is sent as soon as credit and carrier allow.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Waits until everything written was handed to a carrier.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.lock();
        state.mux.finish(self.id);
        if state.mux.is_flushed(self.id) {
            return Poll::Ready(Ok(()));
        }
        state.wakers.entry(self.id).or_default().write = Some(context.waker().clone());
        drop(state);
        self.shared.send.notify_one();
        Poll::Pending
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.mux.release(self.id);
            state.wakers.remove(&self.id);
        });
    }
}
