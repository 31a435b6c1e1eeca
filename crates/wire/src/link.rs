//! A link on real carriers: what a program opens streams on.
//!
//! One lock guards the state machine; the tasks of the carrier and the streams take it briefly and
//! never wait while they hold it. A link whose carrier is gone keeps its streams: reads and writes
//! wait until the next carrier is up.

mod carry;
mod cluster;
mod laptop;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::hello::{Id, Key};
use crate::message::{Open, Refused};
use crate::mux::{Event, Moment, Mux, Settings, Side};
pub use cluster::{Accepted, Links};
pub use laptop::{Dialer, Keeper, LinkEnd};
pub use stream::Stream;

/// A byte stream to the other end, e.g. a port-forward.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for T {}

/// How a link is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It has a carrier.
    Up,
    /// It has none; the text says why. The peer was last heard then, which is earlier than it was
    /// found out: a carrier may be silent for long before it counts as dead.
    Down(Instant, String),
    /// It has ended for good.
    Ended(Refused),
}

/// One end of a link. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

/// A stream which the peer asks for.
#[derive(Debug)]
pub struct Incoming {
    /// What it is for.
    pub what: Open,
    stream: Stream,
}

#[derive(Debug)]
struct Shared {
    id: Id,
    key: Key,
    settings: Settings,
    begin: Instant,
    state: Mutex<State>,
    /// There is something to send.
    send: Notify,
    /// Another carrier takes over from the present one.
    replaced: Notify,
    status: watch::Sender<LinkState>,
}

#[derive(Debug)]
struct State {
    mux: Mux,
    wakers: HashMap<u32, Wakers>,
    incoming: mpsc::UnboundedSender<(u32, Open)>,
    /// Counts carriers, so that an old one's end does not harm its successor.
    carrier: u64,
}

/// Who waits for what on one stream.
#[derive(Debug, Default)]
struct Wakers {
    answer: Option<Waker>,
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Link {
    /// Makes an end without a carrier, and the queue of what the peer asks for.
    fn new(side: Side, id: Id, key: Key, settings: Settings) -> (Link, IncomingQueue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let state = State {
            mux: Mux::new(side, settings.clone()),
            wakers: HashMap::new(),
            incoming: sender,
            carrier: 0,
        };
        let begin = Instant::now();
        let shared = Arc::new(Shared {
            id,
            key,
            settings,
            begin,
            state: Mutex::new(state),
            send: Notify::new(),
            replaced: Notify::new(),
            status: watch::Sender::new(LinkState::Down(begin, "not yet connected".into())),
        });
        let queue = IncomingQueue { receiver, shared: shared.clone() };
        (Link { shared }, queue)
    }

    /// Opens a stream and waits for the peer's answer; while the link has no carrier, that waits
    /// for the next one. Cancel safety: a stream that is no longer waited for is reset.
    pub async fn open(&self, what: &Open) -> Result<Stream, Refused> {
        let id = self.shared.with(|state| state.mux.open(what));
        let stream = Stream::new(self.shared.clone(), id);
        poll_fn(|context| {
            let mut state = self.shared.lock();
            match state.mux.answer(id) {
                Some(answer) => Poll::Ready(answer),
                None => {
                    state.wakers.entry(id).or_default().answer = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await?;
        Ok(stream)
    }

    /// How the link is doing, now and from now on.
    pub fn status(&self) -> watch::Receiver<LinkState> {
        self.shared.status.subscribe()
    }

    /// Ends the link for good: the peer is told, streams of both ends fail with `why`.
    pub fn end(&self, why: &Refused) {
        self.shared.with(|state| state.mux.end(why));
    }

    /// Resets all present streams at both ends; new ones can be opened.
    pub fn reset_streams(&self, why: &Refused) {
        self.shared.with(|state| state.mux.reset_all(why));
    }

    /// Tells whether both are ends of the same link, on the same side.
    pub fn is_same(&self, other: &Link) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many streams there are, of both ends.
    pub fn streams(&self) -> usize {
        self.shared.lock().mux.streams()
    }
}

/// What the peer asks for, in its order.
#[derive(Debug)]
pub struct IncomingQueue {
    receiver: mpsc::UnboundedReceiver<(u32, Open)>,
    shared: Arc<Shared>,
}

impl IncomingQueue {
    /// The next one. Cancel safe. Waits for ever once the link has ended.
    pub async fn next(&mut self) -> Incoming {
        match self.receiver.recv().await {
            Some((id, what)) => Incoming { what, stream: Stream::new(self.shared.clone(), id) },
            None => std::future::pending().await, // the sender lives as long as `shared`
        }
    }
}

impl Incoming {
    /// Accepts it.
    pub fn accept(self) -> Stream {
        self.stream.shared.with(|state| state.mux.accept(self.stream.id));
        self.stream
    }

    /// Refuses it; dropping does the same with [`Reason::Cancelled`](crate::Reason::Cancelled).
    pub fn refuse(self, why: &Refused) {
        self.stream.shared.with(|state| state.mux.refuse(self.stream.id, why));
    }
}

impl Shared {
    fn now(&self) -> Moment {
        self.begin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the state machine, and tells everybody what came of it.
    fn with<R>(&self, deed: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = deed(&mut state);
        self.dispatch(&mut state);
        drop(state);
        self.send.notify_one();
        result
    }

    fn dispatch(&self, state: &mut State) {
        while let Some(event) = state.mux.next_event() {
            let (id, which): (u32, fn(&mut Wakers) -> &mut Option<Waker>) = match event {
                Event::Opened(id, what) => {
                    let _ = state.incoming.send((id, what)); // nobody listens any more: the link is being dropped
                    continue;
                }
                Event::Ended(why) => {
                    self.status.send_replace(LinkState::Ended(why));
                    continue;
                }
                Event::Answered(id) => (id, |wakers| &mut wakers.answer),
                Event::Readable(id) => (id, |wakers| &mut wakers.read),
                Event::Writable(id) => (id, |wakers| &mut wakers.write),
            };
            if let Some(waker) = state.wakers.get_mut(&id).and_then(|wakers| which(wakers).take()) {
                waker.wake();
            }
        }
    }
}
