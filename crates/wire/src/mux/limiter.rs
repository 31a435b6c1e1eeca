//! How much may be on its way: about what the path holds, so that the queues of API server,
//! kubelet and sockets stay short and a small request is not stuck behind a download.
//!
//! Modelled on BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016): the most
//! that was delivered per second times the least round-trip time, with room to grow.

use std::collections::VecDeque;

use super::Moment;

/// Allowed beyond the measured product, so that the rate can be seen to rise.
const GAIN: f64 = 2.0;
const SPARE: f64 = 96.0 * 1024.0;
/// And what is delivered in this time, in seconds: programs along a short path wait for a processor
/// longer than the shortest round trip tells.
const SCHEDULING: f64 = 0.010;

/// A rate counts for one to two of these, whichever is longer: so many round trips, or this time.
const RATE_ROUNDS: u32 = 10;
const RATE_LEAST: Moment = Moment::from_secs(1);

/// After so long without a shorter round trip the queue is let run empty once, to measure again:
/// what we keep on its way makes round trips longer.
const PROBE_AFTER: Moment = Moment::from_secs(30);
const PROBE_FOR: Moment = Moment::from_millis(200);

/// One mark stands for so many bytes.
const MARK_EVERY: u64 = 32 * 1024;

/// What was known when the bytes from `begin` to `end` were sent.
#[derive(Debug)]
struct Mark {
    begin: u64,
    end: u64,
    sent_at: Moment,
    /// When that was sent which was delivered last.
    delivered_sent_at: Moment,
    delivered: u64,
    delivered_at: Moment,
    /// The sender would have sent more if it had been allowed to.
    full: bool,
}

#[derive(Debug)]
pub(super) struct Limiter {
    bounds: (u64, u64),
    marks: VecDeque<Mark>,
    delivered: u64,
    delivered_at: Moment,
    delivered_sent_at: Moment,
    /// Bytes per second, greatest of the present and of the last period.
    rate: (f64, f64),
    rate_since: Moment,
    rtt: Option<Moment>,
    rtt_at: Moment,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    until: Moment,
    least: Option<Moment>,
}

impl Limiter {
    pub(super) fn new(bounds: (u64, u64)) -> Limiter {
        Limiter {
            bounds,
            marks: VecDeque::new(),
            delivered: 0,
            delivered_at: Moment::ZERO,
            delivered_sent_at: Moment::ZERO,
            rate: (0.0, 0.0),
            rate_since: Moment::ZERO,
            rtt: None,
            rtt_at: Moment::ZERO,
            probe: None,
        }
    }

    /// Another carrier may take another way: nothing measured counts any more.
    pub(super) fn restart(&mut self, delivered: u64, now: Moment) {
        *self = Limiter {
            delivered,
            delivered_at: now,
            delivered_sent_at: now,
            rate_since: now,
            rtt_at: now,
            ..Limiter::new(self.bounds)
        };
    }

    pub(super) fn rtt(&self) -> Option<Moment> {
        self.rtt
    }

    /// Tells whether more may be sent while so much is unacknowledged.
    pub(super) fn allows(&self, in_flight: u64) -> bool {
        in_flight < self.limit()
    }

    fn limit(&self) -> u64 {
        let (least, most) = self.bounds;
        match self.rtt {
            Some(rtt) if self.probe.is_none() => {
                let rate = self.rate.0.max(self.rate.1);
                let product = rate * rtt.as_secs_f64();
                ((product * GAIN + rate * SCHEDULING + SPARE) as u64).clamp(least, most)
            }
            _ => least,
        }
    }

    pub(super) fn sent(&mut self, end: u64, full: bool, now: Moment) {
        match self.marks.back_mut() {
            Some(last) if end - last.begin < MARK_EVERY => {
                last.end = end;
                last.full |= full;
                return;
            }
            Some(_) => {}
            // The pause before does not count as slow delivery.
            None => (self.delivered_at, self.delivered_sent_at) = (now, now),
        }
        self.marks.push_back(Mark {
            begin: end,
            end,
            sent_at: now,
            delivered_sent_at: self.delivered_sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            full,
        });
    }

    pub(super) fn acknowledged(&mut self, received: u64, now: Moment) {
        self.delivered = received;
        self.delivered_at = now;
        let mut newest = None;
        while self.marks.front().is_some_and(|mark| mark.end <= received) {
            newest = self.marks.pop_front();
        }
        let Some(mark) = newest else { return };
        self.delivered_sent_at = mark.sent_at;
        // Acknowledgements come in bunches: nothing was delivered faster than it was sent.
        let sending = mark.sent_at.saturating_sub(mark.delivered_sent_at);
        let seconds = now.saturating_sub(mark.delivered_at).max(sending).as_secs_f64();
        if seconds > 0.0 {
            self.rated((received - mark.delivered) as f64 / seconds, mark.full, now);
        }
    }

