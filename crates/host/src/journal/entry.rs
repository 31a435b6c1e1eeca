//! One change, with what is needed to undo it.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A change of the laptop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A device of ours.
    Device {
        /// Its name.
        name: String,
    },
    /// Routes to a device of ours; it vanishes together with them.
    Routes {
        /// The device.
        device: String,
        /// All that were ever set.
        ranges: Vec<IpNet>,
    },
    /// Marked lines in `resolv.conf`.
    ResolvConf {
        /// The file.
        path: PathBuf,
        /// It did not exist before.
        created: bool,
    },
    /// A name server for the device in systemd-resolved.
    Resolved {
        /// The device.
        device: String,
    },
    /// Our block in the hosts file.
    Hosts {
        /// The file.
        path: PathBuf,
        /// It did not exist before.
        created: bool,
    },
    /// Our table in the packet filter.
    Redirect,
}

impl Entry {
    /// Whether both undo the same thing.
    pub(super) fn is_about_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Device { name: one }, Self::Device { name: two })
            | (Self::Routes { device: one, .. }, Self::Routes { device: two, .. })
            | (Self::Resolved { device: one }, Self::Resolved { device: two }) => one == two,
            (Self::ResolvConf { path: one, .. }, Self::ResolvConf { path: two, .. })
            | (Self::Hosts { path: one, .. }, Self::Hosts { path: two, .. }) => one == two,
            (Self::Redirect, Self::Redirect) => true,
            _ => false,
        }
    }

    /// Takes over what the later change of the same thing adds. How things were before the first
    /// one stays.
    pub(super) fn widen(&mut self, later: Self) {
        if let (Self::Routes { ranges, .. }, Self::Routes { ranges: more, .. }) = (self, later) {
            let new: Vec<IpNet> = more.into_iter().filter(|range| !ranges.contains(range)).collect();
            ranges.extend(new);
        }
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device { name } => write!(out, "device {name}"),
            Self::Routes { device, ranges } => write!(out, "{} routes to {device}", ranges.len()),
            Self::ResolvConf { path, .. } => write!(out, "name server in {}", path.display()),
            Self::Resolved { device } => write!(out, "name server of {device} in systemd-resolved"),
            Self::Hosts { path, .. } => write!(out, "names in {}", path.display()),
            Self::Redirect => write!(out, "packet filter table {}", crate::redirect::TABLE),
        }
    }
}
