//! One stream at one end: what waits to be sent, what has arrived, and the credit of both.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Moment, Settings, Violation};
use crate::frame::{CHUNK, Kind};
use crate::message::{Reason, Refused};

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes, at least one.
    Data(Bytes),
    /// Nothing yet.
    Wait,
    /// The peer has finished.
    End,
    /// The stream has ended early.
    Failed(Refused),
}

#[derive(Debug)]
pub(super) struct StreamState {
    /// Both ends have agreed on the stream.
    pub(super) open: bool,
    /// Reset, refused, or the link has ended.
    pub(super) ended: Option<Refused>,
    /// The application has let go of it.
    pub(super) released: bool,
    /// It waits for its turn to send.
    pub(super) queued: bool,
    /// It waits for its turn to tell its credit.
    pub(super) window_queued: bool,
    sending: Sending,
    receiving: Receiving,
    datagrams: VecDeque<Bytes>,
    datagrams_most: usize,
}

#[derive(Debug)]
struct Sending {
    waiting: VecDeque<Bytes>,
    length: usize,
    offset: u64,
    limit: u64,
    finish: Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    No,
    Wanted,
    Sent,
}

#[derive(Debug)]
struct Receiving {
    arrived: VecDeque<Bytes>,
    offset: u64,
    consumed: u64,
    advertised: u64,
    finished: bool,
    window: u64,
    window_most: u64,
    /// When and where the present measurement of the reader's speed began.
    since: Moment,
    since_consumed: u64,
}

impl StreamState {
    pub(super) fn new(settings: &Settings) -> StreamState {
        StreamState {
            open: false,
            ended: None,
            released: false,
            queued: false,
            window_queued: false,
            sending: Sending {
                waiting: VecDeque::new(),
                length: 0,
                offset: 0,
                limit: settings.first_window,
                finish: Finish::No,
            },
            receiving: Receiving {
                arrived: VecDeque::new(),
                offset: 0,
                consumed: 0,
                advertised: settings.first_window,
                finished: false,
                window: settings.first_window,
                window_most: settings.window_most,
                since: Moment::ZERO,
                since_consumed: 0,
            },
            datagrams: VecDeque::new(),
            datagrams_most: settings.datagrams_most,
        }
    }

    pub(super) fn end(&mut self, why: Refused) {
        self.ended = Some(why);
        self.sending.waiting.clear();
        self.sending.length = 0;
    }

    /// Both directions are finished, and nothing is left to be sent.
    pub(super) fn is_over(&self) -> bool {
        self.sending.finish == Finish::Sent && self.receiving.finished
    }

    /// Nobody holds the stream any more, but what was written may still go out.
    pub(super) fn may_linger(&self) -> bool {
        self.sending.finish != Finish::No && self.receiving.finished
    }

    // --- sending -------------------------------------------------------------------------

    pub(super) fn write(&mut self, data: &[u8], room: usize) -> Result<usize, Refused> {
        if let Some(why) = &self.ended {
            return Err(why.clone());
        }
        if self.sending.finish != Finish::No {
            return Err(Reason::Cancelled.into());
        }
        let taken = data.len().min(room.saturating_sub(self.sending.length));
        for chunk in data[..taken].chunks(CHUNK) {
            self.sending.waiting.push_back(Bytes::copy_from_slice(chunk));
        }
        self.sending.length += taken;
        Ok(taken)
    }

    pub(super) fn is_full(&self, room: usize) -> bool {
        self.sending.length >= room
    }

