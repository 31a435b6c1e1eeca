//! How a `mesh` begins: what is made when, and what is left of a start that comes to nothing.

use std::time::{Duration, SystemTime};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Snapshot, wait_until};

const URL: &str = "http://tomcat:8080";
const STUNTMAN: &str = "service/tomcat-kt-stuntman";
/// An image that no node has, from a registry that is not there.
const NO_IMAGE: &str = "registry.invalid/shadow:none";

#[test]
fn a_run_that_was_killed_while_its_pods_start_leaves_nothing_after_the_next_start() {
    let (cluster, laptop) = Laptop::with_cluster("startkilled");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    kill_while_pods_start(&cluster, &laptop);

    start_something(&laptop, "Cleaned up after mesh");
    assert!(cluster.get(URL).expect("an answer").contains(DEMO));
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn after_a_kill_a_router_stays_for_as_long_as_somebody_else_has_locked_the_service() {
    let (cluster, laptop) = Laptop::with_cluster("startlocked");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    kill_while_pods_start(&cluster, &laptop);
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs();
    let lock = [&format!("kt-lock={since}"), "kt-lock-owner=bob@there 1"];
    let annotate = |words: &[&str]| {
        cluster.kubectl(&[&["annotate", "--overwrite", "service/tomcat"], words].concat()).expect("annotated")
    };
    annotate(&lock);

    start_something(&laptop, "somebody else holds the lock of service tomcat");

    for object in [STUNTMAN, "pod/tomcat-kt-router"] {
        assert!(cluster.object(object).is_some(), "{object} is gone");
    }
    annotate(&["kt-lock-", "kt-lock-owner-"]);
    start_something(&laptop, "Cleaned up after mesh");
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn a_start_that_fails_leaves_nothing_and_another_user_his_stuntman() {
    let (cluster, laptop) = Laptop::with_cluster("startfails");
    let Some(other) = Laptop::lease_another("startfails", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    fail_to_start(&other);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
    let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"]);
    mesh.wait_for("Now you can", 40);
    let stuntman = uid(&cluster);
    fail_to_start(&other);

    assert_eq!(uid(&cluster), stuntman);
    for (header, page) in [(None, DEMO), (Some("VERSION: mine"), LOCAL)] {
        let answer = cluster.get_with(URL, header).expect("an answer");
        assert!(answer.contains(page), "{header:?}: {answer}");
    }
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

/// Kills a run whose stuntman and router are there, and whose shadow is not.
fn kill_while_pods_start(cluster: &Cluster, laptop: &Laptop) {
    let mut killed = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080"]);
    for object in [STUNTMAN, "pod/tomcat-kt-router"] {
        wait_until(object, Duration::from_secs(20), || cluster.object(object));
    }
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
    killed.wait(10);
}

/// Another command, which cleans up first and tells how that went.
fn start_something(laptop: &Laptop, said: &str) {
    let mut next = laptop.ktctl(&["preview", "mine", "--expose", "8080"]);
    next.wait_for("Now you can", 40);
    next.wait_for(said, 0);
    assert_eq!(next.interrupt(20).code, 0);
}

fn fail_to_start(laptop: &Laptop) {
    let line = ["mesh", "tomcat", "--expose", "8080", "--skipPortChecking", "--image", NO_IMAGE];
    let failed = laptop.ktctl(&line).wait(60);

    assert_eq!(failed.code, 1, "{}", failed.text);
    assert!(!failed.text.contains("recovered"), "it was never led away: {}", failed.text);
}

fn uid(cluster: &Cluster) -> String {
    let stuntman = cluster.object(STUNTMAN).expect("a stuntman");
    stuntman["metadata"]["uid"].as_str().expect("uid").to_owned()
}
