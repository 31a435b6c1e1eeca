//! Options that several commands and modes take.

use std::time::Duration;

use e2e::{Cluster, LOCAL, Laptop, load_program_as, skip, wait_until};

/// Before the addresses of a header of the PROXY protocol: version 2, TCP over IPv4.
const SIGNATURE_AND_KIND: &str = "0d0a0d0a000d0a515549540a2111000c";
const IMAGE: &str = "kt-connect-shadow:options";

#[test]
fn the_proxy_protocol_tells_who_calls_a_preview_and_pods_that_were_scaled_away() {
    let (cluster, laptop) = Laptop::with_cluster("proxies");
    cluster.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let _local = laptop.serve_headers();
    let caller: std::net::Ipv4Addr = cluster.pod_ip("caller").parse().expect("an address");
    let caller: String = caller.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    for (line, ready, site) in [
        ("preview mine --expose 8080 --proxyProtocol", "by name 'mine'", "mine:8080"),
        ("exchange tomcat --mode scale --expose 8080 --proxyProtocol", "will be redirected", "tomcat:8080"),
    ] {
        let mut run = laptop.ktctl(&line.split(' ').collect::<Vec<_>>());
        run.wait_for(ready, 60);

        cluster.wait_for_line("tcp", site, &format!("{SIGNATURE_AND_KIND}{caller}7f000001"), 10);
        assert_eq!(run.interrupt(60).code, 0, "{line}");
    }
}

#[test]
fn the_environment_is_written_in_mode_ephemeral_too() {
    if !load_program_as("shadow", IMAGE) {
        return skip("insideenv", "there is no program for pods: run `make build`");
    }
    let cluster = Cluster::lax("insideenv");
    cluster.grant(include_str!("../../docs/rbac/exchange-ephemeral.yaml"));
    let laptop = Laptop::lease(&cluster);
    let _local = laptop.serve(8080, LOCAL);
    let line = ["exchange", "tomcat", "--mode", "ephemeral", "--image", IMAGE, "--expose", "8080"];

    let mut exchange = laptop.ktctl(&[&line[..], &["--envFile", "app.env"]].concat());

    exchange.wait_for("will be redirected to local", 60);
    let text = laptop.run(&["cat", "app.env"]).ok();
    assert!(text.contains("ECHO_PAGE='kt-connect demo v1'"), "{text}");
    assert_eq!(exchange.interrupt(20).code, 0);
    assert_ne!(laptop.run(&["stat", "app.env"]).code, 0, "the file stays");
}

#[test]
fn who_joins_with_rules_that_overlap_is_told_whose_go_first() {
    let (cluster, laptop) = Laptop::with_cluster("overlap");
    let _local = laptop.serve(8080, LOCAL);
    let mesh = |mark: &str, rule: &str| {
        let line = ["mesh", "tomcat", "--expose", "8080", "--versionMark", mark, "--match", rule];
        let mut mesh = laptop.ktctl(&line);
        mesh.wait_for("Now requests that match", 40);
        mesh
    };
    let told = "go there first";

    let first = mesh("one", "header:team=blue");
    let apart = mesh("two", "header:team=red");
    let overlapping = mesh("three", "path:/shop");

    assert!(!first.text().contains(told) && !apart.text().contains(told), "{}", apart.text());
    let line = format!("requests that match the rules of {}, who joined before, {told}", laptop.user());
    let times = overlapping.text().matches(&line).count();
    assert_eq!(times, 2, "{}", overlapping.text());
    drop((first, apart, overlapping));
    wait_until("the router goes with the last", Duration::from_secs(20), || {
        cluster.object("pod/tomcat-kt-router").is_none().then_some(())
    });
}

#[test]
fn a_service_whose_nodes_keep_to_themselves_is_exchanged_inside_of_its_pods() {
    if !load_program_as("shadow", IMAGE) {
        return skip("insidelocal", "there is no program for pods: run `make build`");
    }
    let cluster = Cluster::lax("insidelocal");
    cluster.grant(include_str!("../../docs/rbac/exchange-ephemeral.yaml"));
    let local = r#"{"spec": {"internalTrafficPolicy": "Local"}}"#;
    cluster.kubectl(&["patch", "service", "tomcat", "-p", local]).expect("patch");
    let laptop = Laptop::lease(&cluster);
    let _local = laptop.serve(8080, LOCAL);
    let line = ["exchange", "tomcat", "--mode", "ephemeral", "--image", IMAGE, "--expose", "8080"];

    let mut exchange = laptop.ktctl(&line);

    exchange.wait_for("will be redirected to local", 60);
    let node = cluster.node_of("app=tomcat");
    let calls = cluster.callers_on(&node, "http://tomcat:8080");
    wait_until("a caller on that node comes here", Duration::from_secs(20), || {
        calls.text().contains(LOCAL).then_some(())
    });
    drop(calls);
    assert_eq!(exchange.interrupt(20).code, 0);
}
