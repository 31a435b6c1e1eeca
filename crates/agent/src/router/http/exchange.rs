//! One request and its answer. Both ends are driven by the task of the caller: with a task of its
//! own for the upstream, each request would need more switches between tasks.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use kt_wire::Refused;
use tokio::time::timeout;

use super::super::Router;
use super::super::failure::{silent, status_of, unreachable};
use super::answered::{self, Answered, Kind};
use super::asked::{Asked, Wrong};
use super::chunks::Nonsense;
use super::flow::{Body, Flow, Lost};
use super::line::Line;

/// Leave to send a body.
const LEAVE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How long the rest of a request may take that was answered before it was whole.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of the caller's connection.
pub(super) enum After {
    /// It waits for the next request.
    Next,
    /// It ends.
    Close,
    /// It ends although the caller is still sending.
    Linger,
    /// It ends with an error, as the answer is not whole.
    Reset,
    /// The caller gets this instead of an answer.
    Wrong(Wrong),
    /// The same, as nobody answers: who, and why not.
    Unanswered(StatusCode, String),
    /// It goes on in another protocol with the upstream.
    Switched(Line),
}

/// Why there is no answer.
enum Failed {
    /// Nobody waits for it any more.
    CallerGone,
    /// The caller sends what is no HTTP.
    Nonsense,
    /// The upstream broke off, or answered what is not HTTP.
    Broken,
}

/// A request on its way, and its answer.
struct Exchange<'a> {
    router: &'a Router,
    asked: &'a Asked,
    caller: &'a mut Line,
    request: Flow,
    /// The request has arrived as a whole.
    arrived: bool,
    /// The upstream takes no more of it; its answer may tell why.
    untaken: bool,
    /// Something came from the upstream.
    heard: bool,
    answer: Flow,
}

/// Passes a request on, and its answer back. The heads are memory that is used again.
pub(super) async fn pass(
    router: &Router,
    caller: &mut Line,
    asked: &Asked,
    heads: &mut [Vec<u8>; 2],
) -> After {
    let [request, answer] = heads.each_mut().map(std::mem::take);
    let mut exchange = Exchange {
        router,
        asked,
        caller,
        request: Flow::new(request, asked.body.clone()),
        arrived: false,
        untaken: false,
        heard: false,
        answer: Flow::new(answer, Body::Length(0)),
    };
    let after = exchange.run().await;
    *heads = [exchange.request.head, exchange.answer.head];
    after
}

