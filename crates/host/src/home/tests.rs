//! Unit tests of the home folder.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;

#[test]
fn a_run_leaves_no_trace_in_a_home_without_folder() {
    let (base, home) = new_home();

    let pid_file = home.pid_file("connect").unwrap();
    let run_file = home.run_file("connect", &json!({"namespace": "dev"})).unwrap();
    assert_eq!(fs::metadata(home.folder()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(pid_file);
    drop(run_file);

    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[test]
fn what_the_user_has_in_the_folder_stays() {
    let (_base, home) = new_home();
    fs::create_dir(home.folder()).unwrap();
    fs::write(home.folder().join("config"), "x").unwrap();

    drop(home.pid_file("mesh").unwrap());

    let left: Vec<_> = fs::read_dir(home.folder()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(left, ["config"]);
}

#[test]
fn an_empty_folder_of_the_user_stays() {
    let (_base, home) = new_home();
    fs::create_dir(home.folder()).unwrap();

    drop(home.pid_file("mesh").unwrap());

    assert!(home.folder().exists());
}

#[test]
fn the_pid_file_holds_the_pid_as_text() {
    let (_base, home) = new_home();
    let me = std::process::id();

    let _file = home.pid_file("exchange").unwrap();

    let path = home.folder().join("pid").join(format!("exchange-{me}.pid"));
    assert_eq!(fs::read_to_string(path).unwrap(), me.to_string());
}

#[tokio::test]
async fn removing_the_pid_file_is_noticed() {
    let (_base, home) = new_home();
    let file = home.pid_file("connect").unwrap();
    assert!(timeout(Duration::from_millis(10), file.wait_until_removed()).await.is_err());

    for path in files(&home.folder().join("pid"), "pid") {
        fs::remove_file(path).unwrap();
    }

    timeout(Duration::from_secs(5), file.wait_until_removed()).await.unwrap();
}

#[test]
fn only_pid_files_of_dead_processes_are_removed() {
    let (_base, home) = new_home();
    let _mine = home.pid_file("connect").unwrap();
    // Above the largest number that Linux gives to processes (2^22).
    fs::write(home.folder().join("pid/connect-4194999.pid"), "4194999").unwrap();

    let removed = home.remove_dead_pid_files();

    assert_eq!(removed, [home.folder().join("pid/connect-4194999.pid")]);
    assert_eq!(files(&home.folder().join("pid"), "pid").len(), 1);
}

#[test]
fn a_dead_run_tells_its_heirs_what_it_left() {
    let (base, home) = new_home();
    fs::create_dir_all(home.folder().join("run")).unwrap();
    fs::write(home.folder().join("run/connect-4194999.json"), include_str!("../../samples/run.v1.json"))
        .unwrap();
    let mut mine = home.run_file("exchange", &json!(1)).unwrap();
    mine.update(&json!({"target": "tomcat"})).unwrap();

    let runs = home.runs();
    let (dead, live): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(|run| !run.is_alive());
    assert_eq!(dead[0].component, "connect");
    assert_eq!(dead[0].status, json!({"namespace": "dev", "objects": ["pod/kt-connect-shadow-abcde"]}));
    assert_eq!(live[0].status, json!({"target": "tomcat"}));

    home.rewrite_run(&dead[0], &json!({"namespace": "other"})).unwrap();
    let rewritten = home.runs().into_iter().find(|run| run.component == "connect").unwrap();
    assert_eq!(rewritten.status, json!({"namespace": "other"}));
    assert_eq!(rewritten.process, dead[0].process);
    home.remove_run(&dead[0]).unwrap();
    drop(mine);
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

fn new_home() -> (tempfile::TempDir, Home) {
    let base = tempfile::tempdir().unwrap();
    let home = Home::new(base.path().join(".kt"), None);
    (base, home)
}

#[test]
fn only_old_logs_of_ours_are_removed() {
    let base = tempfile::tempdir().unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    for (name, is_old) in [("kt-1.log", true), ("kt-2.log", false), ("other.log", true)] {
        let file = fs::File::create(base.path().join(name)).unwrap();
        if is_old {
            file.set_modified(old).unwrap();
        }
    }
    fs::create_dir(base.path().join("kt-folder")).unwrap();

    let removed = remove_old_logs(base.path(), Duration::from_secs(3000));

    assert_eq!(removed, [base.path().join("kt-1.log")]);
    for stays in ["kt-2.log", "other.log", "kt-folder"] {
        assert!(base.path().join(stays).exists(), "{stays}");
    }
}
