//! Every interval and limit of this crate in one place, so that tests can shorten them.

use std::time::Duration;

/// Intervals and limits; the defaults are those of the specification's table of timers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between two heartbeats of one object, before the random part is taken off.
    pub heartbeat: Duration,
    /// What is taken off the heartbeat's interval at most, at random: clients shall not beat in step.
    pub heartbeat_jitter: Duration,
    /// An object whose last heartbeat is older is stale.
    pub stale: Duration,
    /// A lock that is older binds nobody.
    pub lock_expiry: Duration,
    /// Between two tries to take a lock.
    pub lock_retry: Duration,
    /// How often taking a lock is tried.
    pub lock_rounds: u32,
    /// The least and the longest time before a re-applied Service is redirected again.
    pub guard_delay: (Duration, Duration),
    /// How long opening a port-forward may take.
    pub port_forward: Duration,
    /// How long one API server may take to answer at all while connecting.
    pub connect: Duration,
    /// Between two looks at an object that may be read but not watched.
    pub poll: Duration,
    /// Between two looks at a waiting pod's events.
    pub events: Duration,
    /// After this it is said again what is being waited for, and for how long by now.
    pub say_again: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            heartbeat: Duration::from_secs(120),
            heartbeat_jitter: Duration::from_secs(10),
            stale: Duration::from_secs(300),
            lock_expiry: Duration::from_secs(180),
            lock_retry: Duration::from_secs(3),
            lock_rounds: 10,
            guard_delay: (Duration::from_secs(1), Duration::from_secs(10)),
            port_forward: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            poll: Duration::from_millis(250),
            events: Duration::from_secs(1),
            say_again: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// The time until the next heartbeat: the interval minus a random part of the jitter.
    pub fn next_heartbeat(&self) -> Duration {
        self.heartbeat.saturating_sub(crate::names::random_duration(self.heartbeat_jitter))
    }

    /// How long the guard waits before it redirects a re-applied Service again.
    pub fn next_guard_delay(&self) -> Duration {
        let (least, longest) = self.guard_delay;
        least + crate::names::random_duration(longest.saturating_sub(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_up_to_ten_seconds_early() {
        let settings = Settings::default();

        for _ in 0..100 {
            let next = settings.next_heartbeat();
            assert!(next > Duration::from_secs(109) && next <= Duration::from_secs(120), "{next:?}");
        }
    }

    #[test]
    fn the_guard_waits_one_to_ten_seconds() {
        let settings = Settings::default();

        for _ in 0..100 {
            let next = settings.next_guard_delay();
            assert!(next >= Duration::from_secs(1) && next <= Duration::from_secs(10), "{next:?}");
        }
    }
}
