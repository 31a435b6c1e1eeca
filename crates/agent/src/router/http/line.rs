//! A connection with what was read from it and not used yet.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::caller::Replayed;

/// Read at once: the bigger, the fewer calls and wake-ups a long body costs.
const BIG: usize = 256 << 10;
/// The same while many hold one: a body that nobody takes holds as much memory. A head must fit.
const SMALL: usize = 64 << 10;
/// How many may be big.
const BIG_MOST: usize = 32;
/// Big ones that wait for the next who needs one.
const SPARE_MOST: usize = 4;

/// Buffers for all connections: one has a buffer only while something is in it.
#[derive(Default)]
pub(in super::super) struct Buffers {
    spare: RefCell<Vec<Box<[u8]>>>,
    /// How many are in use.
    taken: Cell<usize>,
}

impl Buffers {
    fn take(&self, least: usize) -> Box<[u8]> {
        let taken = self.taken.replace(self.taken.get() + 1);
        let spare = if least <= BIG { self.spare.borrow_mut().pop() } else { None };
        let length = if taken < BIG_MOST { BIG } else { SMALL };
        spare.unwrap_or_else(|| vec![0; length.max(least)].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        self.taken.set(self.taken.get() - 1);
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MOST && buffer.len() == BIG {
            spare.push(buffer);
        }
    }
}

/// A connection.
pub(in super::super) struct Line {
    socket: TcpStream,
    held: Held,
}

/// A buffer, as long as there is something in it.
struct Held {
    buffers: Rc<Buffers>,
    buffer: Option<Box<[u8]>>,
    /// What is in the buffer: `buffer[from..to]`.
    from: usize,
    to: usize,
}

impl Line {
    pub(in super::super) fn new(socket: TcpStream, buffers: Rc<Buffers>) -> Line {
        Line { socket, held: Held { buffers, buffer: None, from: 0, to: 0 } }
    }

    /// A connection whose first bytes were read.
    pub(super) fn replayed(replayed: Replayed, buffers: Rc<Buffers>) -> Line {
        let (first, socket) = replayed.into_parts();
        let mut line = Line::new(socket, buffers);
        let mut buffer = line.held.buffers.take(first.len());
        buffer[..first.len()].copy_from_slice(&first);
        (line.held.buffer, line.held.to) = (Some(buffer), first.len());
        line
    }

    /// The connection, whose bytes that were not used are read again.
    pub(super) fn into_replayed(mut self) -> Replayed {
        let first = BytesMut::from(self.ahead());
        self.use_up(first.len());
        Replayed { first, socket: self.socket }
    }

    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// What was read and not used.
    pub(super) fn ahead(&self) -> &[u8] {
        self.held.buffer.as_deref().map_or(&[], |buffer| &buffer[self.held.from..self.held.to])
    }

    /// Whether more was read in advance than a head may have.
    pub(super) fn is_full(&self) -> bool {
        self.held.to - self.held.from >= SMALL
    }

    /// Counts the first bytes as used.
    pub(super) fn use_up(&mut self, count: usize) {
        self.held.from += count;
        if self.held.from >= self.held.to {
            (self.held.from, self.held.to) = (0, 0);
            if let Some(buffer) = self.held.buffer.take() {
                self.held.buffers.give(buffer);
            }
        }
    }

    /// Reads more, and tells how much; nothing is the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = self.held.buffer.take().unwrap_or_else(|| self.held.buffers.take(0));
        if self.held.from > 0 {
            buffer.copy_within(self.held.from..self.held.to, 0);
            (self.held.from, self.held.to) = (0, self.held.to - self.held.from);
        }
        let mut room = ReadBuf::new(&mut buffer[self.held.to..]);
        let polled = Pin::new(&mut self.socket).poll_read(context, &mut room);
        let read = room.filled().len();
        self.held.to += read;
        match self.held.to {
            0 => self.held.buffers.give(buffer),
            _ => self.held.buffer = Some(buffer),
        }
        polled.map_ok(|()| read)
    }

    /// Writes as much of the parts as goes at once.
    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: [&[u8]; 2],
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        let written = match parts {
            [part, []] | [[], part] => ready!(socket.poll_write(context, part)),
            [first, second] => {
                ready!(socket.poll_write_vectored(context, &[IoSlice::new(first), IoSlice::new(second)]))
            }
        };
        Poll::Ready(match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        })
    }

    /// Whether nothing has come meanwhile: neither bytes, nor an end. Costs no call of the system
    /// while nothing has.
    pub(in super::super) fn is_quiet(&mut self) -> bool {
        self.ahead().is_empty() && self.poll_read(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.buffers.give(buffer);
        }
    }
}
