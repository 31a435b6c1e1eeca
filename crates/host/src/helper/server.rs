//! The helper's end of the conversation: take requests, carry them out, undo at the end.

mod make;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use self::make::Laptop;
use super::protocol::{Answer, Ask, Setup, VERSION};
use super::socket::Channel;
use super::{FailureKind, Heir, NAME};
use crate::process::Process;
use crate::undo::undo_leftovers;

/// Serves until the main process is gone and everything is undone.
pub(super) fn run(stream: StdStream) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(stream))
}

async fn serve(stream: StdStream) -> io::Result<()> {
    let mut channel = Channel::new(stream)?;
    let Some((setup, _lock)) = channel.recv::<Setup>().await? else {
        return Ok(());
    };
    if setup.version != VERSION {
        return Err(io::Error::other(format!("main process of version {}", setup.version)));
    }
    let recovered = undo_leftovers(&setup.paths.journals).await;
    let mut laptop = Laptop::new(&setup.paths, setup.main, Process::current()?);

    // A main process that is gone already changes nothing: the undo below finds nothing to do.
    channel.queue(&Answer::Ready { recovered }, None)?;
    let greeted = channel.flush().await;
    let dismissed = greeted.is_ok() && serve_requests(&mut channel, &mut laptop).await;
    laptop.undo().await;
    if let Some(heir) = setup.heir.filter(|_| !dismissed) {
        start(&heir)?;
    }
    Ok(())
}

/// Answers until the peer is gone or talks nonsense; says whether its last word was to undo all.
async fn serve_requests(channel: &mut Channel, laptop: &mut Laptop) -> bool {
    let mut dismissed = false;
    while let Ok(Some((ask, _))) = channel.recv::<Ask>().await {
        dismissed = matches!(ask, Ask::UndoAll);
        let (answer, fd) = answer(ask, laptop).await;
        // With the message our copy of the descriptor goes: the main process alone keeps the
        // device alive from now on.
        if channel.queue(&answer, fd).is_err() || channel.flush().await.is_err() {
            break;
        }
    }
    dismissed
}

async fn answer(ask: Ask, laptop: &mut Laptop) -> (Answer, Option<OwnedFd>) {
    let change = match ask {
        Ask::UndoAll => return (Answer::Undone(laptop.undo().await), None),
        Ask::Make(change) => change,
    };
    if let Err(invalid) = change.check() {
        return (Answer::Failed { kind: FailureKind::Invalid, text: invalid.to_string() }, None);
    }
    match laptop.make(change).await {
        Ok((report, fd)) => (Answer::Made(report), fd),
        Err(failure) => (Answer::Failed { kind: failure.kind, text: failure.text }, None),
    }
}

/// Runs on its own: the helper does not wait for it.
fn start(heir: &Heir) -> io::Result<()> {
    let (uid, gid) = heir.ids;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).args(&heir.args).env_clear().envs(heir.env.iter().cloned()).current_dir(&heir.folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        // As root the standard library gives up the other groups, too.
        command.gid(gid).uid(uid);
    }
    command.spawn().map(drop)
}
