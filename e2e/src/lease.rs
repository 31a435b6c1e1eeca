//! Whose turn it is on a laptop: one test at a time, across threads and processes.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::time::Duration;

use crate::{long, wait_until};

/// How long a test waits for a laptop; tests on one laptop run one after the other.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// The same where a random walk is ten times as long.
const LONG_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A laptop that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub name: String,
    _lock: File,
}

/// Takes the first of these laptops that gets free.
pub(crate) fn lease(names: &[String]) -> Lease {
    let patience = if long() { LONG_PATIENCE } else { PATIENCE };
    wait_until(&format!("one of {} is free", names.join(", ")), patience, || {
        names.iter().find_map(|name| {
            let lock = open(name);
            lock.try_lock().ok().map(|()| Lease { name: name.clone(), _lock: lock })
        })
    })
}

fn open(name: &str) -> File {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("make the folder of locks");
    let file = folder.join(format!("{name}.lock"));
    OpenOptions::new().create(true).truncate(false).write(true).open(file).expect("open the lock of a laptop")
}

/// One for all checkouts, as they share the one cluster of this machine.
fn folder() -> PathBuf {
    std::env::temp_dir().join("kt-e2e")
}
