//! The root helper: a second process which changes the laptop for the unprivileged main process,
//! and puts everything back when that is gone.
//!
//! ```text
//! main, as root:   let helper = helper::spawn(&config)?;   // before tokio, before other threads
//!                  privilege::become_user(&user)?;
//! main, as user:   let mut helper = helper.connect().await?;
//!                  helper.make(Change::Device { .. }).await?;
//!                  helper.finish().await?;                 // or die: the helper undoes all the same
//! ```
//!
//! Both are the same program; with the single argument [`ARGUMENT`] it calls [`serve`]. They talk
//! over a socket pair which the main process made while it was root. Its first message, the setup,
//! was sent then, too: after it the helper takes only [`Change`](crate::Change)s, and checks each.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod client;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod socket;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub use child::{Spawned, serve, spawn, spawn_with};
#[cfg(target_os = "linux")]
pub use client::Helper;
#[cfg(not(target_os = "linux"))]
pub use other::{Helper, Spawned, serve, spawn};

use crate::Paths;
use crate::instance::InstanceLock;

/// The hidden first argument which makes the program a helper.
pub const ARGUMENT: &str = "root-helper";

/// What lists of processes call the helper and the heir: they are started by way of `/proc`.
const NAME: &str = "ktctl";

/// What the helper is told while its peer is still root.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// Files that may be changed.
    pub paths: &'a Paths,
    /// Held by the helper as well, until everything is undone.
    pub lock: Option<&'a InstanceLock>,
    /// Who goes on when the main process dies.
    pub heir: Option<&'a Heir>,
}

/// Started by the helper after its undo when the main process died without a word: the same
/// program once more, as the user, for what needs no root (objects in the cluster, files in his home).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heir {
    /// Arguments, without the name of the program.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working folder.
    pub folder: PathBuf,
    /// User and group; it has no other groups.
    pub ids: (u32, u32),
}

/// One step of the undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// What it takes away, for the user.
    pub what: String,
    /// Why it is still there.
    pub failure: Option<String>,
}

/// Something that the helper did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("starting the root helper")]
    Start(#[source] io::Error),
    /// It has ended; what was changed is undone.
    #[error("talking to the root helper, which is gone")]
    Gone,
    /// The conversation broke.
    #[error("talking to the root helper")]
    Talk(#[source] io::Error),
    /// It tried, and this is why it did not work. What it had made until then is undone at the end.
    #[error("{text}")]
    Failed {
        /// What was in the way.
        kind: FailureKind,
        /// Deed and causes in one line.
        text: String,
    },
}

/// What was in the way, for the advice to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The helper does not do such things.
    Invalid,
    /// No `/dev/net/tun`.
    NoTun,
    /// No program `nft`.
    NoNft,
    /// See the text.
    Other,
}
