//! Calls of the laptop's programs led to a local listener by the packet filter: the way for Linux
//! when an input firewall eats what comes out of the device.
//!
//! Everything stands in one table of our own, so that other people's rules are never touched and
//! one removal is the whole undo.

mod ruleset;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::original_destination;
#[cfg(target_os = "linux")]
pub(crate) use linux::{make, undo};

pub use ruleset::{Wanted, ruleset};

/// Name of our table in the family `inet`.
pub const TABLE: &str = "kt_connect";

/// The packet filter did not take our table; nothing of it is in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program `nft` is missing.
    #[error("starting the program nft, which sets the packet filter (Debian: apt install nftables)")]
    NoNft(#[source] std::io::Error),
    /// The kernel or `nft` says no.
    #[error("setting the packet filter table {TABLE}: {0}")]
    Refused(String),
}
