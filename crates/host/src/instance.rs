//! Only one `connect` per laptop, whoever started it.
//!
//! On Linux the lock is a name in the abstract socket space: it is the same for all users and
//! homes, belongs to the network that a connect changes (a container with its own network has its
//! own), needs no rights and no file, and is free again when its last holder is gone, however it
//! ended. The root helper holds it too, so that nobody starts before the undo is through.

use std::time::{Duration, Instant};

pub use platform::InstanceLock;

/// How long the helper of a killed run may take to put the laptop back; then it counts as hanging.
const UNDO_TIME: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// Somebody else has it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run is alive; 0 when the system does not tell which.
    #[error("another {name} process already running at {pid}, exiting")]
    Taken {
        /// What is locked.
        name: String,
        /// The holder.
        pid: u32,
    },
    /// The lock itself does not work.
    #[error("locking {name}")]
    System {
        /// What is locked.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl InstanceLock {
    /// Takes the lock of `name`; blocks for up to 3 s when its holder has died and is being undone.
    ///
    /// # Errors
    /// It is taken.
    pub fn take(name: &str) -> Result<Self, Error> {
        let since = Instant::now();
        loop {
            match Self::try_take(name) {
                Err(Error::Taken { pid, .. }) if is_gone(pid) && since.elapsed() < UNDO_TIME => {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }
}

fn is_gone(pid: u32) -> bool {
    pid != 0 && crate::process::Process::of(pid).is_err()
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    use nix::errno::Errno;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
        sockopt,
    };

    use super::Error;

    /// Held until it and its copies are dropped.
    #[derive(Debug)]
    pub struct InstanceLock {
        socket: OwnedFd,
    }

    impl InstanceLock {
        pub(super) fn try_take(name: &str) -> Result<Self, Error> {
            let failed =
                |errno: Errno| Error::System { name: name.to_owned(), source: io::Error::from(errno) };
            let address = UnixAddr::new_abstract(format!("kt-{name}").as_bytes()).map_err(failed)?;
            let socket = new_socket().map_err(failed)?;
            match bind(socket.as_raw_fd(), &address) {
                Err(Errno::EADDRINUSE) => {
                    return Err(Error::Taken { name: name.to_owned(), pid: holder(&address).unwrap_or(0) });
                }
                result => result.map_err(failed)?,
            }
            // Listening makes the kernel tell others who we are.
            listen(&socket, Backlog::MAXCONN).map_err(failed)?;
            Ok(Self { socket })
        }
    }

    impl AsFd for InstanceLock {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    /// Whoever listens. Does not wait when too many have asked already.
    fn holder(address: &UnixAddr) -> nix::Result<u32> {
        let socket = new_socket()?;
        connect(socket.as_raw_fd(), address)?;
        let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
        Ok(peer.pid().cast_unsigned())
    }

    fn new_socket() -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(AddressFamily::Unix, SockType::Stream, flags, None)
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::fs::{File, TryLockError};

    use super::Error;

    /// Held until it is dropped.
    #[derive(Debug)]
    pub struct InstanceLock {
        _file: File,
    }

    impl InstanceLock {
        pub(super) fn try_take(name: &str) -> Result<Self, Error> {
            let failed = |source| Error::System { name: name.to_owned(), source };
            let path = std::env::temp_dir().join(format!("kt-{name}.lock"));
            let file = File::options().write(true).create(true).truncate(false).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => Err(Error::Taken { name: name.to_owned(), pid: 0 }),
                Err(TryLockError::Error(error)) => Err(failed(error)),
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_was_first() {
        let name = format!("test-{}", std::process::id());
        let first = InstanceLock::take(&name).unwrap();

        // More often than the kernel queues callers: none of them may hang.
        for _ in 0..20 {
            assert!(matches!(InstanceLock::take(&name), Err(Error::Taken { .. })));
        }
        drop(first);
        let again = InstanceLock::take(&name).unwrap();
        let Err(Error::Taken { pid, .. }) = InstanceLock::take(&name) else { panic!("taken twice") };

        assert_eq!(pid, std::process::id());
        drop(again);
    }
}
