//! What outlives a restart of the cluster's own parts. In a file of its own, so that no other test
//! runs meanwhile.

use std::time::Duration;

use e2e::{Cluster, Conversation, DEMO, LOCAL, Laptop, Running, Snapshot, Transfer, wait_until};

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

#[test]
fn a_mesh_outlives_a_restart_of_the_clusters_parts() {
    let (cluster, laptop) = Laptop::with_cluster("restartmesh");
    let (before, service) = (cluster.snapshot(), cluster.service_ip("tomcat"));
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"]);
    mesh.wait_for("Now you can", 40);
    let marked = asks(&cluster, &service, "VERSION: mine", LOCAL);
    let others = asks(&cluster, &service, "VERSION: other", DEMO);
    let go_on = || {
        for (callers, page) in [(&marked, LOCAL), (&others, DEMO)] {
            let heard = || callers.text().matches(page).count();
            let before = heard();
            wait_until(&format!("callers hear {page:?}"), Duration::from_secs(30), || {
                (heard() > before + 20).then_some(())
            });
        }
    };

    for pod in ["kt-role=shadow-mesh", "kt-role=router"] {
        for part in ["kubelet", "containerd"] {
            cluster.restart(&cluster.node_of(pod), part);
            go_on();
        }
    }
    cluster.restart("node1", "kube-apiserver");

    mesh.wait_for("connection restored", 30);
    go_on();
    for callers in [&marked, &others] {
        assert!(!callers.text().contains("LOST"), "{}", callers.text());
    }
    drop((marked, others));
    assert_eq!(mesh.interrupt(30).code, 0);
    cluster.wait_for_answer("http://tomcat:8080", DEMO, KUBE_PROXY);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

/// Requests with a header from a node, one after the other and each on a connection of its own. A laptop
/// that is away may let them wait for 15 s.
fn asks(cluster: &Cluster, service: &str, header: &str, page: &str) -> Running {
    let ask = format!(
        "while :; do curl -sSf -m 20 -H '{header}' http://{service}:8080 || echo LOST; echo; sleep 0.1; done"
    );
    let mut asks = cluster.start_on("node1", &["bash", "-c", &ask]);
    asks.wait_for(page, 15);
    asks
}
