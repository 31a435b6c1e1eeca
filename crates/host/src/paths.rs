//! Where the laptop keeps the files that are read and changed here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Files and folders of the machine. Tests put their own in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// What programs read to find their name servers.
    pub resolv_conf: PathBuf,
    /// The file of systemd-resolved that names its stub; `resolv_conf` often links to it.
    pub resolved_stub: PathBuf,
    /// The file of systemd-resolved that names the servers behind its stub.
    pub resolved_upstream: PathBuf,
    /// Names with fixed addresses.
    pub hosts: PathBuf,
    /// Folder of the journals, for root only.
    pub journals: PathBuf,
}

impl Paths {
    /// Where Linux has them.
    #[must_use]
    pub fn system() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            resolved_stub: "/run/systemd/resolve/stub-resolv.conf".into(),
            resolved_upstream: "/run/systemd/resolve/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
            journals: "/var/lib/kt-connect".into(),
        }
    }
}
