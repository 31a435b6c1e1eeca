//! The start of the helper, on both sides of the fork.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd;

use super::protocol::{Setup, VERSION};
use super::{ARGUMENT, Config, Error, Helper, NAME, client, server, socket};
use crate::process::Process;

/// Folders of system programs: the helper runs `nft` and must not find another one.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A helper that was started and not yet spoken to. Dropped, the helper ends.
#[derive(Debug)]
pub struct Spawned {
    stream: UnixStream,
    child: Child,
}

impl Spawned {
    /// Waits until the helper is ready, which includes the undo of what dead runs have left.
    /// To be called in a tokio runtime.
    ///
    /// # Errors
    /// The helper has ended or is another program.
    pub async fn connect(self) -> Result<Helper, Error> {
        client::connect(self.stream, self.child).await
    }
}

/// Starts this program once more as the root helper. To be called as root, before there are other
/// threads and before rights are given up.
///
/// # Errors
/// The process could not be started.
pub fn spawn(config: &Config<'_>) -> Result<Spawned, Error> {
    spawn_with(Path::new("/proc/self/exe"), &[OsStr::new(ARGUMENT)], config)
}

/// Like [`spawn`] with another program, which has to call [`serve`]; for tests.
///
/// # Errors
/// The process could not be started.
pub fn spawn_with(program: &Path, args: &[&OsStr], config: &Config<'_>) -> Result<Spawned, Error> {
    start(program, args, config).map_err(Error::Start)
}

/// The socket is the helper's standard input: a descriptor that survives `exec` without a trick.
fn start(program: &Path, args: &[&OsStr], config: &Config<'_>) -> io::Result<Spawned> {
    let (ours, theirs) = UnixStream::pair()?;
    let setup = Setup {
        version: VERSION,
        paths: config.paths.clone(),
        main: Process::current()?,
        heir: config.heir.cloned(),
    };
    socket::send_now(&ours, &setup, config.lock.map(AsFd::as_fd))?;
    let child = Command::new(program)
        .arg0(NAME)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Spawned { stream: ours, child })
}

/// The helper's whole life: what `main` calls when its only argument is [`ARGUMENT`].
#[must_use]
pub fn serve() -> ExitCode {
    match detach().and_then(server::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The terminal may be gone, and nobody is left to care.
            let _ = io::Write::write_all(&mut io::stderr(), format!("root helper: {error}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// Leaves the terminal: what ends the main process must not end its helper. Returns the socket.
fn detach() -> io::Result<UnixStream> {
    for name in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGTSTP,
        Signal::SIGTTOU,
        Signal::SIGPIPE,
    ] {
        // SAFETY: ignoring a signal runs no code in a handler.
        #[expect(unsafe_code, reason = "signal() is unsafe because of handlers")]
        unsafe {
            signal(name, SigHandler::SigIgn)?;
        }
    }
    // Fails only for the leader of a group, which a forked child is not.
    let _ = unistd::setsid();
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(socket))
}
