//! Beside clients of the 0.3 line: what they do to our objects, and what we do to theirs. They are
//! played by `kubectl`, step by step as the specification tells.

#[path = "older/clean.rs"]
mod clean;
#[path = "older/client.rs"]
mod client;
#[path = "older/left.rs"]
mod left;

use std::time::Duration;

use client::Older;
use e2e::{Cluster, DEMO, LOCAL, Laptop, Running, Snapshot, load_program_as, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// What the version of the older client answers.
const OLD: &str = "page of an older client";
/// The older client's router; ours, which knows the same commands.
const ROUTER_IMAGE: &str = "older/kt-connect-router:v0.3.7";
const ROUTER: &str = "pod/tomcat-kt-router";
/// How long a caller may take the old way after a switch, in seconds.
const NODES: u64 = 6;

#[test]
fn an_older_client_joins_our_router_and_the_last_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("oldjoin");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _locals = [laptop.serve(8080, LOCAL), laptop.serve(8081, "second page")];
    let mut first = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    assert_eq!(old.count(), 1);

    old.make_version();
    old.join();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL), ("VERSION: x", DEMO)]);
    assert_eq!(old.count(), 2);
    let mut second = mesh(&laptop, &["--expose", "8081:8080", "--versionMark", "second"]);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: second", "second page")]);
    assert_eq!(old.count(), 3, "who of us joins counts the older one, too");
    assert_eq!(second.interrupt(20).code, 0);
    assert_eq!(old.count(), 2);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);

    assert!(!old.leave(), "the older one is not the last");
    old.remove_version();
    get_these(&cluster, &[("VERSION: old", DEMO), ("VERSION: mine", LOCAL)]);
    old.make_version();
    old.join();
    let ended = first.interrupt(20);
    assert_eq!(ended.code, 0, "{}", ended.text);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    assert_eq!(old.count(), 1, "the older one is alone");

    assert!(old.leave(), "the older one is the last");
    old.remove_version();
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn the_version_of_an_older_client_outlives_the_routers_container() {
    let (cluster, laptop) = Laptop::with_cluster("oldkept");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    old.make_version();
    old.join();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);

    cluster.kill_in("tomcat-kt-router", "router");

    wait_until("the container is started anew", Duration::from_secs(30), || {
        let restarts =
            "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
        (cluster.kubectl(&["get", ROUTER, "-o", restarts]).ok()? == "1 true").then_some(())
    });
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL), ("VERSION: x", DEMO)]);
    assert!(!old.leave());
    old.remove_version();
    get_these(&cluster, &[("VERSION: old", DEMO), ("VERSION: mine", LOCAL)]);
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn a_living_mesh_says_so_when_an_older_client_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("oldlast");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);

    old.set_count(1); // as an older one leaves it that was counted wrongly
    assert!(old.leave());

    let ended = mesh.wait(30);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let said =
        "Exit: mesh has stopped: somebody else has put service 'tomcat' back, nothing is meshed any more";
    assert!(ended.text.contains(said), "{}", ended.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn we_join_the_router_of_an_older_client_by_its_commands() {
    if !load_program_as("router", ROUTER_IMAGE) {
        return skip("older", "there are no programs for pods: run `make build`");
    }
    let (cluster, laptop) = Laptop::with_cluster("oldrouter");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    old.make_version();
    old.make_mesh();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    let meshed = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let line = |mark: &str| {
        let line = ["mesh", "tomcat", "--expose", "8080", "--kubeconfig", &old.kubeconfig];
        laptop.ktctl(&[&line[..], &["--versionMark", mark]].concat())
    };

    let mut ours = line("mine");
    ours.wait_for("Now you can access your service by header 'VERSION: mine'", 40);
    get_these(&cluster, &[("VERSION: mine", LOCAL), ("VERSION: old", OLD), ("VERSION: x", DEMO)]);
    assert_eq!(old.count(), 2);
    assert_eq!(ours.interrupt(20).code, 0);
    get_these(&cluster, &[("VERSION: mine", DEMO), ("VERSION: old", OLD)]);
    assert_eq!(old.count(), 1);
    Snapshot::wait_until_as(&meshed, 15, || cluster.snapshot());

    let refused = line("0.0.1").wait(40);
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("can not serve the version '0.0.1'"), "{}", refused.text);
    assert_eq!(old.count(), 1, "{}", refused.text);

    let mut last = line("mine");
    last.wait_for("Now you can", 40);
    assert!(!old.leave());
    old.remove_version();
    get_these(&cluster, &[("VERSION: mine", LOCAL), ("VERSION: old", DEMO)]);
    assert_eq!(last.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn without_the_right_to_execute_we_do_not_join_the_router_of_an_older_client() {
    if !load_program_as("router", ROUTER_IMAGE) {
        return skip("older", "there are no programs for pods: run `make build`");
    }
    let (cluster, laptop) = Laptop::with_cluster("oldright");
    let old = Older::new(&cluster, &laptop);
    old.make_version();
    old.make_mesh();
    let meshed = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let refused = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"]).wait(40);
    let rules = ["mesh", "tomcat", "--expose", "8080", "--match", "path:/mine"];
    let unknown = laptop.ktctl(&rules).wait(40);

    assert_eq!(refused.code, 1, "{}", refused.text);
    for part in [
        "the router of service 'tomcat' was made by an older ktctl",
        "the right to create pods/exec",
        ">> ask for that right",
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    assert_eq!(unknown.code, 1, "{}", unknown.text);
    assert!(unknown.text.contains("knows no rules of --match"), "{}", unknown.text);
    assert_eq!(old.count(), 1);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    Snapshot::wait_until_as(&meshed, 15, || cluster.snapshot());

    // The right to `get` is enough: then commands go by WebSocket.
    let rule = r#"[{"op": "add", "path": "/rules/-",
        "value": {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}}]"#;
    cluster
        .kubectl(&["patch", "role", "ktctl-all-commands-mini", "--type=json", "-p", rule])
        .expect("patched");
    let mut ours = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);
    assert_eq!(ours.interrupt(20).code, 0);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
}

/// Waits until each header gets its page; what has no mark goes to the pods.
fn get_these(cluster: &Cluster, wanted: &[(&str, &str)]) {
    for (header, page) in wanted {
        wait_until(&format!("{header} gets {page:?}"), Duration::from_secs(NODES), || {
            cluster.get_with(URL, Some(header)).is_ok_and(|answer| answer.contains(page)).then_some(())
        });
    }
    let plain = cluster.get(URL).expect("an answer without a mark");
    assert!(plain.contains(DEMO), "without a mark: {plain}");
}

/// A namespace, and a plain laptop whose user works in it.
fn mesh(laptop: &Laptop, flags: &[&str]) -> Running {
    let mut mesh = laptop.ktctl(&[&["mesh", "tomcat"], flags].concat());
    mesh.wait_for("Now you can", 40);
    mesh
}
