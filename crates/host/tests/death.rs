//! `kill -9`: the laptop is put back by whoever is left.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{
    HOSTS, RESOLV_CONF, device, hosts, paths, redirect, resolver, routes, run, snapshot, spawn, wait_until,
};
use kt_host::Made;
use kt_host::helper::{Config, Heir};
use kt_host::instance::{self, InstanceLock};
use kt_host::privilege::{User, become_user};

/// What decision 13 promises.
const PROMISE: Duration = Duration::from_secs(2);

/// Where the main process of a test finds its files.
const FOLDER: &str = "KT_TEST_FOLDER";

/// Not a test: the helper of the tests in this file.
#[test]
#[ignore = "run by the other tests, as their helper"]
fn helper_process() {
    assert_eq!(kt_host::helper::serve(), ExitCode::SUCCESS);
}

/// Not a test: a main process, which changes everything as an ordinary user and waits for its death.
#[test]
#[ignore = "run by the other tests, as their main process"]
fn main_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let helper = spawn(&paths(folder.as_ref()));
    let user =
        User { uid: 65534, gid: 65534, name: "nobody".into(), home: "/".into(), shell: "/bin/sh".into() };
    let _environment = become_user(&user).unwrap();
    run(async {
        let mut helper = helper.connect().await.unwrap();
        let Made::Device(Some(_tun)) = helper.make(device()).await.unwrap() else { panic!("no device") };
        for change in
            [routes(&["10.96.0.0/16"]), resolver(), hosts(), redirect(&["10.244.0.0/16"], &[], 1234)]
        {
            let _ = helper.make(change).await.unwrap();
        }
        println!("changed {}", uids());
        std::future::pending::<()>().await;
    });
}

#[test]
fn when_the_main_process_is_killed_everything_is_undone_at_once() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = snapshot();
    let mut main = start_main(folder.path());
    assert_ne!(snapshot(), before);

    main.kill().unwrap();
    let since = Instant::now();
    main.wait().unwrap();

    let as_before = || snapshot() == before && files_are_as_before(folder.path());
    wait_until(PROMISE, "the laptop as before", as_before);
    println!("undone after {:?}", since.elapsed());
    assert!(!folder.path().join("kt-connect").exists());
}

#[test]
fn when_both_are_killed_the_next_start_undoes_what_is_left() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = snapshot();
    let mut main = start_main(folder.path());
    let helper = helper_of(&main);
    // Stopped first, so that it can not act between the two deaths.
    signal(helper, nix::sys::signal::Signal::SIGSTOP);
    main.kill().unwrap();
    main.wait().unwrap();
    signal(helper, nix::sys::signal::Signal::SIGKILL);
    wait_until(PROMISE, "the helper dead", || kt_host::process::Process::of(helper).is_err());
    assert!(!files_are_as_before(folder.path()));

    let next = common::spawn(&keep_files(folder.path()));
    let recovered = run(async { next.connect().await.unwrap().recovered().to_vec() });

    assert_eq!(recovered.len(), 5, "{recovered:?}");
    assert!(recovered.iter().all(|undone| undone.failure.is_none()), "{recovered:?}");
    assert_eq!(snapshot(), before);
    assert!(files_are_as_before(folder.path()));
    assert!(!folder.path().join("kt-connect").exists());
}

#[test]
fn the_helper_survives_what_ends_the_main_process() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut main = start_main(folder.path());
    let helper = helper_of(&main);

    for name in [
        nix::sys::signal::Signal::SIGINT,
        nix::sys::signal::Signal::SIGTERM,
        nix::sys::signal::Signal::SIGHUP,
        nix::sys::signal::Signal::SIGQUIT,
    ] {
        signal(helper, name);
    }
    main.kill().unwrap();
    main.wait().unwrap();

    wait_until(PROMISE, "the files as before", || files_are_as_before(folder.path()));
}

/// Not a test: what goes on after a main process that died.
#[test]
#[ignore = "run by another test, as the heir of its main process"]
fn heir_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    fs::write(std::path::Path::new(&folder).join("heir"), uids()).unwrap();
}

#[test]
fn who_dies_without_a_word_gets_an_heir_and_who_says_good_bye_does_not() {
    if !common::enter_new_network() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let paths = paths(folder.path());
    let heir = Heir {
        args: ["--exact", "heir_process", "--ignored"].map(str::to_owned).to_vec(),
        env: vec![(FOLDER.to_owned(), folder.path().display().to_string())],
        folder: "/".into(),
        ids: (65534, 65534),
    };
    let lock = InstanceLock::take("test").unwrap();
    let config = Config { paths: &paths, lock: Some(&lock), heir: Some(&heir) };
    let trace = folder.path().join("heir");
    let has_come = || fs::read_to_string(&trace).is_ok_and(|uids| uids == "65534 65534 65534 65534");

    let helper = common::spawn_as(&config);
    run(async { helper.connect().await.unwrap().finish().await.unwrap() });
    assert!(!trace.exists());
    let helper = common::spawn_as(&config);
    run(async { drop(helper.connect().await.unwrap()) });

    wait_until(PROMISE, "the heir", has_come);
    drop(lock);
}

#[test]
fn nobody_starts_before_the_undo_is_through() {
    if !common::enter_new_network() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let lock = InstanceLock::take("test").unwrap();
    let helper = common::spawn_as(&Config { paths: &paths, lock: Some(&lock), heir: None });

    run(async {
        let helper = helper.connect().await.unwrap();
        drop(lock);
        assert!(matches!(InstanceLock::take("test"), Err(instance::Error::Taken { .. })));
        helper.finish().await.unwrap();
    });

    InstanceLock::take("test").unwrap();
}

/// Returns when all changes are made, by a main process that is root no more.
fn start_main(folder: &std::path::Path) -> Child {
    let mut main = Command::new(common::this_program())
        .args(["--exact", "main_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(main.stdout.take().unwrap()).lines().map_while(Result::ok);
    let changed = said.into_iter().find(|line| line.contains("changed"));
    assert!(changed.is_some_and(|line| line.contains("65534 65534 65534 65534")));
    main
}

fn uids() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    uids.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn helper_of(main: &Child) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{}/task", main.id())).unwrap().flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    children.collect::<String>().split_whitespace().next().unwrap().parse().unwrap()
}

fn signal(pid: u32, name: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), name).unwrap();
}

fn files_are_as_before(folder: &std::path::Path) -> bool {
    fs::read_to_string(folder.join("resolv.conf")).unwrap() == RESOLV_CONF
        && fs::read_to_string(folder.join("hosts")).unwrap() == HOSTS
}

/// The paths of a folder whose files stay as they are.
fn keep_files(folder: &std::path::Path) -> kt_host::Paths {
    let changed =
        ["resolv.conf", "hosts"].map(|name| (folder.join(name), fs::read(folder.join(name)).unwrap()));
    let paths = paths(folder);
    for (path, content) in changed {
        fs::write(path, content).unwrap();
    }
    paths
}
