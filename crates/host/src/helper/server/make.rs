//! Carrying changes out, each noted in the journal first.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::super::protocol::Report;
use super::super::{FailureKind, Undone};
use crate::change::{RoutesMade, Skipped};
use crate::device::{self, Link};
use crate::journal::{Entry, Journal};
use crate::netlink::Netlink;
use crate::process::Process;
use crate::redirect::{self, Wanted};
use crate::resolver::resolved::Resolved;
use crate::resolver::{self, Backend, resolv_conf};
use crate::routes::difference;
use crate::undo::{chain, undo};
use crate::{Change, Paths, hosts, in_place};

/// The laptop, and what this run has done to it.
pub(super) struct Laptop {
    paths: Paths,
    journal: Journal,
}

/// Why a change is not in place.
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl<E: StdError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { kind: FailureKind::Other, text: chain(&error) }
    }
}

impl Laptop {
    pub(super) fn new(paths: &Paths, main: Process, helper: Process) -> Self {
        Self { journal: Journal::new(&paths.journals, main, helper), paths: paths.clone() }
    }

    pub(super) async fn undo(&mut self) -> Vec<Undone> {
        undo(&mut self.journal).await
    }

    /// The change has passed its check.
    pub(super) async fn make(&mut self, change: Change) -> Result<(Report, Option<OwnedFd>), Failure> {
        let report = match change {
            Change::Device { name, address, peer, prefix, v6, mtu } => {
                return self.make_device(&name, &Link { address, peer, prefix, v6 }, mtu).await;
            }
            Change::Routes { device, ranges } => Report::Routes(self.make_routes(&device, &ranges).await?),
            Change::Resolver { device, server, search, suffixes } => {
                Report::Resolver(self.make_resolver(device.as_deref(), server, &search, &suffixes).await?)
            }
            Change::Hosts { entries } => self.make_hosts(&entries)?,
            Change::Redirect { ranges, except, port, owner_uid } => {
                self.make_redirect(&Wanted { ranges: &ranges, except: &except, port, owner_uid })?
            }
        };
        Ok((report, None))
    }

    async fn make_device(
        &mut self,
        name: &str,
        link: &Link,
        mtu: u32,
    ) -> Result<(Report, Option<OwnedFd>), Failure> {
        let netlink = Netlink::open()?;
        let entry = Entry::Device { name: name.to_owned() };
        let exists = netlink.index(name).await?.is_some();
        if exists && self.journal.entries().contains(&entry) {
            device::configure(&netlink, name, link, mtu).await?;
            return Ok((Report::Device { offload: false }, None));
        }
        if exists {
            // Not noted: the undo would take somebody else's device away.
            return Err(Failure { kind: FailureKind::Other, text: format!("device {name} exists already") });
        }
        self.journal.record(entry.clone())?;
        let tun = match device::open(name) {
            Ok(tun) => tun,
            Err(error) => {
                self.journal.forget(&entry)?;
                return Err(device_failure(&error));
            }
        };
        device::configure(&netlink, name, link, mtu).await?;
        let fd = tun.as_fd().try_clone_to_owned()?;
        Ok((Report::Device { offload: tun.offload() }, Some(fd)))
    }

    async fn make_routes(&mut self, device: &str, ranges: &[IpNet]) -> Result<RoutesMade, Failure> {
        let netlink = Netlink::open()?;
        let devices = netlink.devices().await?;
        let index = devices.iter().find(|(_, name)| *name == device).map(|(index, _)| *index);
        let index = index.ok_or_else(|| Failure {
            kind: FailureKind::Other,
            text: format!("setting routes to device {device}, which does not exist"),
        })?;
        let addresses = netlink.addresses(&devices).await?;
        let source = addresses.iter().filter(|own| own.device == device).find_map(|own| match own.net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        });

        self.journal.record(Entry::Routes { device: device.to_owned(), ranges: ranges.to_vec() })?;
        let (added, removed) = difference(&netlink.routed_to(index).await?, ranges);
        for range in &removed {
            netlink.remove_route(index, *range).await?;
        }
        let mut skipped = Vec::new();
        for range in &added {
            if let Err(error) = netlink.add_route(index, *range, source).await {
                skipped.push(Skipped { range: *range, reason: error.to_string() });
            }
        }
        let present = netlink.routed_to(index).await?;
        skipped.extend(vanished(ranges, &present, &skipped));
        let added = added.into_iter().filter(|range| present.contains(range)).collect();
        Ok(RoutesMade { added, removed, skipped })
    }

    async fn make_resolver(
        &mut self,
        device: Option<&str>,
        server: IpAddr,
        search: &[String],
        suffixes: &[String],
    ) -> Result<Backend, Failure> {
        if let Some(device) = device
            && resolver::points_to_stub(&self.paths)
            && let Some(resolved) = Resolved::find().await
            && let Some(index) = Netlink::open()?.index(device).await?
        {
            self.journal.record(Entry::Resolved { device: device.to_owned() })?;
            resolved.make((device, index), server, search, suffixes).await?;
            return Ok(Backend::Resolved);
        }
        let (path, created) = place(&self.paths.resolv_conf);
        self.journal.record(Entry::ResolvConf { created, path: path.clone() })?;
        resolv_conf::make(&path, server, search)?;
        Ok(Backend::ResolvConf)
    }

    fn make_hosts(&mut self, entries: &[(IpAddr, String)]) -> Result<Report, Failure> {
        let (path, created) = place(&self.paths.hosts);
        self.journal.record(Entry::Hosts { created, path: path.clone() })?;
        hosts::write(&path, entries)?;
        Ok(Report::Hosts)
    }

    fn make_redirect(&mut self, wanted: &Wanted<'_>) -> Result<Report, Failure> {
        self.journal.record(Entry::Redirect)?;
        redirect::make(wanted).map_err(|error| match error {
            redirect::Error::NoNft(_) => Failure { kind: FailureKind::NoNft, text: chain(&error) },
            error => error.into(),
        })?;
        Ok(Report::Redirect)
    }
}

/// The file to write, and whether that makes it. Of a link which leads nowhere it is the file there:
/// that one has to go again, and not the link.
fn place(path: &Path) -> (PathBuf, bool) {
    match path.exists() {
        true => (path.to_owned(), false),
        false => (in_place::target(path), true),
    }
}

/// What is wanted and neither in the system's table nor known to have failed.
fn vanished(wanted: &[IpNet], present: &[IpNet], failed: &[Skipped]) -> Vec<Skipped> {
    let is_lost =
        |range: &&IpNet| !present.contains(range) && !failed.iter().any(|skipped| skipped.range == **range);
    wanted
        .iter()
        .filter(is_lost)
        .map(|range| Skipped { range: *range, reason: "not in the system's table afterwards".to_owned() })
        .collect()
}

fn device_failure(error: &device::Error) -> Failure {
    let kind = match error {
        device::Error::NoTun(_) => FailureKind::NoTun,
        _ => FailureKind::Other,
    };
    Failure { kind, text: chain(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_led_to_that_was_not_there_goes_again_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [link, between, target] = ["resolv.conf", "between", "run"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink("between", &link).unwrap();
        std::os::unix::fs::symlink(&target, &between).unwrap();

        let (path, created) = place(&link);
        resolv_conf::make(&path, [10, 0, 0, 1].into(), &[]).unwrap();
        assert!(link.exists() && created);
        assert_eq!(place(&link), (link.clone(), false), "now it leads somewhere");
        resolv_conf::undo(&path, created).unwrap();

        assert!(!target.exists());
        assert!(link.is_symlink() && between.is_symlink());
    }
}
