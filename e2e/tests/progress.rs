//! What a user sees while `ktctl` waits for something.

use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{LOCAL, Laptop, Snapshot, ktctl, wait_until};

/// A shadow that no node has room for.
const NO_ROOM: &str = "connect --disableTunDevice --podQuota 900c,64m";

#[test]
fn on_a_terminal_the_status_line_says_what_is_waited_for_and_since_when() {
    let (_cluster, laptop) = Laptop::with_cluster("status");
    let command = format!("{} {NO_ROOM} --podCreationTimeout 4", ktctl());

    let shown = laptop.run(&["script", "-qfec", &command, "/dev/null"]);

    assert_eq!(shown.code, 1, "{}", shown.text);
    for part in ["waiting for pod kt-connect-shadow-", "Insufficient cpu", "(2s)"] {
        assert!(shown.text.contains(part), "{part} is not in {:?}", shown.text);
    }
}

#[test]
fn a_second_interrupt_gives_the_clean_up_up_and_names_what_remains() {
    let (cluster, laptop) = Laptop::with_cluster("twice");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    laptop.link(&["--down"]);

    exchange.signal("INT");
    exchange.wait_for("Terminal signal is", 5);
    exchange.signal("HUP"); // of a terminal that is closed: nobody is impatient
    sleep(Duration::from_millis(1200)); // what comes sooner is the same Ctrl+C, handed on by two
    let asked = Instant::now();
    let ended = exchange.interrupt(8);
    laptop.link(&["--up"]);

    assert_eq!(ended.code, 130, "{}", ended.text);
    assert!(asked.elapsed() < Duration::from_secs(5), "it went on for {:?}", asked.elapsed());
    let remaining = format!("ktctl -n {} recover tomcat", cluster.namespace());
    assert!(ended.text.contains(&remaining), "{}", ended.text);
    let recovered = wait_until("the link is up", Duration::from_secs(20), || {
        Some(laptop.ktctl(&["recover", "tomcat"]).wait(30)).filter(|ended| ended.code == 0)
    });
    assert!(recovered.text.contains("tomcat"), "{}", recovered.text);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}