impl Exchange<'_> {
    async fn run(&mut self) -> After {
        if self.asked.expects && self.caller.ahead().is_empty() {
            self.answer.head.extend_from_slice(LEAVE);
        }
        if let Some(mut kept) = self.asked.chosen.take_kept() {
            match self.ask(&mut kept).await {
                Ok(answered) => return self.finish(kept, answered, true).await,
                Err(Failed::Broken) if self.may_begin_again() => self.begin_again(),
                Err(failed) => return self.after(failed, true),
            }
        }
        let (mut fresh, is_chosen) = match self.dial().await {
            Ok(dialled) => dialled,
            Err(why) => {
                let who = unreachable(&self.asked.chosen, &self.asked.original, &why);
                return After::Unanswered(status_of(why.reason), who);
            }
        };
        match self.ask(&mut fresh).await {
            Ok(answered) => self.finish(fresh, answered, is_chosen).await,
            Err(failed) => self.after(failed, is_chosen),
        }
    }

    /// A kept connection may have been closed meanwhile; what was not sent, or may be sent twice,
    /// gets another.
    fn may_begin_again(&self) -> bool {
        !self.heard && (self.asked.repeatable || self.request.sent == 0)
    }

    fn begin_again(&mut self) {
        self.request.sent = 0;
        (self.arrived, self.untaken) = (false, false);
    }

    /// A new connection, to the chosen upstream or, where that is gone, to the original: a shadow
    /// that is gone does not mean a Service that is gone.
    async fn dial(&self) -> Result<(Line, bool), Refused> {
        let Asked { chosen, original, .. } = self.asked;
        let is_original = Rc::ptr_eq(chosen, original);
        let (socket, is_chosen) = match chosen.dial().await {
            Err(_) if !is_original => (original.dial().await?, false),
            dialled => (dialled?, true),
        };
        Ok((Line::new(socket, self.router.buffers.clone()), is_chosen))
    }

    /// Sends the request until the head of its answer is there.
    async fn ask(&mut self, upstream: &mut Line) -> Result<Answered, Failed> {
        poll_fn(|context| {
            self.send(context, upstream)?;
            loop {
                if let Some(answered) = self.read_head(upstream)? {
                    return Poll::Ready(Ok(answered));
                }
                self.send_early(context)?;
                match ready!(upstream.poll_read(context)) {
                    Ok(1..) => self.heard = true,
                    _ => return Poll::Ready(Err(Failed::Broken)), // also a head that does not end
                }
            }
        })
        .await
    }

    /// What the caller gets before the answer.
    fn send_early(&mut self, context: &mut Context<'_>) -> Result<(), Failed> {
        while self.answer.sent < self.answer.head.len() {
            let part = &self.answer.head[self.answer.sent..];
            match self.caller.poll_write(context, [part, &[]]) {
                Poll::Ready(Ok(written)) => self.answer.sent += written,
                Poll::Ready(Err(_)) => return Err(Failed::CallerGone),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Sends what can be sent of the request, and after it looks whether the caller is still there.
    fn send(&mut self, context: &mut Context<'_>, upstream: &mut Line) -> Result<(), Failed> {
        if !self.arrived && !self.untaken {
            match self.request.poll(context, self.caller, upstream) {
                Poll::Ready(Ok(())) => self.arrived = true,
                Poll::Ready(Err(Lost::Receiver)) => self.untaken = true,
                Poll::Ready(Err(Lost::Sender)) => return Err(Failed::CallerGone),
                Poll::Ready(Err(Lost::Nonsense)) => return Err(Failed::Nonsense),
                Poll::Pending => return Ok(()),
            }
        }
        // A caller may send its next request in advance, of which one buffer is read.
        if self.arrived && self.caller.ahead().is_empty() {
            return match self.caller.poll_read(context) {
                Poll::Ready(Ok(0) | Err(_)) => Err(Failed::CallerGone),
                _ => Ok(()),
            };
        }
        Ok(())
    }

    fn read_head(&mut self, upstream: &mut Line) -> Result<Option<Answered>, Failed> {
        let ending = *self.router.ending.borrow();
        while !upstream.ahead().is_empty() {
            let read = answered::read(upstream.ahead(), self.asked, ending, &mut self.answer.head);
            let Some((answered, length)) = read.map_err(|Nonsense| Failed::Broken)? else {
                return Ok(None);
            };
            upstream.use_up(length);
            if answered.kind != Kind::Early {
                return Ok(Some(answered));
            }
        }
        Ok(None)
    }

    /// Passes the answer back.
    async fn finish(&mut self, mut upstream: Line, answered: Answered, is_chosen: bool) -> After {
        self.answer.body = answered.body;
        let passed = poll_fn(|context| {
            match self.send(context, &mut upstream) {
                Ok(()) | Err(Failed::Broken) => {}
                Err(Failed::CallerGone) => return Poll::Ready(Err(Lost::Receiver)),
                Err(Failed::Nonsense) => return Poll::Ready(Err(Lost::Nonsense)),
            }
            self.answer.poll(context, &mut upstream, self.caller)
        })
        .await;
        if passed.is_ok() && !self.arrived && !self.untaken {
            // Some servers answer before they have read all; the caller may need this connection.
            let rest = poll_fn(|context| self.request.poll(context, self.caller, &mut upstream));
            self.arrived = timeout(REST_WITHIN, rest).await.is_ok_and(|rest| rest.is_ok());
        }
        match passed {
            Ok(()) if answered.kind == Kind::Switched => After::Switched(upstream),
            Ok(()) if !self.arrived => After::Linger,
            Ok(()) => {
                if answered.reusable && upstream.is_quiet() {
                    let Asked { chosen, original, .. } = self.asked;
                    if is_chosen { chosen } else { original }.keep(upstream);
                }
                if answered.close { After::Close } else { After::Next }
            }
            Err(Lost::Receiver) => After::Close,
            Err(Lost::Sender | Lost::Nonsense) => After::Reset,
        }
    }

    fn after(&self, failed: Failed, is_chosen: bool) -> After {
        let Asked { chosen, original, .. } = self.asked;
        let is_between = self.answer.sent == self.answer.head.len();
        match failed {
            Failed::CallerGone => After::Close,
            _ if !is_between => After::Reset,
            Failed::Nonsense => After::Wrong(Nonsense.into()),
            Failed::Broken => {
                let who = if is_chosen { chosen } else { original };
                After::Unanswered(StatusCode::BAD_GATEWAY, silent(who))
            }
        }
    }
}
