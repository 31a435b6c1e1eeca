//! Callers notice nothing of those who join and leave, nor of a router that is made anew.

use e2e::{Conversation, assert_nothing_lost, callers_who_come_anew, callers_who_keep, wait_until_they_hear};

use super::*;

/// A service with a page and with lines.
const BOTH: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec":
    {"selector": {"app": "tomcat"}, "ports": [{"name": "page", "port": 8080}, {"name": "lines", "port": 7000}]}}"#;

#[test]
fn no_request_is_lost_when_users_join_and_leave() {
    let (cluster, laptop) = Laptop::with_cluster("meshload");
    let _local = laptop.serve(8080, LOCAL);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, DEMO);

    for _ in 0..2 {
        let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
        wait_for_marked(&cluster, "VERSION: mine", LOCAL);
        wait_until_they_hear(&callers, DEMO);
        assert_eq!(mesh.interrupt(20).code, 0);
        wait_until_they_hear(&callers, DEMO);
    }

    assert_nothing_lost(&callers);
    for caller in &callers {
        assert!(!caller.text().contains(LOCAL), "came here without the mark: {}", caller.text());
    }
}

#[test]
fn who_has_joined_loses_no_request_and_no_connection_when_others_join_and_leave() {
    let (cluster, one) = Laptop::with_cluster("joinleave");
    let Some(two) = Laptop::lease_another("joinleave", &cluster) else { return };
    cluster.apply(BOTH);
    let service = cluster.service_ip("both");
    let _locals = [one.serve(8080, LOCAL), two.serve(8080, OTHER)];
    let mut first = mesh(&one, &["both", "--expose", "8080", "--versionMark", "one"]);
    let anew = callers_who_come_anew(&cluster, &service, "VERSION: one", LOCAL);
    let kept = callers_who_keep(&cluster, &service, "VERSION: one", "100", LOCAL);
    let talk = Conversation::from_node(&cluster, "node1", &service);

    for _ in 0..2 {
        let mut second = mesh(&two, &["both", "--expose", "8080", "--versionMark", "two"]);
        let theirs = callers_who_come_anew(&cluster, &service, "VERSION: two", OTHER);
        wait_until_they_hear(&theirs, OTHER);
        drop(theirs);
        assert_eq!(second.interrupt(20).code, 0);
        wait_until_they_hear(&anew, LOCAL);
    }

    for callers in [&anew, &kept] {
        assert_nothing_lost(callers);
        for caller in callers {
            let said = caller.text();
            assert!(!said.contains(DEMO) && !said.contains(OTHER) && !said.contains("FIN"), "{said}");
        }
    }
    assert_eq!(talk.hang_up().code, 0);
    assert_eq!(first.interrupt(20).code, 0);
}

#[test]
fn connections_that_callers_keep_are_ended_and_never_reset_when_the_last_one_leaves() {
    let (cluster, laptop) = Laptop::with_cluster("meshkept");
    let service = cluster.service_ip("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let before = callers_who_keep(&cluster, &service, "", "60000", DEMO);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    let idle = callers_who_keep(&cluster, &service, "VERSION: mine", "60000", LOCAL);
    let busy = callers_who_keep(&cluster, &service, "VERSION: mine", "200", LOCAL);

    assert_eq!(mesh.interrupt(20).code, 0);

    for callers in [&idle, &busy] {
        wait_until("all callers see an end", Duration::from_secs(5), || {
            callers.iter().all(|caller| caller.text().contains("FIN")).then_some(())
        });
    }
    wait_until_they_hear(&busy, DEMO);
    for callers in [&before, &idle, &busy] {
        assert_nothing_lost(callers);
    }
    for caller in before {
        assert!(!caller.text().contains("FIN"), "who kept the original lost it: {}", caller.text());
    }
}

#[test]
fn no_request_is_lost_and_none_goes_astray_when_the_router_is_deleted() {
    let (cluster, laptop) = Laptop::with_cluster("routerload");
    let before = cluster.snapshot();
    let service = cluster.service_ip("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    let marked = callers_who_come_anew(&cluster, &service, "VERSION: mine", LOCAL);
    let kept = callers_who_keep(&cluster, &service, "VERSION: mine", "100", LOCAL);
    let others = callers_who_come_anew(&cluster, &service, "", DEMO);

    cluster.kubectl(&["delete", "pod", "tomcat-kt-router", "--wait=false"]).expect("deleted");

    mesh.wait_for("another pod does its work", 30);
    mesh.wait_for("was made anew", 60);
    for (callers, page, other) in [(&marked, LOCAL, DEMO), (&kept, LOCAL, DEMO), (&others, DEMO, LOCAL)] {
        wait_until_they_hear(callers, page);
        assert_nothing_lost(callers);
        assert!(callers.iter().all(|caller| !caller.text().contains(other)), "{other} for {page}");
    }
    for callers in [marked, kept, others] {
        drop(callers);
    }
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn no_request_is_lost_when_somebody_recovers_the_service() {
    let (cluster, owner) = Laptop::with_cluster("recoverload");
    let Some(other) = Laptop::lease_another("recoverload", &cluster) else { return };
    let before = cluster.snapshot();
    let service = cluster.service_ip("tomcat");
    let _local = owner.serve(8080, LOCAL);
    let mut mesh = mesh(&owner, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    let marked = callers_who_come_anew(&cluster, &service, "VERSION: mine", LOCAL);
    let others = callers_who_come_anew(&cluster, &service, "", DEMO);

    assert_eq!(other.ktctl(&["recover", "tomcat"]).wait(30).code, 0);

    assert_eq!(mesh.wait(30).code, 1);
    for callers in [&marked, &others] {
        wait_until_they_hear(callers, DEMO);
        assert_nothing_lost(callers);
    }
    Snapshot::wait_until_as(&before, 40, || cluster.snapshot());
}
