//! One carrier's life: frames out, frames in, until it breaks.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Carrier, LinkState, Shared};
use crate::frame::Frame;
use crate::message::{Reason, Refused};

/// Frames are gathered to about so many bytes before they are written: one message of the carrier.
const BATCH: usize = 64 * 1024;

impl Shared {
    /// Uses a carrier until it breaks, is dead, is replaced, or the link ends; returns why.
    ///
    /// Cancel safety: dropping it takes the carrier away, the link goes on with the next one.
    pub(super) async fn carry(self: &Arc<Shared>, carrier: impl Carrier, peer_received: u64) -> io::Error {
        let number = match self.begin_carrier(peer_received) {
            Ok(number) => number,
            Err(error) => return error,
        };
        let guard = CarrierGuard { shared: self, number };
        let (reader, writer) = tokio::io::split(carrier);
        let mut tasks = JoinSet::new(); // both end with this future
        tasks.spawn(self.clone().read_frames(number, reader));
        tasks.spawn(self.clone().write_frames(number, writer));
        let error = tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(Ok(error)) => error,
                _ => io::Error::other("the carrier's task failed"),
            },
            error = self.watch_carrier(number) => error,
        };
        guard.lost(&error);
        error
    }

    fn begin_carrier(&self, peer_received: u64) -> io::Result<u64> {
        let now = self.now();
        let number = {
            let mut state = self.lock();
            state.mux.carrier_up(peer_received, now).map_err(io::Error::other)?;
            state.carrier += 1;
            state.carrier
        };
        self.replaced.notify_waiters();
        self.send.notify_one();
        self.set_status(LinkState::Up);
        Ok(number)
    }

    /// Has nothing more come in or go out over the present carrier, from now on. The link is down
    /// when what is returned is dropped before the next carrier is there.
    pub(super) fn abandon_carrier(self: &Arc<Shared>) -> CarrierGuard<'_> {
        let mut state = self.lock();
        state.carrier += 1;
        state.mux.carrier_down();
        let number = state.carrier;
        drop(state);
        self.replaced.notify_waiters();
        CarrierGuard { shared: self, number }
    }

    fn set_status(&self, status: LinkState) {
        self.status.send_if_modified(|present| {
            let changes = !matches!(present, LinkState::Ended(_)) && *present != status;
            if changes {
                *present = status;
            }
            changes
        });
    }

    async fn read_frames(self: Arc<Shared>, number: u64, mut reader: impl AsyncRead + Unpin) -> io::Error {
        let mut input = BytesMut::new();
        loop {
            input.reserve(BATCH);
            match reader.read_buf(&mut input).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
            if let Err(error) = self.take_frames(number, &mut input) {
                return error;
            }
        }
    }

    fn take_frames(&self, number: u64, input: &mut BytesMut) -> io::Result<()> {
        let now = self.now();
        let mut state = self.lock();
        if state.carrier != number {
            return Err(replaced());
        }
        state.mux.heard(now);
        let mut result = Ok(());
        while let Some(frame) = Frame::decode(input).map_err(io::Error::other)? {
            if let Err(violation) = state.mux.receive(frame, now) {
                let why = Refused { reason: Reason::LinkLost, text: violation.to_string() };
                state.mux.end(&why);
                result = Err(io::Error::other(violation));
                break;
            }
        }
        self.dispatch(&mut state);
        drop(state);
        self.send.notify_one();
        result
    }

    async fn write_frames(self: Arc<Shared>, number: u64, mut writer: impl AsyncWrite + Unpin) -> io::Error {
        let mut batch = BytesMut::with_capacity(2 * BATCH);
        loop {
            if let Err(error) = self.gather_frames(number, &mut batch) {
                return error;
            }
            let written = match batch.is_empty() {
                true => writer.flush().await,
                false => writer.write_all(&batch).await,
            };
            if let Err(error) = written {
                return error;
            }
            if batch.is_empty() {
                self.send.notified().await;
            }
            batch.clear();
        }
    }

    fn gather_frames(&self, number: u64, batch: &mut BytesMut) -> io::Result<()> {
        let now = self.now();
        let mut state = self.lock();
        if state.carrier != number {
            return Err(replaced());
        }
        while batch.len() < BATCH {
            let Some(frame) = state.mux.next_frame(now) else { break };
            frame.encode(batch);
        }
        self.dispatch(&mut state);
        Ok(())
    }

    /// Sees to pings; ends when the carrier is dead or another one has taken over.
    async fn watch_carrier(&self, number: u64) -> io::Error {
        let mut ticks = interval(self.settings.ping_every / 5);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.replaced.notified();
            if self.lock().carrier != number {
                return replaced();
            }
            tokio::select! {
                () = next => continue,
                _ = ticks.tick() => {}
            }
            let now = self.now();
            let dead = self.with(|state| {
                state.mux.tick(now);
                state.mux.is_dead(now)
            });
            if dead {
                return io::Error::new(io::ErrorKind::TimedOut, "no sign of life from the other end");
            }
        }
    }
}

fn replaced() -> io::Error {
    io::Error::other("replaced by another connection")
}

/// Takes the link down when its carrier goes, also when that is dropped half-way.
pub(super) struct CarrierGuard<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
}

impl CarrierGuard<'_> {
    /// The next carrier is about to be used, and sees to the rest.
    pub(super) fn disarm(mut self) {
        self.number = 0; // the first carrier has 1
    }

    fn lost(&self, why: &io::Error) {
        self.down(&why.to_string());
    }

    fn down(&self, why: &str) {
        let mut state = self.shared.lock();
        if state.carrier != self.number {
            return;
        }
        state.carrier += 1; // says it once
        state.mux.carrier_down();
        let last_heard = self.shared.begin + state.mux.last_heard();
        drop(state);
        self.shared.set_status(LinkState::Down(last_heard, why.into()));
    }
}

impl Drop for CarrierGuard<'_> {
    fn drop(&mut self) {
        self.down("disconnected");
    }
}
