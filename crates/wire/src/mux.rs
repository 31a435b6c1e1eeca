//! One end of a link as a state machine: no I/O, no clock, no tasks.
//!
//! Whoever drives it hands in the frames which arrived and the present [`Moment`], and takes out
//! frames to send and [`Event`]s. Streams are flow-controlled by credit ([`stream`]); all frames
//! but a few are counted and kept until the peer has acknowledged them ([`outgoing`]), so that
//! nothing is lost or doubled when one carrier follows another; and the [`limiter`] keeps the
//! queues between both ends short.
//!
//! Streams which the laptop opens have odd numbers, those of the cluster even ones.

mod incoming;
mod limiter;
mod outgoing;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::frame::{Frame, Kind};
use crate::message::{Open, Reason, Refused};
use outgoing::Outgoing;
pub use settings::Settings;
pub use stream::Read;
use stream::StreamState;

/// Time since the link began; only differences count.
pub type Moment = Duration;

/// Which end of the link this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `ktctl`.
    Laptop,
    /// The shadow.
    Cluster,
}

/// What happened, for whoever waits for it.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer asks for a stream: answer with [`Mux::accept`] or [`Mux::refuse`].
    Opened(u32, Open),
    /// The peer has answered our [`Mux::open`]; a refusal is returned by every later call.
    Answered(u32),
    /// [`Mux::read`] or [`Mux::receive_datagram`] may have something new to say.
    Readable(u32),
    /// [`Mux::write`] may take more, or the stream has ended.
    Writable(u32),
    /// The link has ended for good.
    Ended(Refused),
}

/// The peer broke the protocol; the link can not go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol error: {0}")]
pub struct Violation(pub &'static str);

/// One end of a link.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    settings: Settings,
    streams: HashMap<u32, StreamState>,
    next_stream: u32,
    /// Streams which have something to send and credit for it, in the order of their turns.
    turns: VecDeque<u32>,
    out: Outgoing,
    /// How much of the peer's counted frames has arrived, and what of it was acknowledged.
    received: u64,
    acknowledged: u64,
    /// The sum of all receive windows.
    windows: u64,
    events: VecDeque<Event>,
    ended: Option<Refused>,
    heard: Moment,
    pinged: Moment,
}

impl Mux {
    /// Makes one end of a new link. It sends nothing before [`carrier_up`](Mux::carrier_up).
    pub fn new(side: Side, settings: Settings) -> Mux {
        Mux {
            side,
            out: Outgoing::new(&settings),
            settings,
            streams: HashMap::new(),
            next_stream: if side == Side::Laptop { 1 } else { 2 },
            turns: VecDeque::new(),
            received: 0,
            acknowledged: 0,
            windows: 0,
            events: VecDeque::new(),
            ended: None,
            heard: Moment::ZERO,
            pinged: Moment::ZERO,
        }
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The link offset up to which frames of the peer have arrived: what a resume tells the peer.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Tells whether something other than data waits to be sent.
    pub fn has_control(&self) -> bool {
        self.out.has_control()
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    // --- streams -------------------------------------------------------------------------

    /// Asks the peer for a stream; [`Event::Answered`] follows. Does *not* fail when the link has
    /// ended: the stream then is refused from its beginning.
    pub fn open(&mut self, what: &Open) -> u32 {
        let id = self.next_stream;
        self.next_stream += 2;
        let mut stream = StreamState::new(&self.settings);
        stream.ended = self.ended.clone();
        if self.ended.is_none() {
            self.out.queue(Frame::new(Kind::Open, id, what.encode()));
        }
        self.windows += stream.window();
        self.streams.insert(id, stream);
        id
    }

    /// Tells whether a stream that was opened is answered, and how.
    pub fn answer(&self, id: u32) -> Option<Result<(), Refused>> {
        let stream = self.streams.get(&id)?;
        match &stream.ended {
            // It may have been opened, used and ended before anybody looked.
            _ if stream.open => Some(Ok(())),
            Some(refused) => Some(Err(refused.clone())),
            None => None,
        }
    }

    /// Accepts a stream of the peer.
    pub fn accept(&mut self, id: u32) {
        if let Some(stream) =
            self.streams.get_mut(&id).filter(|stream| stream.ended.is_none() && !stream.open)
        {
            stream.open = true;
            self.out.queue(Frame::new(Kind::OpenOk, id, Bytes::new()));
        }
    }

    /// Refuses a stream of the peer, and forgets it.
    pub fn refuse(&mut self, id: u32, why: &Refused) {
        if self.forget(id).is_some_and(|stream| stream.ended.is_none()) {
            self.out.queue(Frame::new(Kind::OpenErr, id, why.encode()));
        }
    }

    /// Takes bytes to send, as many as the stream's buffer has room for; 0 means: wait for
    /// [`Event::Writable`].
    pub fn write(&mut self, id: u32, data: &[u8]) -> Result<usize, Refused> {
        let room = self.settings.send_buffer;
        let stream = self.streams.get_mut(&id).ok_or(Reason::Cancelled)?;
        let taken = stream.write(data, room)?;
        self.schedule(id);
        Ok(taken)
    }

    /// Says that no more bytes follow.
    pub fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.finish();
            self.schedule(id);
        }
    }

