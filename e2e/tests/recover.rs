//! `recover`, and the sweep at the start of `connect`: what others have left is put right.

use e2e::{DEMO, LOCAL, Laptop, Snapshot};

const URL: &str = "http://tomcat:8080";
/// How long the service may be without its right answer after `recover`, in seconds: who still waits
/// at the dead shadow is passed on by it.
const AFTER_DEAD: u64 = 5;

// covers: 7-31
#[test]
fn a_service_whose_exchange_was_killed_is_recovered_by_somebody_else() {
    let (cluster, owner) = Laptop::with_cluster("dead");
    let Some(other) = Laptop::lease_another("dead", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = owner.serve(8080, LOCAL);
    let mut exchange = owner.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    for process in owner.processes("ktctl") {
        owner.kill9(&process);
    }
    assert_ne!(cluster.snapshot(), before, "the killed run has left nothing to recover");

    let recover = other.ktctl(&["recover", "svc/tomcat"]).wait(20);

    assert_eq!(recover.code, 0, "{}", recover.text);
    assert!(recover.text.contains("Original service tomcat recovered"), "{}", recover.text);
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
    // What the killed run has noted is not there any more, which the next start finds out.
    let mut next = owner.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after exchange", 20);
    assert_eq!(next.interrupt(15).code, 0);
}

// covers: 7-31
#[test]
fn whatever_was_killed_the_service_has_its_pods_again_and_nothing_of_ours_is_left() {
    let (cluster, owner) = Laptop::with_cluster("four");
    let Some(other) = Laptop::lease_another("four", &cluster) else { return };
    cluster.apply(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let bind = ["create", "rolebinding", "scale", "--role=ktctl-exchange-scale", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let before = cluster.snapshot().without(&["objects"]);
    let _local = owner.serve(8080, LOCAL);

    for (command, mode) in
        [("exchange", "selector"), ("exchange", "scale"), ("mesh", "auto"), ("mesh", "manual")]
    {
        let mut killed = owner.ktctl(&[command, "tomcat", "--expose", "8080", "--mode", mode]);
        killed.wait_for("Now ", 60);
        for process in owner.processes("ktctl") {
            owner.kill9(&process);
        }

        let recover = other.ktctl(&["recover", "tomcat"]).wait(30);

        assert_eq!(recover.code, 0, "{command} {mode}: {}", recover.text);
        cluster.wait_for_answer(URL, DEMO, 20);
        Snapshot::wait_until_as(&before, 20, || cluster.snapshot().without(&["objects"]));
        let list = ["get", "pods,services,configmaps,deployments", "-l", "control-by=kt", "-o", "name"];
        e2e::wait_until("nothing of ours is left", std::time::Duration::from_secs(20), || {
            cluster.kubectl(&list).ok().filter(|left| left.trim().is_empty())
        });
        for _ in 0..5 {
            assert!(cluster.get(URL).is_ok_and(|page| page.contains(DEMO)), "{command} {mode}");
        }
    }
    // What the killed runs have noted on their laptop is not there any more.
    assert_eq!(owner.ktctl(&["clean"]).wait(40).code, 0);
}

#[test]
fn a_living_exchange_ends_when_somebody_else_recovers_the_service() {
    let (cluster, owner) = Laptop::with_cluster("living");
    let Some(other) = Laptop::lease_another("living", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = owner.serve(8080, LOCAL);
    let mut exchange = owner.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);

    assert_eq!(other.ktctl(&["recover", "tomcat"]).wait(20).code, 0);

    let ended = exchange.wait(20);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("tomcat"), "{}", ended.text);
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn a_service_to_which_nothing_was_done_stays_as_it_is() {
    let (cluster, laptop) = Laptop::with_cluster("nothing");
    let before = cluster.snapshot();

    let recover = laptop.ktctl(&["recover", "tomcat"]).wait(10);
    let unknown = laptop.ktctl(&["recover", "nonesuch"]).wait(10);

    assert_eq!(recover.code, 0, "{}", recover.text);
    let nothing = "Service tomcat is clean and tidy, nothing would be done";
    let neither = "Service tomcat neither exchanged nor meshed by kt, nothing would be done";
    assert!(recover.text.contains(nothing) || recover.text.contains(neither), "{}", recover.text);
    assert_eq!(unknown.code, 1, "{}", unknown.text);
    assert!(unknown.text.contains("nonesuch"), "{}", unknown.text);
    cluster.snapshot().assert_as(&before);
}

// covers: 7-6
#[test]
fn a_shadow_whose_heartbeat_is_old_is_swept_unless_told_not_to() {
    let (cluster, laptop) = Laptop::with_cluster("sweep");
    let mut dead = laptop.ktctl(&["connect", "--disableTunDevice"]);
    dead.wait_for("Socks proxy established", 20);
    let stale = cluster
        .kubectl(&["get", "pods", "-l", "kt-role=shadow-connect", "-o", "jsonpath={.items[0].metadata.name}"])
        .unwrap();
    // As after a kill on a laptop that is never switched on again.
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
    laptop.run(&["bash", "-c", "rm -rf ~/.kt"]).ok();
    let long_ago = format!("kt-last-heart-beat={}", now() - 600);
    for kind in ["pod", "configmap"] {
        cluster.kubectl(&["annotate", "--overwrite", kind, &stale, &long_ago]).unwrap();
    }

    let mut skips = laptop.ktctl(&["connect", "--disableTunDevice", "--skipCleanup"]);
    skips.wait_for("All looks good", 20);
    assert_eq!(skips.interrupt(15).code, 0);
    assert!(cluster.object(&format!("pod/{stale}")).is_some());
    let mut sweeps = laptop.ktctl(&["connect", "--disableTunDevice"]);

    sweeps.wait_for("A dead run had left something", 20);
    e2e::wait_until("the stale shadow is gone", std::time::Duration::from_secs(15), || {
        cluster.object(&format!("pod/{stale}")).is_none().then_some(())
    });
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.expect("the clock is right").as_secs()
}
