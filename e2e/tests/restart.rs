//! What outlives a restart of the cluster's own parts. In a file of its own, so that no other test
//! runs meanwhile.

use e2e::{Cluster, Conversation, DEMO, LOCAL, Laptop, Snapshot, Transfer};

/// How long, in seconds, the nodes' own connections to the API server may take to come back.
const KUBE_PROXY: u64 = 40;
/// A service with a page and with lines, both of which the laptop takes over.
const BOTH: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec":
    {"selector": {"app": "tomcat"}, "ports": [{"name": "page", "port": 8080}, {"name": "lines", "port": 7000}]}}"#;

#[test]
fn both_directions_outlive_a_restart_of_the_clusters_parts() {
    let cluster = Cluster::new("restart");
    let laptop = Laptop::lease(&cluster);
    cluster.apply(BOTH);
    let (before, pod) = (cluster.snapshot(), cluster.pod_ip("tomcat"));
    let (service, url) = (cluster.service_ip("both"), "http://both:8080");
    let _locals = [laptop.serve(8080, LOCAL), laptop.serve_lines(7001)];
    let mut connect = laptop.connect(&[]);
    let mut exchange = laptop.ktctl(&["exchange", "both", "--expose", "8080,7001:7000"]);
    exchange.wait_for("will be redirected to local", 30);
    cluster.wait_for_line("tcp", "both:7000", laptop.name(), 10);
    let outwards = Conversation::start(&laptop, &pod);
    let inwards = Conversation::from_node(&cluster, "node1", &service);
    let download = Transfer::start(&laptop, &pod, 1_000_000);
    let go_on = |secs| {
        outwards.goes_on(secs);
        inwards.goes_on(secs);
        download.goes_on(secs);
    };

    for shadow in ["kt-role=shadow-connect", "kt-role=shadow-exchange"] {
        for part in ["kubelet", "containerd"] {
            cluster.restart(&cluster.node_of(shadow), part);
            go_on(30);
        }
    }
    cluster.restart("node1", "kube-apiserver");

    go_on(20);
    download.ends_whole(20);
    for talk in [outwards, inwards] {
        let talked = talk.hang_up();
        assert_eq!(talked.code, 0, "{}", talked.text);
    }
    cluster.wait_for_answer(url, LOCAL, KUBE_PROXY);
    assert!(laptop.get(&format!("http://{service}:8080")).ok().contains(LOCAL));
    assert_eq!(exchange.interrupt(20).code, 0);
    cluster.wait_for_answer(url, DEMO, KUBE_PROXY);
    assert_eq!(connect.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}
