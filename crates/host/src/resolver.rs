//! Who answers names for the laptop.
//!
//! Two ways of putting our name server in place: [`resolv_conf`] edits the file that every program
//! reads; systemd-resolved is told over D-Bus and forgets it together with the device. The root
//! helper does either; the main process only reads ([`read_upstream`]).

pub mod resolv_conf;
#[cfg(target_os = "linux")]
pub(crate) mod resolved;
mod upstream;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Paths, in_place};
pub use upstream::{Upstream, read_upstream};

/// Where a name server is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// systemd-resolved, for the device.
    Resolved,
    /// Lines of `/etc/resolv.conf`.
    ResolvConf,
}

/// The laptop's name servers could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{deed} {path}")]
    File {
        /// `reading` or `writing`.
        deed: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// systemd-resolved said no.
    #[error("telling systemd-resolved about device {device}: {reason}")]
    Resolved {
        /// The device.
        device: String,
        /// What it said.
        reason: String,
    },
}

pub(crate) fn file_error(deed: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::File { deed, path: path.display().to_string(), source }
}

/// Whether programs ask the stub of systemd-resolved: `resolv.conf` is its file or a copy of it.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "systemd is Linux'"))]
pub(crate) fn points_to_stub(paths: &Paths) -> bool {
    let linked = std::fs::canonicalize(&paths.resolv_conf)
        .is_ok_and(|real| std::fs::canonicalize(&paths.resolved_stub).is_ok_and(|stub| stub == real));
    let content = in_place::read(&paths.resolv_conf).ok().flatten().unwrap_or_default();
    linked || upstream::parse(&content).servers.contains(&upstream::STUB)
}
