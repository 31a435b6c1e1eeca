//! The end of deliveries: requests under way finish, and idle connections get an orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kt_wire::Moved;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::warn;

use super::http2::Requests;

/// A flow on which nothing moved for so long since an answer is between two requests.
const IDLE: Duration = Duration::from_millis(300);
/// When time runs out, that is taken for such a gap: busy callers leave no longer one.
const GAP: Duration = Duration::from_millis(30);
/// How long before the end of its time a drain is content with that.
const HURRY: Duration = Duration::from_secs(2);
/// So long before, flows end whatever they do: an orderly end takes a moment, too.
const LAST: Duration = Duration::from_millis(500);
/// How often a flow is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Tells the flows of a run to come to their end.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    closing: watch::Sender<bool>,
    /// When it has to be over, once it is wanted.
    until: watch::Sender<Option<Instant>>,
    flows: watch::Sender<usize>,
    callers: Arc<AtomicU64>,
}

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain {
            closing: watch::Sender::new(false),
            until: watch::Sender::new(None),
            flows: watch::Sender::new(0),
            callers: Arc::default(),
        }
    }

    /// How many callers have come so far.
    pub(crate) fn callers(&self) -> u64 {
        self.callers.load(Ordering::Relaxed)
    }

    /// Another caller has come.
    pub(super) fn count_caller(&self) {
        self.callers.fetch_add(1, Ordering::Relaxed);
    }

    /// A flow that a drain waits for, until it is dropped.
    pub(super) fn begin_flow(&self) -> Flow<'_> {
        self.flows.send_modify(|flows| *flows += 1);
        Flow(self)
    }

    /// Closes the ports. Whoever has come is served as ever.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Returns once the ports are to be closed.
    pub(super) async fn is_closing(&self) {
        let mut closing = self.closing.subscribe();
        drop(closing.wait_for(|closing| *closing).await);
    }

    /// Returns once a drain is wanted: when it has to be over.
    async fn is_wanted(&self) -> Instant {
        let mut until = self.until.subscribe();
        let until = until.wait_for(Option::is_some).await.ok().and_then(|until| *until);
        match until {
            Some(until) => until,
            None => std::future::pending().await, // the sender is ours
        }
    }

    /// Closes the ports and lets requests under way end, idle connections with an orderly end, for
    /// at most `longest`.
    pub(crate) async fn drain(&self, longest: Duration) {
        self.close();
        let until = Instant::now() + longest;
        self.until.send_replace(Some(until));
        let mut flows = self.flows.subscribe();
        if timeout_at(until, flows.wait_for(|flows| *flows == 0)).await.is_err() {
            let open = *flows.borrow();
            warn!("{open} connections were still open after {} s and are cut", longest.as_secs());
        }
    }

    /// Returns once a flow is to end: when a drain is wanted, and the flow is between two requests or
    /// time is up. An answer is waited for, and who is slow to take it; `requests` knows better than
    /// who had the last word whether there is one to come.
    pub(super) async fn ends(&self, moved: &Moved, requests: &Requests) {
        let until = self.is_wanted().await;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watched = Watched { bytes: moved.bytes(), since: Instant::now() };
        loop {
            let now = ticks.tick().await;
            let is_under_way = requests.are_under_way().unwrap_or_else(|| moved.is_under_way());
            if watched.ends(moved.bytes(), is_under_way, now, until) {
                return;
            }
        }
    }
}

/// What was last seen to move on a flow, and when.
struct Watched {
    bytes: u64,
    since: Instant,
}

impl Watched {
    fn ends(&mut self, bytes: u64, is_under_way: bool, now: Instant, until: Instant) -> bool {
        if bytes != self.bytes {
            *self = Watched { bytes, since: now };
        }
        let idle = if now + HURRY < until { IDLE } else { GAP };
        let is_between = !is_under_way && now >= self.since + idle;
        is_between || now + LAST >= until
    }
}

/// A flow that a drain waits for.
pub(super) struct Flow<'a>(&'a Drain);

impl Drop for Flow<'_> {
    fn drop(&mut self) {
        self.0.flows.send_modify(|flows| *flows -= 1);
    }
}

#[cfg(test)]
mod tests {
    use kt_wire::relay_counted;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn a_flow_on_which_nothing_is_under_way_ends_soon() {
        assert_eq!(ended_after(|_| (0, false)), 300);
    }

    #[test]
    fn a_request_is_answered_before_its_flow_ends() {
        assert_eq!(ended_after(|ms| if ms < 7000 { (1, true) } else { (2, false) }), 7300);
    }

    #[test]
    fn a_caller_who_asks_again_and_again_is_ended_between_two_requests() {
        let asks_for_150_of_200_ms = |ms: u64| (ms / 50, ms % 200 < 150);

        assert_eq!(ended_after(asks_for_150_of_200_ms), 8180);
    }

    #[test]
    fn a_request_that_takes_longer_is_ended_before_the_drain_is_over() {
        assert_eq!(ended_after(|_| (1, true)), 9500);
        assert_eq!(ended_after(|ms| (ms, false)), 9500);
    }

    /// How many milliseconds after the wish for a drain of 10 s a flow ends, whose bytes so far, and
    /// whether anything is under way, are told for each moment.
    fn ended_after(flow: impl Fn(u64) -> (u64, bool)) -> u64 {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut watched = Watched { bytes: flow(0).0, since: begin };
        let ends = |ms: &u64| {
            let (bytes, is_under_way) = flow(*ms);
            watched.ends(bytes, is_under_way, at(*ms), at(10_000))
        };
        (0..20_000).step_by(10).find(ends).expect("it ends")
    }

    #[tokio::test]
    async fn a_question_that_is_carried_is_under_way_until_time_is_up() {
        let (mut caller, near) = duplex(64);
        let (far, _program) = duplex(64);
        let (drain, moved, requests) = (Drain::new(), Moved::default(), Requests::default());
        caller.write_all(b"question").await.expect("ask");
        let begun = Instant::now();

        let flow = async {
            let _flow = drain.begin_flow();
            tokio::select! {
                _ = relay_counted(near, far, &moved) => {}
                () = drain.ends(&moved, &requests) => {}
            }
        };
        tokio::join!(flow, drain.drain(Duration::from_millis(1500)));

        let ended = begun.elapsed();
        assert!(Duration::from_secs(1) <= ended && ended < Duration::from_millis(1400), "{ended:?}");
    }

    #[tokio::test]
    async fn a_drain_waits_for_its_flows_but_not_for_ever() {
        let (drain, longest) = (Drain::new(), Duration::from_millis(100));
        let (flow, begun) = (drain.begin_flow(), Instant::now());

        drain.drain(longest).await;
        assert!(begun.elapsed() >= longest);
        drop(flow);
        let begun = Instant::now();
        drain.drain(longest).await;

        assert!(begun.elapsed() < longest);
    }
}
