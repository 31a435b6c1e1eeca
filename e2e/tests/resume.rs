//! Flows outlive the connection that carries them.

use std::collections::HashSet;
use std::time::Duration;

use e2e::{Cluster, Conversation, Laptop, long, wait_until};

/// The connections to the API server, by their ports on the laptop.
fn carriers(laptop: &Laptop) -> HashSet<String> {
    let sockets = laptop.root(&["ss", "-Htn", "state", "established", "dport", "=", ":6443"]).ok();
    let port = |line: &str| Some(line.split_whitespace().nth(2)?.rsplit(':').next()?.to_owned());
    sockets.lines().filter_map(port).collect()
}

/// Resets what the laptop sends to the API server, as a proxy that restarts does; until dropped.
struct Cut<'a>(&'a Laptop);

impl<'a> Cut<'a> {
    fn new(laptop: &'a Laptop) -> Self {
        let rules = "add table inet cut { chain out { type filter hook output priority 0; \
                     tcp dport 6443 reject with tcp reset; }; }";
        laptop.root(&["nft", rules]).ok();
        Self(laptop)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.root(&["nft", "delete table inet cut"]);
    }
}

/// Cuts the connection that carries the flows. It is the one that never rests: others, such as those
/// that watch, say nothing and so learn nothing.
fn cut(laptop: &Laptop) {
    let before = carriers(laptop);
    assert!(!before.is_empty(), "there is something to cut");
    let _cut = Cut::new(laptop);
    wait_until("the carrier is cut", Duration::from_secs(10), || {
        (!before.is_subset(&carriers(laptop))).then_some(())
    });
}

#[test]
fn a_download_and_a_conversation_go_on_however_often_their_carrier_is_cut() {
    let (cuts, bytes) = if long() { (100, 1_000_000_000) } else { (8, 120_000_000) };
    let cluster = Cluster::new("resume");
    let laptop = Laptop::lease(&cluster);
    let pod = cluster.pod_ip("tomcat");
    let connect = laptop.connect(&[]);
    let talk = Conversation::start(&laptop, &pod);
    let url = format!("http://{pod}:8080/bytes?n={bytes}");
    let rate = (bytes / (cuts * 2)).to_string();
    let print = "%{http_code} %{size_download}";
    let mut download =
        laptop.start(&["curl", "-sS", "--limit-rate", &rate, "-o", "/dev/null", "-w", print, &url]);

    for _ in 0..cuts {
        cut(&laptop);
        talk.goes_on(20);
    }
    let downloaded = download.wait(600);
    let talked = talk.hang_up();

    assert_eq!((downloaded.code, downloaded.text), (0, format!("200 {bytes}")));
    assert_eq!(talked.code, 0, "{}", talked.text);
    drop(connect);
}

// covers: 7-35
#[test]
fn a_conversation_waits_for_a_laptop_whose_cable_was_pulled() {
    let cluster = Cluster::new("cable");
    let laptop = Laptop::lease(&cluster);
    let mut connect = laptop.connect(&[]);
    let talk = Conversation::start(&laptop, &cluster.pod_ip("tomcat"));

    laptop.link(&["--down"]);
    connect.wait_for("connection lost", 25);
    if long() {
        std::thread::sleep(Duration::from_secs(120)); // the length of the cut is what is tested
    }
    laptop.link(&["--up"]);
    connect.wait_for("connection restored", 30);
    talk.goes_on(10);

    assert_eq!(talk.hang_up().code, 0);
}

#[test]
fn a_deleted_shadow_is_replaced_and_new_connections_work() {
    let cluster = Cluster::new("evicted");
    let laptop = Laptop::lease(&cluster);
    let mut connect = laptop.connect(&[]);

    cluster
        .kubectl(&["delete", "pod", "-l", "kt-role=shadow-connect", "--grace-period=0", "--force"])
        .expect("deleted");
    connect.wait_for("the shadow pod is gone", 20);

    wait_until("new connections work", Duration::from_secs(10), || {
        let curl = laptop.run(&["curl", "-sS", "-m", "2", "http://tomcat:8080"]);
        (curl.code == 0).then_some(())
    });
}