    /// A ping took so long. Acknowledgements do not tell: they may be held back for more to come.
    pub(super) fn measured(&mut self, rtt: Moment, now: Moment) {
        let rtt = rtt.max(Moment::from_micros(1));
        if self.rtt.is_none_or(|least| rtt <= least) {
            (self.rtt, self.rtt_at, self.probe) = (Some(rtt), now, None);
            return;
        }
        match &mut self.probe {
            Some(probe) => {
                probe.least = Some(probe.least.map_or(rtt, |least| least.min(rtt)));
                if now >= probe.until {
                    (self.rtt, self.rtt_at) = (probe.least, now);
                    self.probe = None;
                }
            }
            None if now.saturating_sub(self.rtt_at) > PROBE_AFTER => {
                let until = now + PROBE_FOR + rtt * 2;
                self.probe = Some(Probe { until, least: None });
            }
            None => {}
        }
    }

    fn rated(&mut self, rate: f64, full: bool, now: Moment) {
        let period = RATE_LEAST.max(self.rtt.unwrap_or_default() * RATE_ROUNDS);
        if full && now.saturating_sub(self.rate_since) > period {
            (self.rate, self.rate_since) = ((0.0, self.rate.0), now);
        }
        self.rate.0 = self.rate.0.max(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path with a delay, fed by a sender which always has more. Returns the bytes that arrived
    /// and, for the last second, the most that was on its way.
    fn run(limiter: &mut Limiter, rate: impl Fn(Moment) -> f64, delay: Moment, seconds: u64) -> (u64, u64) {
        const CHUNK: u64 = 16 * 1024;
        let (mut now, mut sent, mut acked, mut free_at, mut most) = (Moment::ZERO, 0, 0, 0.0, 0);
        let mut on_its_way: VecDeque<(f64, u64)> = VecDeque::new();
        while now < Moment::from_secs(seconds) {
            now += Moment::from_micros(500);
            while on_its_way.front().is_some_and(|(due, _)| *due <= now.as_secs_f64()) {
                acked = on_its_way.pop_front().expect("front").1;
                limiter.acknowledged(acked, now);
                limiter.measured(delay + Moment::from_secs_f64((sent - acked) as f64 / rate(now)), now);
            }
            while limiter.allows(sent - acked) {
                sent += CHUNK;
                free_at = f64::max(free_at, now.as_secs_f64()) + CHUNK as f64 / rate(now);
                on_its_way.push_back((free_at + delay.as_secs_f64(), sent));
                limiter.sent(sent, !limiter.allows(sent + CHUNK - acked), now);
            }
            if now > Moment::from_secs(seconds - 1) {
                most = most.max(sent - acked);
            }
        }
        (acked, most)
    }

    #[test]
    fn a_long_path_is_filled_but_not_much_more() {
        let mut limiter = Limiter::new((128 << 10, 32 << 20));
        let (rate, rtt) = (12.5e6, Moment::from_millis(40));

        let (arrived, in_flight) = run(&mut limiter, |_| rate, rtt, 10);

        assert!(arrived as f64 > 0.9 * rate * 10.0, "{arrived}");
        let product = rate * rtt.as_secs_f64();
        assert!((in_flight as f64) < (GAIN + 0.75) * product + SPARE * 2.0, "{in_flight} for {product}");
    }

    #[test]
    fn a_slower_path_is_noticed() {
        let mut limiter = Limiter::new((128 << 10, 32 << 20));
        let rate = |now| if now < Moment::from_secs(10) { 12.5e6 } else { 1.25e6 };

        let (_, in_flight) = run(&mut limiter, rate, Moment::from_millis(40), 20);

        assert!(in_flight < 400 << 10, "{in_flight}");
    }

    #[test]
    fn a_new_carrier_begins_anew() {
        let mut limiter = Limiter::new((128 << 10, 32 << 20));
        run(&mut limiter, |_| 100e6, Moment::from_millis(40), 4);
        assert!(limiter.limit() > 1 << 20);

        limiter.restart(limiter.delivered, Moment::from_secs(60));

        assert_eq!(limiter.limit(), 128 << 10);
    }
}
