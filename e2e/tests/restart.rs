//! What outlives a restart of the cluster's own parts. In a file of its own, so that no other test
//! runs meanwhile.

use e2e::{Cluster, Conversation, DEMO, LOCAL, Laptop};

/// How long, in seconds, the nodes' own connections to the API server may take to come back.
const KUBE_PROXY: u64 = 40;

#[test]
fn both_directions_outlive_a_restart_of_the_clusters_parts() {
    let cluster = Cluster::new("restart");
    let laptop = Laptop::lease(&cluster);
    let before = cluster.snapshot();
    let (service, url) = (cluster.service_ip("tomcat"), "http://tomcat:8080");
    let _local = laptop.serve(8080, LOCAL);
    let mut connect = laptop.connect(&[]);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    let talk = Conversation::start(&laptop, &cluster.pod_ip("tomcat"));

    for shadow in ["kt-role=shadow-connect", "kt-role=shadow-exchange"] {
        for part in ["kubelet", "containerd"] {
            cluster.restart(&cluster.node_of(shadow), part);
            talk.goes_on(30);
        }
    }
    cluster.restart("node1", "kube-apiserver");

    talk.goes_on(20);
    assert_eq!(talk.hang_up().code, 0);
    cluster.wait_for_answer(url, LOCAL, KUBE_PROXY);
    assert!(laptop.get(&format!("http://{service}:8080")).ok().contains(LOCAL));
    assert_eq!(exchange.interrupt(20).code, 0);
    cluster.wait_for_answer(url, DEMO, KUBE_PROXY);
    assert_eq!(connect.interrupt(20).code, 0);
    e2e::Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}
