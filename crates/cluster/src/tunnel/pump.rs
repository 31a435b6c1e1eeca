//! The one pump of both dialects: takes frames apart while reading, makes them while writing.
//!
//! Payload goes straight into the reader's buffer. What is written is copied once, into the frame
//! that goes out. Each call does what the connection allows and no more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most payload that one frame of ours carries.
pub(super) const FRAME: usize = 64 * 1024;

/// Longest head of a frame in any dialect.
const HEAD: usize = 16;

/// How much of the node's words is kept.
const WORDS: usize = 4096;

/// Makes and reads the frames of one dialect. Pure: bytes in, bytes out.
pub(super) trait Framing: Unpin {
    /// The shortest head of a frame.
    const SHORTEST: usize;

    /// What is said before anything else.
    fn open(&mut self, out: &mut Vec<u8>);

    /// Appends a frame with the first bytes of `data`, at most [`FRAME`]; returns how many.
    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize;

    /// Appends what ends the stream.
    fn end(&mut self, out: &mut Vec<u8>);

    /// Reads the head of a frame; or says how many bytes of it are needed (more than given, and at
    /// most 16).
    fn head(&mut self, head: &[u8]) -> io::Result<Head>;

    /// The next part of the frame's payload; nothing when the frame is done.
    fn part(&mut self) -> Option<Part>;

    /// Takes a [`To::Framing`] part, and may answer.
    fn take(&mut self, part: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Did the far end end the stream with the frame that is now done?
    fn ended(&self) -> bool;

    /// Is nothing lost when the connection breaks off now?
    fn may_break_off(&self) -> bool;
}

/// What a look at the first bytes of a frame gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// So many bytes are needed.
    Needs(usize),
    /// The head is complete; ask for the parts.
    Complete,
}

/// A piece of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) to: To,
    pub(super) len: usize,
}

/// Where a piece belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// To the reader.
    Reader,
    /// To the framing: a control frame.
    Framing,
    /// Into the node's words against the stream.
    Words,
    /// Nowhere.
    Nobody,
}

/// A byte stream in the frames of one dialect over `io`.
pub(super) struct Pump<F, Io> {
    framing: F,
    io: Io,
    state: State,
    scratch: Vec<u8>,
    words: Vec<u8>,
    out: Vec<u8>,
    sent: usize,
    writer_waits: bool,
    closed: bool,
}

#[derive(Clone, Copy)]
enum State {
    Head { bytes: [u8; HEAD], have: usize, need: usize },
    Part { part: Part, left: usize },
    Ended,
    Failed,
}

impl State {
    fn next_head<F: Framing>() -> State {
        State::Head { bytes: [0; HEAD], have: 0, need: F::SHORTEST }
    }
}

impl<F: Framing, Io: AsyncRead + AsyncWrite + Unpin> Pump<F, Io> {
    /// A pump whose opening words go out with the first write, flush or read.
    pub(super) fn new(mut framing: F, io: Io) -> Pump<F, Io> {
        let mut out = Vec::with_capacity(FRAME + HEAD);
        framing.open(&mut out);
        Pump {
            framing,
            io,
            state: State::next_head::<F>(),
            scratch: Vec::new(),
            words: Vec::new(),
            out,
            sent: 0,
            writer_waits: false,
            closed: false,
        }
    }

