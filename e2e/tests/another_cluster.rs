//! A cluster with a domain of its own and with two families of addresses, and tests which want a
//! cluster for themselves. `make test` starts it for these after all others; on the usual one they
//! are skipped.

use e2e::{Cluster, DEMO, LOCAL, Laptop, Snapshot, domain, skip};

// covers: 7-4
#[test]
fn names_of_another_domain_are_found_whether_it_is_told_or_not() {
    let Some((cluster, laptop)) = bed("domain") else { return };
    let full = format!("http://tomcat.{}.svc.{}:8080", cluster.namespace(), domain());

    for args in [&[][..], &["--clusterDomain", &domain()]] {
        let mut connect = laptop.connect(args);
        for url in [full.as_str(), "http://tomcat:8080"] {
            assert!(laptop.get(url).ok().contains(DEMO), "{args:?}: {url}");
        }
        assert_eq!(connect.interrupt(15).code, 0);
    }
}

#[test]
fn a_service_with_addresses_of_two_families_answers_without_delay() {
    let Some((cluster, laptop)) = bed("dual") else { return };
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec": {
            "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "tomcat"}, "ports": [{"port": 8080}]}}"#,
    );
    cluster.wait_for_answer("http://both:8080", DEMO, 10);

    let _connect = laptop.connect(&[]);

    let curl = ["curl", "-sSf", "--max-time", "2", "--noproxy", "*", "http://both:8080"];
    assert!(laptop.run(&curl).ok().contains(DEMO));
}

// covers: 7-43
#[test]
fn what_has_only_an_ipv6_address_is_reached_by_name_and_by_address() {
    let Some((cluster, laptop)) = bed("six") else { return };
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "six"}, "spec": {
            "ipFamilies": ["IPv6"], "selector": {"app": "tomcat"}, "ports": [{"port": 8080}]}}"#,
    );
    cluster.wait_for_answer("http://six:8080", DEMO, 10);
    let pod = cluster.kubectl(&[
        "get",
        "pod",
        "-l",
        "app=tomcat",
        "-o",
        "jsonpath={.items[0].status.podIPs[1].ip}",
    ]);
    let (service, pod) = (cluster.service_ip("six"), pod.expect("the pod's second address"));
    let before = laptop.snapshot();

    let mut connect = laptop.connect(&[]);

    for url in
        ["http://six:8080".to_owned(), format!("http://[{service}]:8080"), format!("http://[{pod}]:8080")]
    {
        assert!(laptop.get(&url).ok().contains(DEMO), "{url}");
    }
    let whole = format!("http://[{pod}]:8080/bytes?n=50000000");
    let count = laptop.run(&[
        "curl",
        "-sSf",
        "--max-time",
        "20",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        &whole,
    ]);
    assert_eq!(count.ok().trim(), "50000000");
    let refused = laptop.run(&["curl", "-sS", "--max-time", "3", &format!("http://[{pod}]:8081")]);
    assert_eq!(refused.code, 7, "refused, not silent: {}", refused.text);
    laptop.root(&["busybox", "ping6", "-c", "1", "-W", "5", &pod]).ok();
    assert_eq!(connect.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&before);
}

#[test]
fn all_namespaces_are_cleaned_by_who_may_list_them() {
    let Some((cluster, laptop)) = bed("all") else { return };
    let other = Cluster::new("other");
    let admin = laptop.become_also(&cluster, "admin", "edit");
    let before = [cluster.snapshot(), other.snapshot()];
    let _local = laptop.serve(8080, LOCAL);
    for namespace in [cluster.namespace(), other.namespace()] {
        let mut preview = laptop.ktctl(&["-n", namespace, "preview", "dead", "--expose", "8080"]);
        preview.wait_for("Now you can", 40);
        for process in laptop.processes("ktctl") {
            laptop.kill9(&process);
        }
        laptop.run(&["rm", "-rf", ".kt"]).ok(); // the next start would undo it
    }
    cluster.age(&["dead"], 600);
    other.age(&["dead"], 600);

    let refused = laptop.ktctl(&["clean", "--all-namespaces"]).wait(20);
    let dry = laptop.ktctl(&["clean", "-A", "--dryRun", "--kubeconfig", &admin]).wait(20);
    let real = laptop.ktctl(&["clean", "-A", "--kubeconfig", &admin]).wait(30);
    let again = laptop.ktctl(&["clean", "-A", "--kubeconfig", &admin]).wait(30);

    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("list namespaces"), "{}", refused.text);
    for namespace in [cluster.namespace(), other.namespace()] {
        let headline = format!("---- Namespace {namespace} ----");
        assert!(dry.text.contains(&headline), "{}", dry.text);
        assert!(real.text.contains(&headline), "{}", real.text);
    }
    assert_eq!(real.code, 0, "{}", real.text);
    assert!(again.text.contains("No unavailing kt resource found"), "{}", again.text);
    for (cluster, before) in [&cluster, &other].into_iter().zip(before) {
        Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
    }
}

/// A namespace and a laptop, if the running cluster is the other one.
fn bed(test: &str) -> Option<(Cluster, Laptop)> {
    if domain() == "cluster.local" {
        skip(test, "the test bed was started with the usual domain");
        return None;
    }
    let cluster = Cluster::new(test);
    let laptop = Laptop::lease(&cluster);
    Some((cluster, laptop))
}
