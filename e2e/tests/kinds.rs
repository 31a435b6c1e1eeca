//! Kinds of services: each is brought to the laptop, or refused before anything is made.

use e2e::{Cluster, DEMO, LOCAL, Laptop, Running, Snapshot};

/// How long each node may take to learn who stands behind a service, in seconds.
const NODES: u64 = 6;
/// Who asks by name keeps an address for as long, in seconds: that of the answer's record.
const RESOLVED: u64 = 35;

/// One service of each kind that can be exchanged, all before the sample's pods.
const KINDS: [(&str, &str); 5] = [
    ("headless", r#""clusterIP": "None""#),
    ("unready", r#""publishNotReadyAddresses": true"#),
    ("sticky", r#""sessionAffinity": "ClientIP""#),
    ("outside", r#""type": "NodePort", "externalTrafficPolicy": "Local""#),
    ("balanced", r#""type": "LoadBalancer", "externalTrafficPolicy": "Local""#),
];

#[test]
fn services_of_every_kind_with_pods_are_exchanged_and_given_back() {
    let (cluster, laptop) = Laptop::with_cluster("kinds");
    for (name, spec) in KINDS {
        apply(&cluster, name, &format!(r#""selector": {{"app": "tomcat"}}, {spec}"#));
    }
    let _local = laptop.serve(8099, LOCAL);

    for (name, _) in KINDS {
        let url = url(name);
        cluster.wait_for_answer(&url, DEMO, 15);
        let before = cluster.snapshot();

        let mut exchange = exchange(&laptop, name);

        cluster.wait_for_answer(&url, LOCAL, RESOLVED);
        assert_eq!(exchange.interrupt(15).code, 0, "{name}");
        cluster.wait_for_answer(&url, DEMO, RESOLVED);
        Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
    }
}

#[test]
fn what_is_different_with_a_service_is_said_before_it_is_exchanged() {
    let (cluster, laptop) = Laptop::with_cluster("caution");
    for (name, spec, said) in [
        ("headless", r#""clusterIP": "None""#, "service 'headless' is headless"),
        ("outside", KINDS[3].1, "service 'outside' has externalTrafficPolicy Local"),
    ] {
        apply(&cluster, name, &format!(r#""selector": {{"app": "tomcat"}}, {spec}"#));

        let mut exchange = exchange(&laptop, name);

        assert!(exchange.text().contains(said), "{}", exchange.text());
        assert_eq!(exchange.interrupt(15).code, 0, "{name}");
    }
}

#[test]
fn from_outside_only_the_shadows_node_leads_here_when_nodes_keep_to_their_pods() {
    let (cluster, laptop) = Laptop::with_cluster("outside");
    apply(&cluster, "outside", &format!(r#""selector": {{"app": "tomcat"}}, {}"#, KINDS[3].1));
    let service = cluster.object("service/outside").expect("the service");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().expect("a node port");
    let _local = laptop.serve(8099, LOCAL);
    let mut exchange = exchange(&laptop, "outside");

    let shadow = cluster.node_of("kt-role=shadow-exchange");
    let address = |node: &str| {
        let at = r#"jsonpath={.status.addresses[?(@.type=="InternalIP")].address}"#;
        cluster.kubectl(&["get", "node", node, "-o", at]).expect("the node's address")
    };
    let get = |node: &str| laptop.get(&format!("http://{}:{port}", address(node)));
    e2e::wait_until("the shadow's node leads here", std::time::Duration::from_secs(NODES), || {
        get(&shadow).text.contains(LOCAL).then_some(())
    });
    let other = if shadow == "node1" { "node2" } else { "node1" };
    assert_ne!(get(other).code, 0, "{other} leads somewhere");
    assert_eq!(exchange.interrupt(15).code, 0);
}

#[test]
fn a_service_whose_nodes_keep_to_themselves_is_joined_by_hand() {
    let (cluster, laptop) = Laptop::with_cluster("joined");
    apply(&cluster, "nodelocal", r#""selector": {"app": "tomcat"}, "internalTrafficPolicy": "Local""#);
    let line = ["mesh", "nodelocal", "--mode", "manual", "--expose", "8099:8080"];
    let _local = laptop.serve(8099, LOCAL);
    let mut mesh = laptop.ktctl(&line);
    mesh.wait_for("Now you can update Istio rule", 40);

    let node = cluster.node_of("kt-role=shadow-mesh");
    let calls = cluster.callers_on(&node, "http://nodelocal:8080");

    assert!(mesh.text().contains("only callers on the node of the shadow pod"), "{}", mesh.text());
    e2e::wait_until("a caller on that node comes here", std::time::Duration::from_secs(20), || {
        calls.text().contains(LOCAL).then_some(())
    });
    drop(calls);
    assert_eq!(mesh.interrupt(20).code, 0);
}

#[test]
fn headless_services_and_those_of_unready_pods_are_meshed_too() {
    let (cluster, laptop) = Laptop::with_cluster("headmesh");
    let _local = laptop.serve(8099, LOCAL);
    for (name, spec) in &KINDS[..2] {
        apply(&cluster, name, &format!(r#""selector": {{"app": "tomcat"}}, {spec}"#));
        let line = ["mesh", name, "--expose", "8099:8080", "--versionMark", "mine"];

        let mut mesh = laptop.ktctl(&line);

        mesh.wait_for("by header 'VERSION: mine'", 40);
        let marked = || cluster.get_with(&url(name), Some("VERSION: mine"));
        e2e::wait_until("the marked call comes here", std::time::Duration::from_secs(RESOLVED), || {
            marked().is_ok_and(|page| page.contains(LOCAL)).then_some(())
        });
        assert!(cluster.get(&url(name)).expect("an answer").contains(DEMO), "{name}");
        assert_eq!(mesh.interrupt(20).code, 0, "{name}");
        cluster.wait_for_answer(&url(name), DEMO, RESOLVED);
    }
}

#[test]
fn callers_of_a_sticky_service_stay_with_their_pod_while_it_is_meshed() {
    let (cluster, laptop) = Laptop::with_cluster("sticky");
    cluster.kubectl(&["scale", "deployment", "tomcat", "--replicas=3"]).expect("scale");
    cluster.wait_ready("tomcat");
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sticky"},
            "spec": {"selector": {"app": "tomcat"}, "sessionAffinity": "ClientIP",
                     "ports": [{"name": "web", "port": 8080}, {"name": "talk", "port": 7000}]}}"#,
    );
    let _local = laptop.serve(8099, LOCAL);

    let mut mesh = laptop.ktctl(&["mesh", "sticky", "--expose", "8099:8080"]);

    mesh.wait_for("Now you can access your service", 40);
    assert!(mesh.text().contains("service 'sticky' has sessionAffinity ClientIP"), "{}", mesh.text());
    cluster.wait_for_line("tcp", "sticky:7000", "tomcat-", NODES);
    let pod = || {
        let answer = cluster.send("tcp", "sticky:7000", "hello").expect("an answer");
        answer.split_whitespace().next().expect("the name of a pod").to_owned()
    };
    let first = pod();
    for _ in 0..12 {
        assert_eq!(pod(), first);
    }
    assert_eq!(mesh.interrupt(20).code, 0);
}

#[test]
fn a_service_that_can_not_be_led_here_is_refused_with_the_way_that_works() {
    let (cluster, laptop) = Laptop::with_cluster("unfit");
    apply(&cluster, "alias", r#""type": "ExternalName", "externalName": "db.corp.example""#);
    apply(&cluster, "byhand", r#""clusterIP": "None""#);
    apply(&cluster, "nodelocal", r#""selector": {"app": "tomcat"}, "internalTrafficPolicy": "Local""#);
    let before = cluster.snapshot();
    let reasons = [
        ("alias", "is an alias of db.corp.example", "ktctl preview"),
        ("byhand", "has no selector", "ktctl preview"),
        ("nodelocal", "has internalTrafficPolicy Local", "exchange --mode ephemeral"),
        ("nodelocal", "has internalTrafficPolicy Local", "mesh --mode manual"),
    ];

    for (name, reason, way) in reasons {
        for command in ["exchange", "mesh"] {
            let line = [command, name, "--expose", "8099:8080", "--skipPortChecking"];
            let refused = laptop.ktctl(&line).wait(15);

            assert_eq!(refused.code, 1, "{command} {name}: {}", refused.text);
            assert!(refused.text.contains(reason), "{command} {name}: {}", refused.text);
            assert!(refused.text.contains(way), "{command} {name}: {}", refused.text);
        }
    }
    cluster.snapshot().assert_as(&before);
}

#[test]
fn a_service_that_somebody_writes_again_is_named_with_the_rule_that_leaves_it_alone() {
    let (cluster, laptop) = Laptop::with_cluster("gitops");
    let owners = [
        ("argocd.argoproj.io/instance=shop", "Argo CD (application shop)", "jsonPointers: [/spec/selector]"),
        ("kustomize.toolkit.fluxcd.io/name=apps", "Flux (kustomization apps)", "reconcile=disabled"),
        ("helm.toolkit.fluxcd.io/name=shop", "Flux (helm release shop)", "paths: [/spec/selector]"),
    ];

    for (label, owner, rule) in owners {
        let key = label.split('=').next().expect("a key");
        cluster.kubectl(&["label", "service", "tomcat", label]).expect("label");

        for (command, ready) in [("exchange", "will be redirected"), ("mesh", "Now you can access")] {
            let mut run = laptop.ktctl(&[command, "tomcat", "--expose", "8099:8080", "--skipPortChecking"]);
            run.wait_for(ready, 40);
            let said = run.text();
            assert!(said.contains(owner) && said.contains(rule), "{said}");
            assert_eq!(run.interrupt(20).code, 0, "{owner}");
        }
        cluster.kubectl(&["label", "service", "tomcat", &format!("{key}-")]).expect("unlabel");
    }
}

fn exchange(laptop: &Laptop, name: &str) -> Running {
    let mut exchange = laptop.ktctl(&["exchange", name, "--expose", "8099:8080", "--skipPortChecking"]);
    exchange.wait_for("will be redirected to local", 40);
    exchange
}

fn url(service: &str) -> String {
    format!("http://{service}:8080")
}

fn apply(cluster: &Cluster, name: &str, spec: &str) {
    cluster.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}},
            "spec": {{"ports": [{{"port": 8080, "targetPort": 8080}}], {spec}}}}}"#
    ));
}
