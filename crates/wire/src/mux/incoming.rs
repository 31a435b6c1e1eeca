//! What arrives from the peer.

use bytes::{Buf, Bytes};

use super::stream::StreamState;
use super::{Event, Moment, Mux, Side, Violation};
use crate::frame::{Frame, Kind};
use crate::message::{Open, Reason, Refused};

impl Mux {
    /// Takes a frame of the peer. After an error the link can not go on.
    pub fn receive(&mut self, frame: Frame, now: Moment) -> Result<(), Violation> {
        if frame.kind.is_kept() {
            self.received += frame.size() as u64;
        }
        let id = frame.stream;
        match frame.kind {
            Kind::Hello => return Err(Violation("a second hello")),
            Kind::Open => self.peer_opens(id, &frame.payload)?,
            Kind::OpenOk => self.peer_accepts(id),
            Kind::OpenErr | Kind::Rst => self.end_stream(id, Refused::decode(&frame.payload)),
            Kind::Data => self.data_arrives(id, frame.payload)?,
            Kind::Window => {
                let limit = number(&frame.payload)?;
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.allow(limit);
                    self.schedule(id);
                }
            }
            Kind::Fin => self.peer_finishes(id),
            Kind::Dgram => {
                if self.streams.get_mut(&id).is_some_and(|stream| stream.datagram_arrived(frame.payload)) {
                    self.events.push_back(Event::Readable(id));
                }
            }
            Kind::Ping => self.out.queue_fleeting(Frame::new(Kind::Pong, 0, frame.payload)),
            Kind::Pong => {
                let sent = Moment::from_micros(number(&frame.payload)?);
                self.out.measured(now.saturating_sub(sent), now);
            }
            Kind::Cack => self.out.acknowledge(number(&frame.payload)?, now)?,
            Kind::Goaway => {
                if self.ended.is_none() {
                    self.end_all(&Refused::decode(&frame.payload));
                }
            }
        }
        Ok(())
    }

    fn peer_opens(&mut self, id: u32, payload: &[u8]) -> Result<(), Violation> {
        let of_laptop = id % 2 == 1;
        if id == 0 || of_laptop == (self.side == Side::Laptop) || self.streams.contains_key(&id) {
            return Err(Violation("a stream number which is not the peer's to give"));
        }
        let what = Open::decode(payload);
        let refused = match &what {
            _ if self.ended.is_some() => Some(Reason::LinkLost),
            _ if self.streams.len() >= self.settings.streams_most => Some(Reason::Busy),
            Err(_) => Some(Reason::Unsupported),
            Ok(_) => None,
        };
        match (refused, what) {
            (None, Ok(what)) => {
                let stream = StreamState::new(&self.settings);
                self.windows += stream.window();
                self.streams.insert(id, stream);
                self.events.push_back(Event::Opened(id, what));
            }
            (reason, _) => {
                let why: Refused = reason.unwrap_or(Reason::Other).into();
                self.out.queue(Frame::new(Kind::OpenErr, id, why.encode()));
            }
        }
        Ok(())
    }

    fn peer_accepts(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.open = true;
            self.events.push_back(Event::Answered(id));
        }
    }

    fn data_arrives(&mut self, id: u32, data: Bytes) -> Result<(), Violation> {
        // A stream which we do not know has been reset by us; the peer will hear of it.
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.arrived(data)?;
        self.events.push_back(Event::Readable(id));
        Ok(())
    }

    fn peer_finishes(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.finished();
        self.events.push_back(Event::Readable(id));
        if stream.released && stream.is_over() {
            self.forget(id);
        }
    }
}

fn number(mut payload: &[u8]) -> Result<u64, Violation> {
    payload.try_get_u64().map_err(|_| Violation("a number is missing"))
}
