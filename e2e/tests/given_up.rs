//! Ctrl+C while a command still starts: whatever it has made by then goes again.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Laptop, Snapshot};

/// Moments of a start, which takes two to four seconds.
const MOMENTS: [u64; 8] = [150, 400, 700, 1000, 1300, 1700, 2100, 2600];

#[test]
fn a_start_of_exchange_that_is_given_up_leaves_nothing() {
    gives_up("exchange", &["exchange", "tomcat", "--expose", "8080"]);
}

#[test]
fn a_start_of_mesh_that_is_given_up_leaves_nothing() {
    gives_up("mesh", &["mesh", "tomcat", "--expose", "8080"]);
}

#[test]
fn a_start_of_mesh_by_hand_that_is_given_up_leaves_nothing() {
    gives_up("byhand", &["mesh", "tomcat", "--expose", "8080", "--mode", "manual"]);
}

#[test]
fn a_start_of_preview_that_is_given_up_leaves_nothing() {
    gives_up("preview", &["preview", "mine", "--expose", "8080"]);
}

#[test]
fn a_start_of_connect_that_is_given_up_leaves_nothing() {
    gives_up("connect", &["connect"]);
}

fn gives_up(name: &str, line: &[&str]) {
    let (cluster, laptop) = Laptop::with_cluster(&format!("up{name}"));
    let (in_cluster, on_laptop) = (cluster.snapshot(), laptop.snapshot());
    for moment in MOMENTS {
        let mut run = if name == "connect" {
            laptop.sudo_ktctl(line)
        } else {
            laptop.ktctl(&[line, &["--skipPortChecking"]].concat())
        };
        sleep(Duration::from_millis(moment)); // the moment is what is tested

        let ended = run.interrupt(30);

        // Before it can listen to signals they end it.
        assert!([0, 130, -1].contains(&ended.code), "after {moment} ms: {}: {}", ended.code, ended.text);
        Snapshot::wait_until_as(&in_cluster, 10, || cluster.snapshot());
        Snapshot::wait_until_as(&on_laptop, 10, || laptop.snapshot());
    }
}
