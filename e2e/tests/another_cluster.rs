//! A cluster with a domain of its own and with two families of addresses. `make test` starts it for
//! these tests after all others; on the usual one they are skipped.

use e2e::{Cluster, DEMO, Laptop, domain, skip};

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
