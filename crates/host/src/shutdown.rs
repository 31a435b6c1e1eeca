//! The signals that end a run. All of them mean the same: undo, then exit 0.

use std::fmt;
use std::io;

/// What asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Ctrl+C.
    Interrupt,
    /// `kill`, service managers, the machine shutting down.
    Terminate,
    /// The terminal was closed.
    HangUp,
    /// Ctrl+\.
    Quit,
}

impl fmt::Display for Trigger {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminate",
            Self::HangUp => "hang-up",
            Self::Quit => "quit",
        })
    }
}

/// Handlers for all triggers. From [`install`](Self::install) on no signal is lost or kills the
/// process, also while nobody waits.
#[derive(Debug)]
pub struct Triggers {
    signals: platform::Signals,
}

impl Triggers {
    /// To be called first thing in the tokio runtime.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self { signals: platform::install()? })
    }

    /// Waits for the next trigger; one that came earlier counts. May be called again, for the
    /// second Ctrl+C. Cancel safety: no trigger is lost.
    pub async fn wait_for_trigger(&mut self) -> Trigger {
        platform::wait(&mut self.signals).await
    }
}

#[cfg(unix)]
mod platform {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::Trigger;

    #[derive(Debug)]
    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
        hang_up: Signal,
        quit: Signal,
    }

    pub(super) fn install() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    pub(super) async fn wait(signals: &mut Signals) -> Trigger {
        tokio::select! {
            _ = signals.interrupt.recv() => Trigger::Interrupt,
            _ = signals.terminate.recv() => Trigger::Terminate,
            _ = signals.hang_up.recv() => Trigger::HangUp,
            _ = signals.quit.recv() => Trigger::Quit,
        }
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io;

    use super::Trigger;

    #[derive(Debug)]
    pub(super) struct Signals;

    pub(super) fn install() -> io::Result<Signals> {
        Ok(Signals)
    }

    pub(super) async fn wait(_signals: &mut Signals) -> Trigger {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Trigger::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[tokio::test]
    async fn a_signal_that_came_before_the_wait_is_not_lost() {
        let mut triggers = Triggers::install().unwrap();

        raise(Signal::SIGHUP).unwrap();

        assert_eq!(triggers.wait_for_trigger().await, Trigger::HangUp);
    }
}
