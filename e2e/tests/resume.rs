//! Flows outlive the connection that carries them.

use std::time::Duration;

use e2e::{Cluster, Conversation, Laptop, long, wait_until};

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
        laptop.cut_carrier();
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
