//! Requests under way on a connection of HTTP/2: its frames tell. Its last word may be the caller's without
//! a question in it, as when he only says how much more he would take.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a caller begins who speaks it without having asked before (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames, and the flag on the first two of them that nothing follows (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// What a connection has been seen to carry.
#[derive(Default)]
pub(super) struct Requests(Mutex<Seen>);

impl Requests {
    /// Does somebody wait for an answer? Nothing, when it is another protocol or not known yet.
    pub(super) fn are_under_way(&self) -> Option<bool> {
        let seen = self.lock();
        (seen.preface == PREFACE.len()).then(|| !seen.open.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Seen {
    /// How much of the preface has come.
    preface: usize,
    is_other: bool,
    asked: Frames,
    answered: Frames,
    /// Requests without an answer, or with a part of one.
    open: BTreeSet<u32>,
    newest: u32,
}

impl Seen {
    /// The caller's bytes.
    fn ask(&mut self, mut bytes: &[u8]) {
        if self.preface < PREFACE.len() && !self.is_other {
            let length = bytes.len().min(PREFACE.len() - self.preface);
            let (begin, rest) = bytes.split_at(length);
            self.is_other = begin != &PREFACE[self.preface..self.preface + length];
            self.preface += if self.is_other { 0 } else { length };
            bytes = rest;
        }
        if self.is_other {
            return;
        }
        let Seen { asked, open, newest, .. } = self;
        asked.feed(bytes, |frame| match frame.kind {
            // Of a known one they are trailers.
            HEADERS if frame.stream > *newest => {
                *newest = frame.stream;
                open.insert(frame.stream);
            }
            RST_STREAM => drop(open.remove(&frame.stream)),
            _ => {}
        });
    }

    /// The bytes that go to the caller.
    fn answer(&mut self, bytes: &[u8]) {
        if self.is_other {
            return;
        }
        let Seen { answered, open, .. } = self;
        answered.feed(bytes, |frame| {
            let is_end = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
            if is_end || frame.kind == RST_STREAM {
                open.remove(&frame.stream);
            }
        });
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the frames of one direction, whatever the pieces in which they come.
#[derive(Default)]
struct Frames {
    head: [u8; 9],
    /// How much of a head has come.
    length: usize,
    /// How much of what follows a head has not.
    body: usize,
    /// Of a frame that is only done with its body.
    last: Option<Frame>,
}

impl Frames {
    /// Tells of each frame once all of it has come.
    fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            if self.last.is_none() {
                let length = bytes.len().min(self.head.len() - self.length);
                self.head[self.length..self.length + length].copy_from_slice(&bytes[..length]);
                self.length += length;
                bytes = &bytes[length..];
                self.begin();
            }
            let body = bytes.len().min(self.body);
            self.body -= body;
            bytes = &bytes[body..];
            if self.body == 0
                && let Some(frame) = self.last.take()
            {
                tell(&frame);
            }
        }
    }

    fn begin(&mut self) {
        if self.length < self.head.len() {
            return;
        }
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
        self.length = 0;
        self.body = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        self.last = Some(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]) });
    }
}

/// The caller's end of a flow: what is read from it was asked, what is written to it is answered.
pub(super) struct Watched<'a, S> {
    pub(super) caller: &'a mut S,
    pub(super) requests: &'a Requests,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.caller).poll_read(cx, buffer))?;
        self.requests.lock().ask(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut *self.caller).poll_write(cx, bytes))?;
        self.requests.lock().answer(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.caller).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.caller).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
        let head = [0, 0, u8::try_from(body.len()).expect("short"), kind, flags, 0, 0, 0, stream];
        [&head[..], body].concat()
    }

    /// A connection on which request 1 was asked.
    fn asked() -> Requests {
        let requests = Requests::default();
        let all = [PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, END_STREAM, 1, b"question")];
        all.concat().chunks(5).for_each(|piece| requests.lock().ask(piece));
        requests
    }

    #[test]
    fn a_request_is_under_way_until_all_of_its_answer_was_taken() {
        let requests = asked();
        let answer = [frame(HEADERS, 0, 1, b"200"), frame(DATA, END_STREAM, 1, b"answer")].concat();
        let (most, last) = answer.split_at(answer.len() - 1);
        assert_eq!(requests.are_under_way(), Some(true));

        most.chunks(7).for_each(|piece| requests.lock().answer(piece));
        assert_eq!(requests.are_under_way(), Some(true));
        requests.lock().answer(last);

        assert_eq!(requests.are_under_way(), Some(false));
    }

    #[test]
    fn what_the_caller_says_after_the_answer_is_no_request() {
        let requests = asked();
        requests.lock().answer(&frame(HEADERS, END_STREAM, 1, b"204"));

        for frame in [frame(WINDOW_UPDATE, 0, 0, b"1000"), frame(HEADERS, END_STREAM, 1, b"trailers")] {
            requests.lock().ask(&frame);
        }

        assert_eq!(requests.are_under_way(), Some(false));
        requests.lock().ask(&frame(HEADERS, 0, 3, b"another"));
        assert_eq!(requests.are_under_way(), Some(true));
    }

    #[test]
    fn each_request_of_a_connection_counts_until_it_is_answered_or_given_up() {
        let requests = asked();
        for stream in [3, 5] {
            requests.lock().ask(&frame(HEADERS, END_STREAM, stream, b"question"));
        }

        requests.lock().answer(&frame(HEADERS, END_STREAM, 3, b"204"));
        requests.lock().answer(&frame(RST_STREAM, 0, 1, b"code"));
        assert_eq!(requests.are_under_way(), Some(true));
        requests.lock().ask(&frame(RST_STREAM, 0, 5, b"code"));

        assert_eq!(requests.are_under_way(), Some(false));
    }

    #[test]
    fn other_protocols_tell_nothing() {
        let requests = Requests::default();
        requests.lock().ask(b"PR");
        assert_eq!(requests.are_under_way(), None);

        requests.lock().ask(b"OPFIND / HTTP/1.1\r\n\r\n");
        requests.lock().answer(b"HTTP/1.1 200 OK\r\n\r\n");

        assert_eq!(requests.are_under_way(), None);
    }
}
