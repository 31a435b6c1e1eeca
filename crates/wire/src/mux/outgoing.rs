//! What is to be sent, and what was sent but is not yet acknowledged.
//!
//! Counted frames (see [`Kind::is_kept`]) form one sequence of bytes over the whole life of the
//! link. A receiver counts whole frames only, so both ends agree on where to go on: the sender
//! keeps what lies behind the peer's offset and sends it again over the next carrier. The payloads
//! are shared, not copied, and the limiter bounds how much there can be.

use std::collections::VecDeque;

use super::limiter::Limiter;
use super::{Moment, Settings, Violation};
use crate::frame::{Frame, Kind};
use bytes::Bytes;

/// A counted frame and where it ends in the link's sequence.
#[derive(Debug)]
struct Kept {
    end: u64,
    frame: Frame,
}

/// A frame to be sent before all data.
#[derive(Debug)]
enum Control {
    Frame(Frame),
    /// Credit for a stream, as much as there is when its turn comes.
    Window(u32),
}

#[derive(Debug)]
pub(super) struct Outgoing {
    up: bool,
    /// Not counted, worth nothing on another carrier.
    fleeting: VecDeque<Frame>,
    control: VecDeque<Control>,
    datagrams: VecDeque<Frame>,
    datagrams_most: usize,
    kept: VecDeque<Kept>,
    /// How many of `kept` this carrier has taken.
    handed: usize,
    /// The link offsets up to which frames were made, handed to this carrier, and acknowledged.
    made: u64,
    sent: u64,
    acknowledged: u64,
    limiter: Limiter,
}

impl Outgoing {
    pub(super) fn new(settings: &Settings) -> Outgoing {
        Outgoing {
            up: false,
            fleeting: VecDeque::new(),
            control: VecDeque::new(),
            datagrams: VecDeque::new(),
            datagrams_most: settings.datagrams_most,
            kept: VecDeque::new(),
            handed: 0,
            made: 0,
            sent: 0,
            acknowledged: 0,
            limiter: Limiter::new(settings.in_flight),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// The least time that an answer of the peer took, if one is known.
    pub(super) fn rtt(&self) -> Option<Moment> {
        self.limiter.rtt()
    }

    pub(super) fn queue(&mut self, frame: Frame) {
        self.control.push_back(Control::Frame(frame));
    }

    pub(super) fn queue_window(&mut self, id: u32, queued: &mut bool) {
        if !*queued {
            *queued = true;
            self.control.push_back(Control::Window(id));
        }
    }

    pub(super) fn queue_fleeting(&mut self, frame: Frame) {
        if self.up && self.fleeting.len() < self.datagrams_most {
            self.fleeting.push_back(frame);
        }
    }

    pub(super) fn queue_datagram(&mut self, frame: Frame) {
        if self.up && self.datagrams.len() < self.datagrams_most {
            self.datagrams.push_back(frame);
        }
    }

    /// Begins on a new carrier with what the peer has not got.
    pub(super) fn resume(&mut self, peer_received: u64, now: Moment) -> Result<(), Violation> {
        if peer_received > self.made {
            return Err(Violation("more received than was ever sent"));
        }
        self.drop_kept(peer_received)?;
        self.up = true;
        self.handed = 0;
        self.sent = self.acknowledged;
        self.limiter.restart(self.acknowledged, now);
        Ok(())
    }

    pub(super) fn pause(&mut self) {
        self.up = false;
        self.fleeting.clear();
        self.datagrams.clear();
    }

    /// The peer has received everything up to this link offset.
    pub(super) fn acknowledge(&mut self, received: u64, now: Moment) -> Result<(), Violation> {
        if received > self.sent {
            return Err(Violation("more acknowledged than was sent"));
        }
        if received > self.acknowledged {
            self.drop_kept(received)?;
            self.limiter.acknowledged(received, now);
        }
        Ok(())
    }

    pub(super) fn measured(&mut self, rtt: Moment, now: Moment) {
        self.limiter.measured(rtt, now);
    }

    fn drop_kept(&mut self, received: u64) -> Result<(), Violation> {
        while self.kept.front().is_some_and(|kept| kept.end <= received) {
            self.kept.pop_front();
            self.handed = self.handed.saturating_sub(1);
        }
        let begin = self.kept.front().map_or(self.made, |kept| kept.end - kept.frame.size() as u64);
        if begin != received.max(self.acknowledged) {
            return Err(Violation("an offset within a frame"));
        }
        self.acknowledged = begin;
        Ok(())
    }

    pub(super) fn may_send_data(&self) -> bool {
        self.up && self.limiter.allows(self.sent - self.acknowledged)
    }

    /// The next frame that goes before data. `window` tells a stream's credit.
    pub(super) fn next_control(
        &mut self,
        now: Moment,
        mut window: impl FnMut(u32) -> Option<u64>,
    ) -> Option<Frame> {
        if !self.up {
            return None;
        }
        if let Some(frame) = self.fleeting.pop_front() {
            return Some(frame);
        }
        if let Some(kept) = self.kept.get(self.handed) {
            // Sent before over a carrier that died.
            self.handed += 1;
            self.sent = kept.end;
            self.limiter.sent(kept.end, true, now);
            return Some(kept.frame.clone());
        }
        while let Some(control) = self.control.pop_front() {
            let frame = match control {
                Control::Frame(frame) => frame,
                Control::Window(id) => {
                    let Some(limit) = window(id) else { continue };
                    Frame::new(Kind::Window, id, Bytes::copy_from_slice(&limit.to_be_bytes()))
                }
            };
            return Some(self.send(frame, now));
        }
        self.datagrams.pop_front()
    }

    /// Counts and keeps a frame that goes out now.
    pub(super) fn send(&mut self, frame: Frame, now: Moment) -> Frame {
        let full = !self.limiter.allows(self.sent + frame.size() as u64 - self.acknowledged);
        self.made += frame.size() as u64;
        self.sent = self.made;
        self.kept.push_back(Kept { end: self.made, frame: frame.clone() });
        self.handed = self.kept.len();
        self.limiter.sent(self.made, full, now);
        frame
    }
}
