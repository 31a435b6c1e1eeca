//! A network of its own for each test: the machine's own one is never touched.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kt_host::helper::{Config, Spawned, spawn_with};
use kt_host::{Change, Paths};
use nix::sched::{CloneFlags, unshare};

/// Puts this thread, and what it starts, into a new network with loopback only. `false`, and a line
/// which says what is missing, when that can not be done here.
pub(crate) fn enter_new_network() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return false;
    }
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
        println!("skipped: needs a network namespace: {error}");
        return false;
    }
    ip("link set lo up");
    true
}

/// Says so when a device can not be made here.
pub(crate) fn has_tun() -> bool {
    let there = Path::new("/dev/net/tun").exists();
    if !there {
        println!("skipped: needs /dev/net/tun");
    }
    there
}

pub(crate) fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that a run may change in the network.
pub(crate) fn snapshot() -> String {
    let nft = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    [
        ip("-o addr"),
        ip("route show table all"),
        ip("-6 route show table all"),
        ip("rule"),
        String::from_utf8_lossy(&nft).into_owned(),
    ]
    .join("--\n")
}

/// A folder with files in place of those of `/etc`.
pub(crate) fn paths(folder: &Path) -> Paths {
    fs::write(folder.join("resolv.conf"), RESOLV_CONF).unwrap();
    fs::write(folder.join("hosts"), HOSTS).unwrap();
    Paths {
        resolv_conf: folder.join("resolv.conf"),
        resolved_stub: folder.join("no-stub"),
        resolved_upstream: folder.join("no-upstream"),
        hosts: folder.join("hosts"),
        journals: folder.join("kt-connect"),
    }
}

pub(crate) const RESOLV_CONF: &str = "search corp.example\nnameserver 10.0.0.2";
pub(crate) const HOSTS: &str = "127.0.0.1 localhost\r\n";

/// The helper is this very test program, in the test `helper_process`.
pub(crate) fn spawn(paths: &Paths) -> Spawned {
    spawn_as(&Config { paths, lock: None, heir: None })
}

pub(crate) fn spawn_as(config: &Config<'_>) -> Spawned {
    let args = ["--exact", "helper_process", "--ignored", "--nocapture"].map(OsStr::new);
    spawn_with(&this_program(), &args, config).unwrap()
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub(crate) fn device() -> Change {
    Change::Device {
        name: "kt0".to_owned(),
        address: "198.18.0.1".parse().unwrap(),
        peer: "198.18.0.2".parse().unwrap(),
        prefix: 30,
        v6: None,
        mtu: 1500,
    }
}

pub(crate) fn routes(ranges: &[&str]) -> Change {
    let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Change::Routes { device: "kt0".to_owned(), ranges }
}

pub(crate) fn resolver() -> Change {
    Change::Resolver {
        device: Some("kt0".to_owned()),
        server: "198.18.0.2".parse().unwrap(),
        search: vec!["dev.svc.cluster.local".to_owned()],
        suffixes: vec!["cluster.local".to_owned()],
    }
}

pub(crate) fn hosts() -> Change {
    Change::Hosts { entries: vec![("10.96.0.7".parse().unwrap(), "tomcat".to_owned())] }
}

pub(crate) fn redirect(ranges: &[&str], except: &[&str], port: u16) -> Change {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Change::Redirect { ranges: nets(ranges), except: nets(except), port, owner_uid: None }
}

/// Waits for a condition; fails when it is not met within the limit. Returns how long it took.
pub(crate) fn wait_until(limit: Duration, what: &str, condition: impl Fn() -> bool) -> Duration {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    since.elapsed()
}

/// A tokio runtime on this thread only: other threads would be in the machine's own network.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
