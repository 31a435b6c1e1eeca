//! A connection to an upstream, driven by the task of the request that it serves: with a task of
//! its own each request would need two more switches between tasks.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::upstream::Upstream;

/// An HTTP/1.1 connection that serves one request after the other.
pub(super) struct Kept {
    sender: http1::SendRequest<Sent>,
    connection: http1::Connection<TokioIo<TcpStream>, Sent>,
    ended: bool,
    /// When it began to wait for a request.
    pub(super) since: Instant,
}

/// The body of a request on its way.
pub(super) enum Sent {
    /// There is none.
    Empty,
    /// What the caller sends.
    Passed(Incoming),
}

impl Kept {
    pub(super) async fn new(socket: TcpStream) -> hyper::Result<Kept> {
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        Ok(Kept { sender, connection, ended: false, since: Instant::now() })
    }

    /// Whether it is alive and free.
    pub(super) fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.ended && self.sender.is_ready()
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if !self.ended {
            self.ended = Pin::new(&mut self.connection).poll(context).is_ready();
        }
    }

    /// Sends a request and waits for the head of its answer. The error has the request if it was
    /// not sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Sent>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|context| {
            if !self.ended {
                self.ended = Pin::new(&mut self.connection).poll(context).is_ready();
            }
            answer.as_mut().poll(context)
        })
        .await
    }
}

/// The body of an answer, which drives its connection while it is read, and then gives it back.
pub(super) struct Answer {
    body: Incoming,
    ended: bool,
    connection: Option<(Kept, Rc<Upstream>)>,
}

impl Answer {
    pub(super) fn new(body: Incoming, connection: Kept, upstream: Rc<Upstream>) -> Answer {
        Answer { body, ended: false, connection: Some((connection, upstream)) }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if let (Poll::Pending, Some((connection, _))) = (&polled, &mut this.connection) {
            connection.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        this.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose answer was not read to its end is closed.
impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((mut connection, upstream)) = self.connection.take()
            && (self.ended || self.body.is_end_stream())
            && connection.is_ready()
        {
            connection.since = Instant::now();
            upstream.keep(connection);
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Sent::Empty => Poll::Ready(None),
            Sent::Passed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Sent::Empty => true,
            Sent::Passed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Sent::Empty => SizeHint::with_exact(0),
            Sent::Passed(body) => body.size_hint(),
        }
    }
}

impl Sent {
    /// What the caller sends, if anything.
    pub(super) fn of(body: Incoming) -> Sent {
        if body.is_end_stream() { Sent::Empty } else { Sent::Passed(body) }
    }
}
