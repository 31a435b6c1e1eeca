//! What is lost while a service is meshed, and who puts it back: the redirect, the router, a shadow, the
//! user himself.

use e2e::{assert_nothing_lost, wait_until_they_hear};

use super::*;

// covers: 7-26
#[test]
fn a_service_that_is_applied_anew_is_meshed_again() {
    let (cluster, laptop) = Laptop::with_cluster("anew");
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);

    let back = "{\"spec\":{\"selector\":{\"app\":\"tomcat\",\"kt-role\":null,\"kt-target\":null}}}";
    cluster.kubectl(&["patch", "service", "tomcat", "--type", "merge", "-p", back]).expect("patched");

    mesh.wait_for("service tomcat is meshed again", 20); // after a random pause
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    assert!(cluster.get(URL).expect("an answer").contains(DEMO));
}

#[test]
fn a_router_that_is_deleted_is_made_anew() {
    let (cluster, laptop) = Laptop::with_cluster("norouter");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    cluster.kubectl(&["delete", "pod", "tomcat-kt-router", "--grace-period=1"]).expect("deleted");

    mesh.wait_for("was made anew", 30);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn after_a_kill_the_originals_answer_and_the_next_start_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("meshdead");
    let before = cluster.snapshot();
    let local = laptop.serve(8080, LOCAL);
    let _mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);

    laptop.kill9(&main_process(&laptop));
    drop(local);

    assert!(cluster.get(URL).expect("an answer without the mark").contains(DEMO));
    wait_until("the originals answer", Duration::from_secs(25), || {
        cluster.get_with(URL, Some("VERSION: mine")).is_ok_and(|page| page.contains(DEMO)).then_some(())
    });
    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after mesh", 20);
    assert_eq!(next.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn somebody_who_recovers_the_service_ends_the_mesh() {
    let (cluster, owner) = Laptop::with_cluster("meshrecover");
    let Some(other) = Laptop::lease_another("meshrecover", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = owner.serve(8080, LOCAL);
    let mut mesh = mesh(&owner, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    assert_eq!(other.ktctl(&["recover", "tomcat"]).wait(30).code, 0);

    let ended = mesh.wait(30);
    assert_eq!(ended.code, 1, "{}", ended.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

// covers: 7-31
#[test]
fn a_mesh_whose_user_was_killed_is_recovered_by_somebody_else() {
    let (cluster, owner) = Laptop::with_cluster("meshkilled");
    let Some(other) = Laptop::lease_another("meshkilled", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = owner.serve(8080, LOCAL);

    for mode in ["auto", "manual"] {
        let _mesh = mesh(&owner, &["tomcat", "--expose", "8080", "--mode", mode, "--versionMark", "mine"]);
        owner.kill9(&main_process(&owner));
        assert_ne!(cluster.snapshot(), before, "{mode}: the killed run has left nothing to recover");

        let recover = other.ktctl(&["recover", "tomcat"]).wait(30);

        assert_eq!(recover.code, 0, "{mode}: {}", recover.text);
        wait_until("the router waits for no callers", Duration::from_secs(6), || {
            cluster.object("pod/tomcat-kt-router").is_none().then_some(())
        });
        cluster.wait_for_answer(URL, DEMO, NODES);
        Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
        owner.run(&["rm", "-rf", ".kt"]).ok();
    }
}

#[test]
fn a_laptop_that_others_took_for_dead_while_it_slept_meshes_again_when_it_wakes() {
    let (cluster, sleeper) = Laptop::with_cluster("sleeper");
    let Some(other) = Laptop::lease_another("sleeper", &cluster) else { return };
    let before = cluster.snapshot();
    let _locals = [sleeper.serve(8080, LOCAL), other.serve(8080, LOCAL)];
    let mut slept = mesh(&sleeper, &["tomcat", "--expose", "8080", "--versionMark", "sleeper"]);
    let mut awake = mesh(&other, &["tomcat", "--expose", "8080", "--versionMark", "awake"]);
    sleeper.link(&["--down"]);
    cluster.age(&["tomcat-kt-mesh-sleeper"], 600);

    let cleaned = other.ktctl(&["clean"]).wait(30);
    let meanwhile = cluster.get_with(URL, Some("VERSION: sleeper"));
    sleeper.link(&["--up"]);

    assert!(cleaned.text.contains("Removing 1 dead versions"), "{}", cleaned.text);
    assert!(meanwhile.expect("an answer").contains(DEMO));
    slept.wait_for("version tomcat-kt-mesh-sleeper of service tomcat was taken for dead, it is back", 60);
    for mark in ["sleeper", "awake"] {
        wait_until(mark, Duration::from_secs(5), || {
            let answer = cluster.get_with(URL, Some(&format!("VERSION: {mark}")));
            answer.is_ok_and(|answer| answer.contains(LOCAL)).then_some(())
        });
    }
    assert_eq!((slept.interrupt(30).code, awake.interrupt(30).code), (0, 0));
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn a_shadow_that_is_deleted_is_replaced_and_callers_without_the_mark_notice_nothing() {
    let (cluster, laptop) = Laptop::with_cluster("meshshadow");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    let callers = [cluster.callers_on("node1", URL)];
    wait_until_they_hear(&callers, DEMO);

    cluster.kubectl(&["delete", "pod", "tomcat-kt-mesh-mine", "--grace-period=1"]).expect("deleted");

    mesh.wait_for("connection restored", 30);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    wait_until_they_hear(&callers, DEMO);
    assert_nothing_lost(&callers);
    drop(callers);
    cluster.kubectl(&["delete", "pod", "caller-node1", "--now"]).expect("delete the caller");
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn by_hand_a_new_shadow_becomes_a_pod_of_the_service_as_soon_as_the_cluster_lets_it() {
    let (cluster, laptop) = Laptop::with_cluster("manualnew");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let flags = ["tomcat", "--mode", "manual", "--expose", "8080", "--versionMark", "v9"];
    let mut mesh = mesh(&laptop, &flags);
    let touch = ["annotate", "pod", "tomcat-kt-mesh-v9", "a=b", "--as=developer", "--dry-run=server"];
    let rule = "request.userInfo.username != 'developer' || !('kt-role' in object.metadata.labels)";
    let asked = || cluster.kubectl(&touch).map(drop);
    let refusing = Policy::on(&cluster, ("UPDATE", "pods"), rule, "not on Fridays", asked);

    cluster.kubectl(&["delete", "pod", "tomcat-kt-mesh-v9", "--grace-period=1"]).expect("deleted");
    mesh.wait_for("callers are not led here yet", 30);
    mesh.wait_for("not on Fridays", 0);
    drop(refusing);

    cluster.wait_for_answer(URL, LOCAL, 20);
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}
