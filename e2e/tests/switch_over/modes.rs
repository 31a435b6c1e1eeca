//! The same by the other ways to get calls: the pods scaled away, one more pod by hand, a new service.

use super::*;

/// Pods that are to end go on for as long as the nodes may lead callers to them, as those of a service
/// that must not lose any have to.
const GRACEFUL: &str = r#"{"spec": {"replicas": 2, "template": {"spec": {
    "terminationGracePeriodSeconds": 10,
    "containers": [{"name": "tomcat", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}]}}}}"#;

#[test]
fn no_request_is_lost_when_the_pods_are_scaled_away_and_come_back() {
    let (cluster, laptop) = Laptop::with_cluster("switchscale");
    cluster.grant(include_str!("../../../docs/rbac/exchange-scale.yaml"));
    cluster.kubectl(&["patch", "deployment", "tomcat", "-p", GRACEFUL]).expect("patched");
    cluster.wait_ready("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, DEMO);

    for _ in 0..2 {
        let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--mode", "scale"]);
        wait_until_they_hear(&callers, LOCAL);
        let ended = exchange.interrupt(60);
        assert_eq!(ended.code, 0, "{}", ended.text);
        wait_until_they_hear(&callers, DEMO);
    }

    assert_nothing_lost(&callers);
}

#[test]
fn no_request_is_lost_when_one_more_pod_comes_by_hand_and_goes() {
    let (cluster, laptop) = Laptop::with_cluster("switchmanual");
    let _local = laptop.serve(8080, LOCAL);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, DEMO);

    for _ in 0..2 {
        let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--mode", "manual", "--expose", "8080"]);
        mesh.wait_for("Now you can", 40);
        for page in [LOCAL, DEMO] {
            wait_until_they_hear(&callers, page);
        }
        assert_eq!(mesh.interrupt(20).code, 0);
        wait_until_they_hear(&callers, DEMO);
    }

    assert_nothing_lost(&callers);
}

#[test]
fn a_new_service_loses_no_request_from_the_ready_text_on_until_its_end_is_wished() {
    let (cluster, laptop) = Laptop::with_cluster("switchpreview");
    let _local = laptop.serve(8080, LOCAL);
    for node in ["node1", "node2"] {
        drop(cluster.callers_on(node, URL)); // their pods stay and are ready
    }
    for _ in 0..2 {
        let mut preview = laptop.ktctl(&["preview", "mine", "--expose", "8080"]);
        preview.wait_for("Now you can access your local service", 30);

        let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, "http://mine:8080"));

        wait_until_they_hear(&callers, LOCAL);
        assert_nothing_lost(&callers);
        drop(callers);
        assert_eq!(preview.interrupt(20).code, 0);
    }
}
