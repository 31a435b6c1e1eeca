//! A right was missing to clean up after a killed run: its journal stays, and each start looks whether the
//! right has come.

use std::time::Duration;

use jiff::Timestamp;
use kt_cluster::Cluster;
use kt_cluster::api::{ApiError, Right};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::debug;

/// How long a start may take to look.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// After that nobody will come with the right any more, in seconds.
const GIVEN_UP_AFTER: i64 = 7 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// Why a journal could not be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// What is missing.
    right: Right,
    /// Since when (unix seconds).
    since: i64,
}

/// What a start does with such a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The right has come.
    CleanUp,
    /// Still not: say so; for so many days more it is tried.
    Keep(i64),
    /// The cluster could not be asked.
    Wait,
    /// Nobody is to be told any more, but what remains.
    GiveUp,
    /// The namespace is gone, and everything in it.
    Forget,
}

/// What the cluster says about the right.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Granted,
    Missing,
    Gone,
}

impl Refused {
    /// From now on, or since it was refused first.
    pub(super) fn new(right: Right, before: Option<&Refused>) -> Refused {
        Refused { right, since: before.map_or_else(now, |before| before.since) }
    }

    pub(super) fn right(&self) -> &Right {
        &self.right
    }

    /// Looks for a limited time whether the right has come.
    pub(super) async fn next(&self, cluster: impl Future<Output = anyhow::Result<Cluster>>) -> Next {
        let seen = timeout(LOOK_WITHIN, async { self.look(&cluster.await?).await });
        let seen = match seen.await {
            Ok(Ok(seen)) => Some(seen),
            Ok(Err(error)) => {
                debug!(%error, "whether the right has come is not known");
                None
            }
            Err(_) => None,
        };
        self.decide(seen, now())
    }

    /// The rights of one namespace do not tell whether it is gone; there is nothing to be had in it then.
    async fn look(&self, cluster: &Cluster) -> anyhow::Result<Seen> {
        let Right { verb, group, resource, .. } = &self.right;
        if cluster.missing_rights(&[(verb, group, resource)]).await?.is_empty() {
            return Ok(Seen::Granted);
        }
        Ok(if cluster.is_gone().await { Seen::Gone } else { Seen::Missing })
    }

    fn decide(&self, seen: Option<Seen>, now: i64) -> Next {
        let left = GIVEN_UP_AFTER - (now - self.since);
        match seen {
            Some(Seen::Granted) => Next::CleanUp,
            Some(Seen::Gone) => Next::Forget,
            _ if left <= 0 => Next::GiveUp,
            Some(Seen::Missing) => Next::Keep((left + DAY - 1) / DAY),
            None => Next::Wait,
        }
    }
}

/// The right that an error says is missing.
pub(super) fn missing_right(error: &anyhow::Error) -> Option<Right> {
    error.chain().find_map(|cause| match cause.downcast_ref() {
        Some(ApiError::Forbidden { right, .. }) => Some((**right).clone()),
        _ => None,
    })
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Refused {
        let right = Right {
            verb: "patch".into(),
            resource: "services".into(),
            group: String::new(),
            namespace: Some("dev".into()),
        };
        Refused { right, since: 1000 }
    }

    #[test]
    fn a_journal_waits_seven_days_for_the_right() {
        let next = |seen, after| refused().decide(Some(seen), 1000 + after);

        assert_eq!(next(Seen::Missing, 0), Next::Keep(7));
        assert_eq!(next(Seen::Missing, 6 * DAY + 1), Next::Keep(1));
        assert_eq!(next(Seen::Missing, 7 * DAY), Next::GiveUp);
        assert_eq!(next(Seen::Granted, 8 * DAY), Next::CleanUp);
        assert_eq!(next(Seen::Gone, 1), Next::Forget);
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_waited_for_as_long() {
        assert_eq!(refused().decide(None, 1000 + DAY), Next::Wait);
        assert_eq!(refused().decide(None, 1000 + 7 * DAY), Next::GiveUp);
    }

    #[test]
    fn another_right_that_is_missing_then_does_not_begin_the_days_anew() {
        let other = Right { verb: "delete".into(), ..refused().right };

        let again = Refused::new(other.clone(), Some(&refused()));

        assert_eq!(again, Refused { right: other, since: 1000 });
    }

    #[test]
    fn the_right_is_found_behind_what_was_done() {
        let forbidden = ApiError::Forbidden { right: Box::new(refused().right), message: "forbidden".into() };
        let error = anyhow::Error::new(forbidden).context("deleting shadow pod x");

        assert_eq!(missing_right(&error), Some(refused().right));
        assert_eq!(missing_right(&anyhow::anyhow!("away")), None);
    }
}
