//! The main process' end of the conversation.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::Child;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::protocol::{Answer, Ask, Report};
use super::socket::Channel;
use super::{Error, Undone};
use crate::device::Tun;
use crate::{Change, Made};

/// After everything is undone the helper has nothing to do but to end.
const END_TIME: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// The root helper of this run. Dropped, it undoes everything and ends.
#[derive(Debug)]
pub struct Helper {
    channel: Channel,
    child: Child,
    recovered: Vec<Undone>,
    /// Requests whose answer has not been read, since their callers went away.
    unanswered: usize,
}

pub(super) async fn connect(stream: StdStream, child: Child) -> Result<Helper, Error> {
    let channel = Channel::new(stream).map_err(Error::Talk)?;
    // The setup was sent by `spawn`.
    let mut helper = Helper { channel, child, recovered: Vec::new(), unanswered: 1 };
    match helper.last_answer().await? {
        (Answer::Ready { recovered }, _) => Ok(Helper { recovered, ..helper }),
        (answer, _) => Err(unexpected(answer)),
    }
}

impl Helper {
    /// What dead runs had left on this laptop, and whether it could be undone.
    #[must_use]
    pub fn recovered(&self) -> &[Undone] {
        &self.recovered
    }

    /// Makes the change; returns when it is in place.
    ///
    /// Cancel safety: a dropped wish is still made, and undone at the end like any other; a dropped
    /// device vanishes.
    ///
    /// # Errors
    /// The change was refused or failed, or the helper is gone.
    pub async fn make(&mut self, change: Change) -> Result<Made, Error> {
        match self.ask(&Ask::Make(change)).await? {
            (Answer::Made(report), fd) => Ok(made(report, fd)),
            (answer, _) => Err(unexpected(answer)),
        }
    }

    /// Undoes all changes, last one first, and says what became of each. New ones may follow.
    ///
    /// Cancel safety: the helper goes on undoing.
    ///
    /// # Errors
    /// The helper is gone; then everything is undone as well.
    pub async fn undo_all(&mut self) -> Result<Vec<Undone>, Error> {
        match self.ask(&Ask::UndoAll).await? {
            (Answer::Undone(report), _) => Ok(report),
            (answer, _) => Err(unexpected(answer)),
        }
    }

    /// Undoes all changes and waits until the helper has ended.
    ///
    /// # Errors
    /// The helper was gone before.
    pub async fn finish(mut self) -> Result<Vec<Undone>, Error> {
        let report = self.undo_all().await?;
        let Self { channel, mut child, .. } = self;
        drop(channel);
        let ended = async {
            while matches!(child.try_wait(), Ok(None)) {
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(END_TIME, ended).await;
        Ok(report)
    }

    async fn ask(&mut self, ask: &Ask) -> Result<(Answer, Option<OwnedFd>), Error> {
        self.channel.queue(ask, None).map_err(Error::Talk)?;
        self.unanswered += 1;
        self.channel.flush().await.map_err(gone_or_broken)?;
        self.last_answer().await
    }

    /// Passes over the answers to requests whose callers went away.
    async fn last_answer(&mut self) -> Result<(Answer, Option<OwnedFd>), Error> {
        loop {
            let answer = self.channel.recv().await.map_err(gone_or_broken)?.ok_or(Error::Gone)?;
            self.unanswered -= 1;
            if self.unanswered == 0 {
                return Ok(answer);
            }
        }
    }
}

fn made(report: Report, fd: Option<OwnedFd>) -> Made {
    match report {
        Report::Device { offload } => Made::Device(fd.map(|fd| Tun::new(fd, offload))),
        Report::Routes(routes) => Made::Routes(routes),
        Report::Resolver(backend) => Made::Resolver(backend),
        Report::Hosts => Made::Hosts,
        Report::Redirect => Made::Redirect,
    }
}

fn unexpected(answer: Answer) -> Error {
    match answer {
        Answer::Failed { kind, text } => Error::Failed { kind, text },
        other => Error::Talk(io::Error::other(format!("an answer out of place: {other:?}"))),
    }
}

fn gone_or_broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
            Error::Gone
        }
        _ => Error::Talk(error),
    }
}
