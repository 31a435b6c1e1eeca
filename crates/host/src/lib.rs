//! What is done to the laptop: device, routes, resolver, hosts file, privilege, signals, home
//! folder, and the undo of each.
//!
//! The crate knows nothing of Kubernetes, of the wire and of commands. Changes which need root are
//! [`Change`]s: the small root process of [`helper`] carries them out for the unprivileged main
//! process, writes each into its [`journal`] first, and undoes them when the main process is gone.
//! What only reads or decides ([`routes`], [`resolver::read_upstream`], [`device::free_pool`]) is
//! called by the main process itself.
//!
//! Linux is complete. On other systems the same functions exist and say [`Unsupported`].

pub mod change;
pub mod device;
pub mod helper;
pub mod home;
pub mod hosts;
mod in_place;
pub mod instance;
pub mod journal;
pub mod memory;
#[cfg(target_os = "linux")]
mod netlink;
pub mod paths;
pub mod private_file;
pub mod privilege;
pub mod process;
pub mod redirect;
pub mod resolver;
pub mod routes;
pub mod shutdown;
#[cfg(target_os = "linux")]
pub mod undo;

pub use change::{Change, Made};
pub use helper::Helper;
pub use paths::Paths;

/// This system can not do it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not supported on {os} yet", os = std::env::consts::OS)]
pub struct Unsupported(pub &'static str);

impl From<Unsupported> for std::io::Error {
    fn from(unsupported: Unsupported) -> Self {
        Self::new(std::io::ErrorKind::Unsupported, unsupported)
    }
}
