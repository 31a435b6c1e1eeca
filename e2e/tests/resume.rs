//! Flows outlive the connection that carries them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{Cluster, Conversation, Laptop, Transfer, long, wait_until};

#[test]
fn a_download_and_a_conversation_go_on_however_often_their_carrier_is_cut() {
    let (cuts, bytes) = if long() { (100, 1_000_000_000) } else { (8, 60_000_000) };
    let cluster = Cluster::new("resume");
    let laptop = Laptop::lease(&cluster);
    let pod = cluster.pod_ip("tomcat");
    let _connect = laptop.connect(&[]);
    let talk = Conversation::start(&laptop, &pod);
    let transfer = Transfer::start(&laptop, &pod, bytes / (cuts * 2));

    for _ in 0..cuts {
        laptop.cut_carrier();
        talk.goes_on(20);
        transfer.goes_on(20);
    }

    transfer.reaches(bytes, 300);
    transfer.ends_whole(30);
    let talked = talk.hang_up();
    assert_eq!(talked.code, 0, "{}", talked.text);
}

// covers: 7-35
#[test]
fn a_download_and_a_conversation_wait_for_a_laptop_whose_cable_was_pulled() {
    let lengths: &[u64] = if long() { &[10, 60, 120] } else { &[10] };
    let cluster = Cluster::new("cable");
    let laptop = Laptop::lease(&cluster);
    let pod = cluster.pod_ip("tomcat");
    let mut connect = laptop.connect(&[]);
    let talk = Conversation::start(&laptop, &pod);
    let transfer = Transfer::start(&laptop, &pod, 1_000_000);

    for secs in lengths {
        pull_cable_for(&laptop, *secs, &talk);
        talk.goes_on(30);
        transfer.goes_on(10);
    }

    if long() {
        connect.wait_for("connection lost", 0);
        connect.wait_for("connection restored", 0);
    }
    transfer.ends_whole(30);
    let talked = talk.hang_up();
    assert_eq!(talked.code, 0, "{}", talked.text);
}

/// Pulls the cable for so long, in which nothing is answered; the length is what is tested.
fn pull_cable_for(laptop: &Laptop, secs: u64, talk: &Conversation) {
    let _pulled = laptop.pull_cable();
    sleep(Duration::from_secs(1)); // what was on its way has arrived
    let said = talk.lines();
    sleep(Duration::from_secs(secs - 1));
    assert_eq!(talk.lines(), said, "the conversation goes on without a cable");
}

#[test]
fn a_deleted_shadow_is_replaced_and_new_connections_work() {
    let cluster = Cluster::new("evicted");
    let laptop = Laptop::lease(&cluster);
    let mut connect = laptop.connect(&[]);
    let deleted = Instant::now();

    cluster
        .kubectl(&["delete", "pod", "-l", "kt-role=shadow-connect", "--grace-period=0", "--force"])
        .expect("deleted");

    connect.wait_for("the shadow pod is gone", 10);
    let told = deleted.elapsed();
    wait_until("new connections work", Duration::from_secs(10).saturating_sub(told), || {
        let curl = laptop.run(&["curl", "-sS", "-m", "2", "http://tomcat:8080"]);
        (curl.code == 0).then_some(())
    });
    println!("told after {told:?}, new connections after {:?}", deleted.elapsed());
}
