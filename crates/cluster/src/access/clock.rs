//! Cluster time: the laptop's clock plus what the `Date` of the API server's answers says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use http::HeaderMap;
use jiff::Timestamp;

/// Differences up to this (seconds) are the header's resolution and the way of the answer.
const NOISE: i64 = 1;

/// The cluster's clock. Clones share it; every answer of the API server sets it anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    offset: AtomicI64,
    local: AtomicBool,
}

impl Clock {
    /// Cluster time in unix seconds.
    pub(crate) fn now(&self) -> i64 {
        Timestamp::now().as_second() + self.offset()
    }

    /// Seconds by which the cluster's clock is ahead of the laptop's.
    pub(crate) fn offset(&self) -> i64 {
        if self.shared.local.load(Ordering::Relaxed) {
            return 0;
        }
        self.shared.offset.load(Ordering::Relaxed)
    }

    /// From now on the laptop's clock is taken as it is.
    pub(crate) fn use_local(&self) {
        self.shared.local.store(true, Ordering::Relaxed);
    }

    /// Looks at the headers of an answer that has just come.
    pub(crate) fn see(&self, headers: &HeaderMap) {
        let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        if let Some(offset) = date.and_then(|date| offset(date, Timestamp::now())) {
            self.shared.offset.store(offset, Ordering::Relaxed);
        }
    }
}

/// How far `date` (as in a `Date` header) is ahead of `now`, without noise.
fn offset(date: &str, now: Timestamp) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
    let ahead = date.as_second() - now.as_second();
    Some(if ahead.abs() <= NOISE { 0 } else { ahead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_laptop_clock_is_corrected() {
        let now = "2026-11-21T06:00:00Z".parse().unwrap();

        assert_eq!(offset("Sat, 21 Nov 2026 07:00:00 GMT", now), Some(3600));
        assert_eq!(offset("Sat, 21 Nov 2026 05:59:00 GMT", now), Some(-60));
    }

    #[test]
    fn a_second_is_noise() {
        let now = "2026-11-21T06:00:00.9Z".parse().unwrap();

        assert_eq!(offset("Sat, 21 Nov 2026 06:00:01 GMT", now), Some(0));
    }

    #[test]
    fn an_odd_date_changes_nothing() {
        assert_eq!(offset("yesterday", Timestamp::now()), None);
    }
}
