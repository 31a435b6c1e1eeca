//! Putting the laptop back: a journal replayed backwards.
//!
//! Every step is content with things that were never made or are gone already. A step which fails
//! does not stop the others; it stays in the journal for the next start.

use std::io;
use std::path::Path;

use crate::helper::Undone;
use crate::journal::{Entry, Journal, leftovers};
use crate::netlink::Netlink;
use crate::resolver::resolv_conf;
use crate::resolver::resolved::Resolved;
use crate::{hosts, in_place, redirect};

/// Undoes everything in the journal, last thing first; its file goes when nothing is left.
pub async fn undo(journal: &mut Journal) -> Vec<Undone> {
    let mut report = Vec::new();
    for entry in journal.entries().to_vec().into_iter().rev() {
        let undone = match undo_entry(&entry).await {
            Ok(()) => journal.forget(&entry).map_err(|error| chain(&error)),
            Err(reason) => Err(reason),
        };
        report.push(Undone { what: entry.to_string(), failure: undone.err() });
    }
    report
}

/// Undoes what dead runs have left; needs root.
pub async fn undo_leftovers(folder: &Path) -> Vec<Undone> {
    let mut report = Vec::new();
    for mut journal in leftovers(folder) {
        report.extend(undo(&mut journal).await);
    }
    report
}

async fn undo_entry(entry: &Entry) -> Result<(), String> {
    match entry {
        Entry::Device { name } => remove_device(name).await.map_err(|error| error.to_string()),
        Entry::Routes { device, ranges } => {
            remove_routes(device, ranges).await.map_err(|error| error.to_string())
        }
        Entry::ResolvConf { path, created } => {
            resolv_conf::undo(path, *created).map_err(|error| chain(&error))
        }
        Entry::Resolved { device } => revert(device).await,
        Entry::Hosts { path, created } => undo_hosts(path, *created),
        Entry::Redirect => match redirect::undo() {
            // Without the program there can be no table of ours.
            Err(redirect::Error::NoNft(_)) | Ok(()) => Ok(()),
            Err(error) => Err(chain(&error)),
        },
    }
}

async fn remove_device(name: &str) -> io::Result<()> {
    let netlink = Netlink::open()?;
    match netlink.index(name).await? {
        Some(index) => match netlink.remove_device(index).await {
            // It went with its last descriptor between the question and the deed.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result,
        },
        None => Ok(()),
    }
}

async fn remove_routes(device: &str, ranges: &[ipnet::IpNet]) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let Some(index) = netlink.index(device).await? else {
        return Ok(());
    };
    for range in ranges {
        match netlink.remove_route(index, *range).await {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Without the device, or without systemd-resolved, there is nothing to revert.
async fn revert(device: &str) -> Result<(), String> {
    let netlink = Netlink::open().map_err(|error| error.to_string())?;
    let Some(index) = netlink.index(device).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    match Resolved::find().await {
        Some(resolved) => resolved.undo(device, index).await.map_err(|error| chain(&error)),
        None => Ok(()),
    }
}

fn undo_hosts(path: &Path, created: bool) -> Result<(), String> {
    hosts::write(path, &[]).map_err(|error| chain(&error))?;
    let empty =
        || in_place::read(path).is_ok_and(|content| content.is_some_and(|content| content.is_empty()));
    if created && empty() { in_place::remove(path).map_err(|error| error.to_string()) } else { Ok(()) }
}

/// The error with its causes in one line: it crosses a process border as text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
