//! How `connect` ends: nothing is left behind, whoever ends it and on whatever laptop.

use std::time::Duration;

use e2e::{Cluster, DEMO, Kind, Laptop, Process, Running, Snapshot, skip, wait_until};

/// How long after a kill the laptop may be as it was not, in seconds.
const HEALED: u64 = 2;
/// The same for the cluster, which is cleaned up over the network, and where pods end in their time.
const SWEPT: u64 = 15;

#[test]
fn nothing_is_left_after_an_interrupt() {
    for kind in [Kind::Plain, Kind::Resolved, Kind::Vpn] {
        ends_without_a_trace("int", kind, |_, connect| connect.signal("INT"));
    }
}

#[test]
fn nothing_is_left_after_a_termination() {
    for kind in [Kind::Firewall, Kind::RpFilter] {
        ends_without_a_trace("term", kind, |_, connect| connect.signal("TERM"));
    }
}

#[test]
fn nothing_is_left_after_the_terminal_was_closed() {
    ends_without_a_trace("hup", Kind::Plain, |_, connect| connect.signal("HUP"));
}

#[test]
fn nothing_is_left_after_a_quit_from_the_keyboard() {
    ends_without_a_trace("quit", Kind::Plain, |_, connect| connect.signal("QUIT"));
}

// covers: 7-34
#[test]
fn nothing_is_left_after_the_pid_file_was_removed() {
    for kind in [Kind::Plain, Kind::Resolved] {
        ends_without_a_trace("pidfile", kind, |laptop, _| {
            laptop.run(&["bash", "-c", "rm ~/.kt/pid/connect-*.pid"]).ok();
        });
    }
}

#[test]
fn after_a_kill_the_laptop_heals_at_once_and_then_the_cluster_by_themselves() {
    for kind in Kind::ALL {
        let Some(Before { cluster, laptop, on_laptop, in_cluster }) = Before::new("kill", kind) else {
            continue;
        };
        let _connect = laptop.connect(&[]);

        laptop.kill9(&main_process(&laptop));

        Snapshot::wait_until_as(&settings(&on_laptop), HEALED, || settings(&laptop.snapshot()));
        Snapshot::wait_until_as(&in_cluster, SWEPT, || cluster.snapshot());
        Snapshot::wait_until_as(&on_laptop, SWEPT, || laptop.snapshot());
    }
}

// covers: 7-33
#[test]
fn after_a_kill_of_all_processes_the_next_start_puts_everything_back() {
    for kind in Kind::ALL {
        let Some(Before { cluster, laptop, on_laptop, in_cluster }) = Before::new("killall", kind) else {
            continue;
        };
        let _killed = laptop.connect(&[]);
        kill_all(&laptop);
        assert_ne!(laptop.snapshot(), on_laptop, "the killed run has left nothing to put back");

        let mut next = laptop.connect(&[]);

        next.wait_for("A dead run had left", 0);
        next.wait_for("Cleaned up after connect", 0);
        assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
        assert_eq!(next.interrupt(15).code, 0);
        laptop.snapshot().assert_as(&on_laptop);
        Snapshot::wait_until_as(&in_cluster, SWEPT, || cluster.snapshot());
    }
}

/// A laptop and a namespace, and how they were before anything was started.
struct Before {
    laptop: Laptop,
    on_laptop: Snapshot,
    in_cluster: Snapshot,
    cluster: Cluster,
}

impl Before {
    /// `None` where the test bed has no such laptop.
    fn new(name: &str, kind: Kind) -> Option<Self> {
        let cluster = Cluster::new(&format!("{name}-{kind:?}").to_lowercase());
        let Some(laptop) = Laptop::lease_kind(&cluster, kind) else {
            skip(name, &format!("the test bed has no laptop of kind {kind:?}"));
            return None;
        };
        let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
        Some(Self { laptop, on_laptop, in_cluster, cluster })
    }
}

/// Connects, ends it in this way, and compares with what was before.
fn ends_without_a_trace(name: &str, kind: Kind, end: impl Fn(&Laptop, &mut Running)) {
    let Some(Before { cluster, laptop, on_laptop, in_cluster }) = Before::new(name, kind) else { return };
    let mut connect = laptop.connect(&[]);
    assert_ne!(laptop.snapshot(), on_laptop, "connect changes nothing on the laptop");
    assert_ne!(cluster.snapshot(), in_cluster, "connect makes nothing in the cluster");

    end(&laptop, &mut connect);

    let ended = connect.wait(15);
    assert_eq!(ended.code, 0, "{}", ended.text);
    laptop.snapshot().assert_as(&on_laptop);
    cluster.snapshot().assert_as(&in_cluster);
}

/// What of a laptop decides whether its programs reach what they reached before: all but the
/// processes and the journal of what remains to be done in the cluster.
fn settings(laptop: &Snapshot) -> Snapshot {
    laptop.without(&["kt folders", "processes", "listeners", "files in /tmp and /run"])
}

/// The process that talks to the cluster: it runs as the user.
fn main_process(laptop: &Laptop) -> Process {
    let mine = |process: &Process| process.user == laptop.user() && process.args.contains(" connect");
    laptop.processes("ktctl").into_iter().find(mine).expect("connect runs as the user")
}

/// Kills the helper first, so that it can not undo anything.
fn kill_all(laptop: &Laptop) {
    let helper = |process: &Process| process.user == "root" && process.args.contains("root-helper");
    let main = main_process(laptop);
    let helper = laptop.processes("ktctl").into_iter().find(helper).expect("a helper runs as root");
    let pids = [helper.pid, main.pid].map(|pid| pid.to_string());
    laptop.root(&["kill", "-9", &pids[0], &pids[1]]).ok();
    wait_until("the killed processes are gone", Duration::from_secs(5), || {
        laptop.processes("ktctl").iter().all(|p| ![helper.pid, main.pid].contains(&p.pid)).then_some(())
    });
}