    /// Tells whether everything written, and the end, was handed out to be sent.
    pub fn is_flushed(&self, id: u32) -> bool {
        self.streams.get(&id).is_none_or(|stream| stream.ended.is_some() || stream.is_flushed())
    }

    /// Takes up to `most` bytes which have arrived.
    pub fn read(&mut self, id: u32, most: usize, now: Moment) -> Read {
        let rtt = self.out.rtt();
        let Some(stream) = self.streams.get_mut(&id) else { return Read::Failed(Reason::Cancelled.into()) };
        let read = stream.read(most);
        if let Read::Data(data) = &read {
            let spare = self.settings.window_total.saturating_sub(self.windows);
            let grown = stream.consumed(data.len(), rtt, spare, now);
            self.windows += grown;
            if stream.wants_window_sent() {
                self.out.queue_window(id, &mut stream.window_queued);
            }
        }
        read
    }

    /// Sends a datagram that belongs to a stream, or drops it when too many wait.
    pub fn send_datagram(&mut self, id: u32, data: Bytes) {
        if self.streams.get(&id).is_some_and(|stream| stream.ended.is_none()) {
            self.out.queue_datagram(Frame::new(Kind::Dgram, id, data));
        }
    }

    /// Takes a datagram which has arrived; `Some(Err)` when no more can come.
    pub fn receive_datagram(&mut self, id: u32) -> Option<Result<Bytes, Refused>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Some(Err(Reason::Cancelled.into())) };
        stream.receive_datagram()
    }

    /// Ends a stream at once, and forgets it.
    pub fn reset(&mut self, id: u32, why: &Refused) {
        if self.forget(id).is_some_and(|stream| stream.ended.is_none()) {
            self.out.queue(Frame::new(Kind::Rst, id, why.encode()));
        }
    }

    /// Lets go of a stream. What was written and finished is still sent; a stream that was not
    /// finished by both ends is reset.
    pub fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.released = true;
        if stream.ended.is_some() || stream.is_over() {
            self.forget(id);
        } else if !stream.may_linger() {
            self.reset(id, &Reason::Cancelled.into());
        }
    }

    fn forget(&mut self, id: u32) -> Option<StreamState> {
        let stream = self.streams.remove(&id)?;
        self.windows -= stream.window();
        Some(stream)
    }

    fn schedule(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.has_turn()) {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    // --- carriers and time ---------------------------------------------------------------

    /// Goes on over a new carrier, from where the peer says it had got to.
    pub fn carrier_up(&mut self, peer_received: u64, now: Moment) -> Result<(), Violation> {
        self.heard = now;
        self.acknowledged = self.received; // the peer was told while the carrier was taken into use
        self.out.resume(peer_received, now)?;
        self.ping(now);
        Ok(())
    }

    /// The carrier is gone: nothing is sent until the next one is up.
    pub fn carrier_down(&mut self) {
        self.out.pause();
    }

    /// Something arrived over the carrier.
    pub fn heard(&mut self, now: Moment) {
        self.heard = now;
    }

    /// When something last arrived, or a carrier was last taken into use.
    pub fn last_heard(&self) -> Moment {
        self.heard
    }

    /// Tells whether the carrier counts as dead, as nothing was heard for too long.
    pub fn is_dead(&self, now: Moment) -> bool {
        self.out.is_up() && now.saturating_sub(self.heard) >= self.settings.dead_after
    }

    /// Does what is due by the clock; to be called about every [`Settings::ping_every`] / 5.
    pub fn tick(&mut self, now: Moment) {
        if self.out.is_up() && now.saturating_sub(self.pinged) >= self.settings.ping_every {
            self.ping(now);
        }
    }

    /// Keeps the round-trip time known while there is traffic.
    fn ping_when_busy(&mut self, now: Moment) {
        if now.saturating_sub(self.pinged) >= self.settings.ping_busy {
            self.ping(now);
        }
    }

    fn ping(&mut self, now: Moment) {
        self.pinged = now;
        self.out.queue_fleeting(Frame::new(Kind::Ping, 0, Bytes::copy_from_slice(&stamp(now))));
    }

    /// Ends the link for good: every stream fails with `why`, and the peer is told.
    pub fn end(&mut self, why: &Refused) {
        if self.ended.is_none() {
            self.out.queue(Frame::new(Kind::Goaway, 0, why.encode()));
            self.end_all(why);
        }
    }

    fn end_all(&mut self, why: &Refused) {
        self.ended = Some(why.clone());
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.end_stream(id, why.clone());
        }
        self.events.push_back(Event::Ended(why.clone()));
    }

    /// Resets every stream, but leaves the link as it is: what happens to old streams when a
    /// laptop was away for too long.
    pub fn reset_all(&mut self, why: &Refused) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            if self.streams.get(&id).is_some_and(|stream| stream.ended.is_none()) {
                self.out.queue(Frame::new(Kind::Rst, id, why.encode()));
                self.end_stream(id, why.clone());
            }
        }
    }

    fn end_stream(&mut self, id: u32, why: Refused) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.end(why);
        if stream.released {
            self.forget(id);
            return;
        }
        self.events.extend([Event::Answered(id), Event::Readable(id), Event::Writable(id)]);
    }

    /// The next frame to send, or `None`: nothing to say, no carrier, or enough is on its way.
    pub fn next_frame(&mut self, now: Moment) -> Option<Frame> {
        if let Some(frame) = self.next_control(now) {
            return Some(frame);
        }
        while self.out.may_send_data() {
            let id = self.turns.pop_front()?;
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.queued = false;
            let was_full = stream.is_full(self.settings.send_buffer);
            let Some((kind, payload)) = stream.next_payload() else { continue };
            let is_full = stream.is_full(self.settings.send_buffer);
            let is_over = stream.released && stream.is_over();
            if (was_full && !is_full) || kind == Kind::Fin {
                self.events.push_back(Event::Writable(id));
            }
            match is_over {
                true => drop(self.forget(id)),
                false => self.schedule(id),
            }
            self.ping_when_busy(now);
            return Some(self.out.send(Frame { kind, stream: id, payload }, now));
        }
        None
    }

    fn next_control(&mut self, now: Moment) -> Option<Frame> {
        if self.out.is_up() && self.received - self.acknowledged >= self.settings.acknowledge_every {
            self.acknowledged = self.received;
            return Some(Frame::new(Kind::Cack, 0, Bytes::copy_from_slice(&self.received.to_be_bytes())));
        }
        let streams = &mut self.streams;
        self.out.next_control(now, |id| {
            let stream = streams.get_mut(&id)?;
            stream.window_queued = false;
            Some(stream.advertise())
        })
    }
}

/// A moment as the payload of a ping.
fn stamp(now: Moment) -> [u8; 8] {
    (now.as_micros() as u64).to_be_bytes()
}