    pub(super) fn finish(&mut self) {
        if self.sending.finish == Finish::No {
            self.sending.finish = Finish::Wanted;
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.sending.length == 0 && self.sending.finish != Finish::Wanted
    }

    /// Tells whether it should be put in line for sending.
    pub(super) fn has_turn(&self) -> bool {
        let sending = &self.sending;
        let data = sending.length > 0 && sending.limit > sending.offset;
        let fin = sending.length == 0 && sending.finish == Finish::Wanted;
        !self.queued && self.ended.is_none() && (data || fin)
    }

    /// Takes the next thing to send, within the credit.
    pub(super) fn next_payload(&mut self) -> Option<(Kind, Bytes)> {
        let sending = &mut self.sending;
        let Some(first) = sending.waiting.front_mut() else {
            if sending.finish != Finish::Wanted {
                return None;
            }
            sending.finish = Finish::Sent;
            return Some((Kind::Fin, Bytes::new()));
        };
        let credit = (sending.limit - sending.offset).min(CHUNK as u64) as usize;
        if credit == 0 {
            return None;
        }
        let payload = match first.len() <= credit {
            true => sending.waiting.pop_front()?,
            false => first.split_to(credit),
        };
        sending.length -= payload.len();
        sending.offset += payload.len() as u64;
        Some((Kind::Data, payload))
    }

    /// The peer allows us to send up to this offset.
    pub(super) fn allow(&mut self, limit: u64) {
        self.sending.limit = self.sending.limit.max(limit);
    }

    // --- receiving -----------------------------------------------------------------------

    pub(super) fn arrived(&mut self, data: Bytes) -> Result<(), Violation> {
        let receiving = &mut self.receiving;
        if receiving.finished {
            return Err(Violation("data after the end of a stream"));
        }
        let unread = receiving.offset - receiving.consumed;
        receiving.offset += data.len() as u64;
        if receiving.offset > receiving.advertised {
            return Err(Violation("more data than credit"));
        }
        if !data.is_empty() && !self.released {
            // What has to wait gets memory of its own: else each part would keep the whole buffer in
            // which it came, with the parts of other streams.
            let waits = unread > 0;
            receiving.arrived.push_back(if waits { Bytes::copy_from_slice(&data) } else { data });
        }
        Ok(())
    }

    pub(super) fn finished(&mut self) {
        self.receiving.finished = true;
    }

    pub(super) fn read(&mut self, most: usize) -> Read {
        if let Some(first) = self.receiving.arrived.front_mut() {
            let data = match first.len() <= most {
                true => self.receiving.arrived.pop_front().unwrap_or_default(),
                false => first.split_to(most),
            };
            return Read::Data(data);
        }
        match (&self.ended, self.receiving.finished) {
            (_, true) => Read::End,
            (Some(why), false) => Read::Failed(why.clone()),
            (None, false) => Read::Wait,
        }
    }

    /// Notes that the application took bytes. A reader which uses up half of its window within two
    /// round trips could take more: its window doubles, as far as `spare` allows. Returns by how
    /// much the window grew.
    pub(super) fn consumed(&mut self, length: usize, rtt: Option<Moment>, spare: u64, now: Moment) -> u64 {
        let receiving = &mut self.receiving;
        receiving.consumed += length as u64;
        if receiving.consumed - receiving.since_consumed < receiving.window / 2 {
            return 0;
        }
        let took = now.saturating_sub(receiving.since);
        (receiving.since, receiving.since_consumed) = (now, receiving.consumed);
        let grow = receiving.window.min(spare).min(receiving.window_most - receiving.window);
        match rtt {
            Some(rtt) if took <= rtt * 2 => {
                receiving.window += grow;
                grow
            }
            _ => 0,
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.receiving.window
    }

    /// Tells whether the peer should hear of new credit.
    pub(super) fn wants_window_sent(&self) -> bool {
        let receiving = &self.receiving;
        let news = receiving.consumed + receiving.window - receiving.advertised;
        !receiving.finished && self.ended.is_none() && news >= receiving.window / 4
    }

    /// The offset up to which the peer may send from now on.
    pub(super) fn advertise(&mut self) -> u64 {
        self.receiving.advertised =
            self.receiving.advertised.max(self.receiving.consumed + self.receiving.window);
        self.receiving.advertised
    }

    // --- datagrams -----------------------------------------------------------------------

    pub(super) fn datagram_arrived(&mut self, data: Bytes) -> bool {
        let room = self.datagrams.len() < self.datagrams_most && !self.released;
        if room {
            self.datagrams.push_back(data);
        }
        room
    }

    pub(super) fn receive_datagram(&mut self) -> Option<Result<Bytes, Refused>> {
        if let Some(data) = self.datagrams.pop_front() {
            return Some(Ok(data));
        }
        match &self.ended {
            Some(why) => Some(Err(why.clone())),
            None => self.receiving.finished.then(|| Err(Reason::Cancelled.into())),
        }
    }
}