    /// Sends what waits in `out`.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends what waits in `out`, and what waits below.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// The reader sends its answers itself, unless a writer waits: that one does it when it is
    /// woken, and its waker must stay with the connection.
    fn push_from_reader(&mut self, cx: &mut Context<'_>) {
        if !self.writer_waits && !self.out.is_empty() {
            let _later_or_seen_by_the_writer = self.poll_push(cx);
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        match self.state {
            State::Head { bytes, have, need } => self.poll_head(cx, bytes, have, need),
            State::Part { part, left: 0 } => self.finish(part),
            State::Part { part, left } => self.poll_payload(cx, part, left, to),
            State::Ended => Poll::Ready(Ok(true)),
            State::Failed => Poll::Ready(Err(spoken(&self.words))),
        }
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut bytes: [u8; HEAD],
        mut have: usize,
        mut need: usize,
    ) -> Poll<io::Result<bool>> {
        if have == need {
            match self.framing.head(&bytes[..have])? {
                Head::Needs(more) => need = more.clamp(have + 1, HEAD),
                Head::Complete => {
                    self.next_part();
                    return Poll::Ready(Ok(false));
                }
            }
        }
        let mut room = ReadBuf::new(&mut bytes[have..need]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        if count == 0 {
            return Poll::Ready(self.broken_off());
        }
        have += count;
        self.state = State::Head { bytes, have, need };
        Poll::Ready(Ok(false))
    }

    fn next_part(&mut self) {
        self.state = match self.framing.part() {
            Some(part) => State::Part { part, left: part.len },
            None if !self.words.is_empty() => State::Failed,
            None if self.framing.ended() => State::Ended,
            None => State::next_head::<F>(),
        };
    }

    fn finish(&mut self, part: Part) -> Poll<io::Result<bool>> {
        if part.to == To::Framing {
            let scratch = std::mem::take(&mut self.scratch);
            self.framing.take(&scratch, &mut self.out)?;
        }
        self.next_part();
        Poll::Ready(Ok(false))
    }

    /// Reads some of a part; true when the reader got something.
    fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
        part: Part,
        left: usize,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let count = match part.to {
            To::Reader => ready!(poll_read_some(&mut self.io, cx, to, left))?,
            _ => ready!(self.poll_aside(cx, part.to, left))?,
        };
        if count == 0 {
            return Poll::Ready(self.broken_off());
        }
        self.state = State::Part { part, left: left - count };
        Poll::Ready(Ok(part.to == To::Reader))
    }

    /// Reads some of a part that is not the reader's.
    fn poll_aside(&mut self, cx: &mut Context<'_>, to: To, left: usize) -> Poll<io::Result<usize>> {
        let mut bytes = [0; 1024];
        let mut room = ReadBuf::new(&mut bytes);
        let count = ready!(poll_read_some(&mut self.io, cx, &mut room, left))?;
        match to {
            To::Framing => self.scratch.extend_from_slice(&bytes[..count]),
            To::Words => {
                let room = WORDS.saturating_sub(self.words.len()).min(count);
                self.words.extend_from_slice(&bytes[..room]);
            }
            To::Nobody | To::Reader => {}
        }
        Poll::Ready(Ok(count))
    }

    /// The connection ended; true when the stream had ended before.
    fn broken_off(&self) -> io::Result<bool> {
        if !self.words.is_empty() {
            Err(spoken(&self.words))
        } else if self.framing.may_break_off() {
            Ok(true)
        } else {
            let kind = io::ErrorKind::ConnectionReset;
            Err(io::Error::new(kind, "the API server closed the port-forward"))
        }
    }
}

/// Reads at most `most` bytes into `to`; returns how many.
fn poll_read_some<Io: AsyncRead + Unpin>(
    io: &mut Io,
    cx: &mut Context<'_>,
    to: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<usize>> {
    let room = most.min(to.remaining());
    let mut some = ReadBuf::new(to.initialize_unfilled_to(room));
    ready!(Pin::new(io).poll_read(cx, &mut some))?;
    let count = some.filled().len();
    to.advance(count);
    Poll::Ready(Ok(count))
}

/// The node's words as an error.
fn spoken(words: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(words).trim().to_owned();
    let kind = if text.contains("onnection refused") {
        io::ErrorKind::ConnectionRefused
    } else {
        io::ErrorKind::ConnectionAborted
    };
    io::Error::new(kind, text)
}

impl<F: Framing, Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pump<F, Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let done = self.poll_part(cx, to);
            match done {
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Ok(true)) => {
                    self.push_from_reader(cx);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.push_from_reader(cx);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<F: Framing, Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pump<F, Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.closed || matches!(self.state, State::Failed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let drained = self.poll_drain(cx);
        self.writer_waits = drained.is_pending();
        ready!(drained)?;
        let this = &mut *self;
        let count = this.framing.data(data, &mut this.out);
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        // The data is taken, so this task may wait elsewhere, e.g. in a read of its own. It comes
        // back for the rest with its next write or flush.
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pushed = self.poll_push(cx);
        self.writer_waits = pushed.is_pending();
        pushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            let this = &mut *self;
            this.framing.end(&mut this.out);
        }
        self.poll_flush(cx)
    }
}

#[cfg(test)]
#[path = "pump/tests.rs"]
mod tests;
