//! One message on its way from one connection to the other: a head of ours, then the body as it comes.

use std::io;
use std::task::{Context, Poll, ready};

use super::chunks::{Chunks, Nonsense, Piece};
use super::line::Line;

/// How a body ends.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// After so many more bytes.
    Length(u64),
    Chunked(Chunks),
    /// The same, of which the receiver gets the content only.
    Unchunked(Chunks),
    /// With the connection.
    UntilClose,
}

/// Why a message did not arrive.
#[derive(Debug)]
pub(super) enum Lost {
    /// The sender broke off.
    Sender,
    /// What it sends is no HTTP.
    Nonsense,
    /// The receiver takes no more.
    Receiver,
}

/// A message, as far as it is on its way.
pub(super) struct Flow {
    pub(super) head: Vec<u8>,
    /// Bytes of the head that are sent.
    pub(super) sent: usize,
    pub(super) body: Body,
    /// Bytes the sender has sent that may go to the receiver as they are.
    cleared: usize,
}

impl Flow {
    pub(super) fn new(head: Vec<u8>, body: Body) -> Flow {
        Flow { head, sent: 0, body, cleared: 0 }
    }

    /// Moves what can be moved until all has arrived.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut Line,
        to: &mut Line,
    ) -> Poll<Result<(), Lost>> {
        loop {
            self.clear(from).map_err(|Nonsense| Lost::Nonsense)?;
            if self.sent < self.head.len() || self.cleared > 0 {
                let parts = [&self.head[self.sent..], &from.ahead()[..self.cleared]];
                let written = ready!(to.poll_write(context, parts)).map_err(|_| Lost::Receiver)?;
                self.note(written, from);
            } else if self.body.has_ended() {
                return Poll::Ready(Ok(()));
            } else if ready!(poll_more(context, from))? == 0 {
                let whole = matches!(self.body, Body::UntilClose);
                return Poll::Ready(if whole { Ok(()) } else { Err(Lost::Sender) });
            }
        }
    }

    /// Looks at what the sender has sent, and clears what belongs to the body.
    fn clear(&mut self, from: &mut Line) -> Result<(), Nonsense> {
        let come = from.ahead().len();
        match &mut self.body {
            Body::Length(left) => {
                let more =
                    usize::try_from(*left).map_or(come - self.cleared, |left| left.min(come - self.cleared));
                *left -= more as u64;
                self.cleared += more;
            }
            Body::UntilClose => self.cleared = come,
            Body::Chunked(chunks) => {
                while self.cleared < come {
                    match chunks.next(&from.ahead()[self.cleared..])? {
                        Piece::Frame(count) | Piece::Data(count) => self.cleared += count,
                        Piece::Ended => break,
                    }
                }
            }
            Body::Unchunked(chunks) => {
                while self.cleared == 0 && !from.ahead().is_empty() {
                    match chunks.next(from.ahead())? {
                        Piece::Frame(count) => from.use_up(count),
                        Piece::Data(count) => self.cleared = count,
                        Piece::Ended => break,
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, written: usize, from: &mut Line) {
        let of_head = written.min(self.head.len() - self.sent);
        self.sent += of_head;
        let of_body = written - of_head;
        if of_body > 0 {
            self.cleared -= of_body;
            from.use_up(of_body);
        }
    }
}

fn poll_more(context: &mut Context<'_>, from: &mut Line) -> Poll<Result<usize, Lost>> {
    from.poll_read(context).map_err(|_: io::Error| Lost::Sender)
}

impl Body {
    /// Whether nothing follows that has not come yet.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) | Body::Unchunked(chunks) => chunks.has_ended(),
            Body::UntilClose => false,
        }
    }
}
