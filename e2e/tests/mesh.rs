//! `mesh`: requests with a mark come to the laptop, all others go on to the original pods.

#[path = "mesh/lost.rs"]
mod lost;
#[path = "mesh/nothing_lost.rs"]
mod nothing_lost;

use std::time::Duration;

use e2e::{Cluster, DEMO, LOCAL, Laptop, Policy, Process, Running, Snapshot, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// What a second laptop answers.
const OTHER: &str = "kt-connect other v3";
/// How long after the ready text a caller may still take the old way, in seconds.
const NODES: u64 = 6;

// covers: 3-16, 3-17, 3-19, 4-12
#[test]
fn only_requests_with_the_mark_come_here_and_nothing_is_left() {
    let (cluster, laptop) = Laptop::with_cluster("mesh");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    mesh.wait_for("Now you can access your service by header 'VERSION: mine'", 0);
    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    for header in [None, Some("VERSION: other"), Some("version: MINE")] {
        assert!(cluster.get_with(URL, header).expect("an answer").contains(DEMO), "{header:?}");
    }
    assert_eq!(pages(&cluster, LOCAL), (0, 40), "of 40 callers without the mark");
    let services = cluster.kubectl(&["get", "services,pods", "-o", "name"]).expect("names");
    for name in [
        "service/tomcat-kt-stuntman",
        "service/tomcat-kt-mesh-mine",
        "pod/tomcat-kt-mesh-mine",
        "pod/tomcat-kt-router",
    ] {
        assert!(services.lines().any(|line| line == name), "{name} is not in: {services}");
    }
    assert_eq!(mesh.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, 5);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn at_the_end_the_router_leads_callers_that_come_late_to_the_originals() {
    let (cluster, laptop) = Laptop::with_cluster("meshlate");
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    mesh.signal("INT");
    mesh.wait_for("Original service tomcat recovered", 10);
    let late = cluster.kubectl(&["get", "services,pods", "-o", "name"]).expect("names");

    for name in ["service/tomcat-kt-stuntman", "pod/tomcat-kt-router"] {
        assert!(late.lines().any(|line| line == name), "{name} is not in: {late}");
    }
    assert_eq!(mesh.wait(20).code, 0);
    let after = cluster.kubectl(&["get", "services", "-o", "name"]).expect("names");
    assert!(!after.contains("stuntman"), "{after}");
}

#[test]
fn a_run_that_was_killed_before_it_made_the_routers_pod_does_not_hinder_the_next() {
    let (cluster, laptop) = Laptop::with_cluster("halfrouter");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata":
            {"name": "tomcat-kt-router", "labels": {"control-by": "kt", "kt-role": "router"}}}"#,
    );

    let mut mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn with_the_proxy_protocol_the_local_program_is_told_that_the_router_calls() {
    let (cluster, laptop) = Laptop::with_cluster("meshproxy");
    let mut local = laptop.start(&["python3", "-uc", HEADER_TELLER]);
    local.wait_for("listens", 10);
    let flags = ["tomcat", "--expose", "8080", "--versionMark", "mine", "--proxyProtocol"];

    let _mesh = mesh(&laptop, &flags);

    let address = ["get", "pod", "tomcat-kt-router", "-o", "jsonpath={.status.podIP}"];
    let router: std::net::Ipv4Addr = cluster.kubectl(&address).unwrap().parse().expect("an address");
    let router: String = router.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    let told = format!("0d0a0d0a000d0a515549540a2111000c{router}7f000001");
    wait_for_marked(&cluster, "VERSION: mine", &told);
}

/// Answers an HTTP request with the 28 bytes that came before it, in hexadecimal digits.
const HEADER_TELLER: &str = r#"
import socket
server = socket.create_server(("127.0.0.1", 8080))
print("listens")
while True:
    caller, _ = server.accept()
    caller.settimeout(5)
    header = caller.recv(28)
    if len(header) == 28 and caller.recv(10000).startswith(b"GET / HTTP/1"):
        caller.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + header.hex().encode())
    caller.close()
"#;

const SUBSET: &str = "{apiVersion: v1, kind: Service, metadata: {name: subset}, \
                      spec: {selector: {app: tomcat, version: v9}, ports: [{port: 8080}]}}";

// covers: 2-3, 4-12, 1-23
#[test]
fn by_hand_the_shadow_is_one_more_pod_with_a_label() {
    let (cluster, laptop) = Laptop::with_cluster("manual");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let flags = ["tomcat", "--mode", "manual", "--expose", "8080", "--versionMark", "v9"];
    let mut mesh = mesh(&laptop, &flags);

    mesh.wait_for("Now you can update Istio rule by label 'version=v9'", 0);
    let labels = cluster
        .kubectl(&["get", "pod", "tomcat-kt-mesh-v9", "-o", "jsonpath={.metadata.labels}"])
        .expect("the shadow");
    for label in ["\"app\":\"tomcat\"", "\"version\":\"v9\"", "\"kt-role\":\"shadow-mesh\""] {
        assert!(labels.contains(label), "{label} is not in {labels}");
    }
    for page in [LOCAL, DEMO] {
        cluster.wait_for_answer(URL, page, 10);
    }
    let (here, there) = pages(&cluster, LOCAL);
    assert!(here > 0 && there > 0 && here + there == 40, "{here} of 40 callers come here, {there} do not");
    // What Istio calls a subset: the service's pods with a label more.
    cluster.apply(SUBSET);
    cluster.wait_for_answer("http://subset:8080", LOCAL, 10);
    for _ in 0..10 {
        assert!(cluster.get_with("http://subset:8080", None).expect("an answer").contains(LOCAL));
    }
    cluster.kubectl(&["delete", "service", "subset"]).expect("deleted");
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

// covers: 7-23, 3-18
#[test]
fn a_mark_may_have_a_key_and_any_value() {
    let (cluster, laptop) = Laptop::with_cluster("marks");
    let _local = laptop.serve(8080, LOCAL);
    let meshed = |mark| mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", mark]);

    let mut keyed = meshed("kt-mark:demo");
    keyed.wait_for("by header 'KT-MARK: demo'", 0);
    wait_for_marked(&cluster, "KT-MARK: demo", LOCAL);
    assert_eq!(keyed.interrupt(20).code, 0);

    // No object may be called so.
    let mut version = meshed("0.0.1");
    version.wait_for("by header 'VERSION: 0.0.1'", 0);
    wait_for_marked(&cluster, "VERSION: 0.0.1", LOCAL);
    assert_eq!(version.interrupt(20).code, 0);

    let mut random = meshed("kt-mark:");
    let said = random.wait_for("by header 'KT-MARK: ", 0);
    let value = said.rsplit("KT-MARK: ").next().and_then(|rest| rest.split('\'').next()).expect("a value");
    assert_eq!(value.len(), 5, "{said}");
    assert_eq!(random.interrupt(20).code, 0);

    let mut bad = meshed("Bad Key:x");
    bad.wait_for("by header 'VERSION: x'", 0);
    bad.wait_for("can not be the key of a version mark", 0);
    assert_eq!(bad.interrupt(20).code, 0);
}

#[test]
fn rules_tell_requests_apart_by_more_than_one_header() {
    let (cluster, laptop) = Laptop::with_cluster("rules");
    let _local = laptop.serve(8080, LOCAL);
    let flags =
        ["mesh", "tomcat", "--expose", "8080", "--match", "header:x-team^=blue", "--match", "path:/mine"];

    let mut mesh = laptop.ktctl(&flags);
    mesh.wait_for("Now requests that match header:x-team^=blue and path:/mine come here", 40);

    let laptop_or_cluster = |path: &str, header: &str| {
        let page = cluster.get_with(&format!("{URL}{path}"), Some(header)).expect("an answer");
        // Pages other than / tell who answers.
        if page.contains(&format!("\"hostname\": \"{}\"", laptop.name())) { "laptop" } else { "cluster" }
    };
    wait_until("the rules are known", Duration::from_secs(NODES), || {
        (laptop_or_cluster("/mine/x", "X-Team: blue-2") == "laptop").then_some(())
    });
    assert_eq!(laptop_or_cluster("/other", "X-Team: blue-2"), "cluster");
    assert_eq!(laptop_or_cluster("/mine/x", "X-Team: red"), "cluster");
    assert_eq!(laptop_or_cluster("/mineral", "X-Team: blue"), "cluster");
}

#[test]
fn what_is_not_http_goes_to_the_original_also_where_the_server_speaks_first() {
    let (cluster, laptop) = Laptop::with_cluster("raw");
    let _local = laptop.serve(8080, LOCAL);
    let ports = "[{\"op\":\"add\",\"path\":\"/spec/ports\",\"value\":[\
        {\"name\":\"web\",\"port\":8080,\"targetPort\":8080},\
        {\"name\":\"line\",\"port\":7000,\"targetPort\":7000},\
        {\"name\":\"dgram\",\"port\":7000,\"targetPort\":7000,\"protocol\":\"UDP\"}]}]";
    cluster.kubectl(&["patch", "service", "tomcat", "--type", "json", "-p", ports]).expect("patched");

    let _mesh = mesh(&laptop, &["tomcat", "--expose", "8080", "--versionMark", "mine"]);

    wait_for_marked(&cluster, "VERSION: mine", LOCAL);
    for kind in ["tcp", "udp"] {
        let sent = cluster.kubectl(&["exec", "caller", "--", "/echo", "send", kind, "tomcat:7000", "hello"]);
        let said = sent.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(said.starts_with("tomcat-") && said.contains("hello"), "{kind}: {said}");
    }
}

// covers: 3-15
#[test]
fn the_line_of_an_article_uses_its_images_for_shadow_and_router() {
    const SHADOW: &str = "10.3.87.5:8080/kt-connect-shadow:latest";
    const ROUTER: &str = "10.3.87.5:8080/kt-connect-router:v0.3.6";
    let (cluster, laptop) = Laptop::with_cluster("images");
    if !e2e::load_program_as("shadow", SHADOW) || !e2e::load_program_as("router", ROUTER) {
        return skip("images", "there are no programs for pods: run `make build`");
    }
    let _local = laptop.serve(8080, LOCAL);
    let flags = [
        "tomcat",
        "--expose",
        "8080",
        "--debug",
        &format!("--image={SHADOW}"),
        &format!("--routerImage={ROUTER}"),
        &format!("--namespace={}", cluster.namespace()),
        "--versionMark",
        "debug-version",
    ];

    let _mesh = mesh(&laptop, &flags);

    let images = [
        "get",
        "pods",
        "-l",
        "control-by=kt",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].image} {end}",
    ];
    let images = cluster.kubectl(&images).expect("images");
    assert!(images.contains(&format!("tomcat-kt-router={ROUTER}")), "{images}");
    assert!(images.contains(&format!("tomcat-kt-mesh-debug-version={SHADOW}")), "{images}");
    wait_for_marked(&cluster, "VERSION: debug-version", LOCAL);
}

// covers: 7-24
#[test]
fn several_users_mesh_one_service_and_the_last_puts_it_back() {
    let (cluster, one) = Laptop::with_cluster("several");
    let Some(two) = Laptop::lease_another("several", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = one.serve(8080, LOCAL);
    let _other = two.serve(8080, OTHER);

    let mut first = mesh(&one, &["tomcat", "--expose", "8080", "--versionMark", "one"]);
    let mut second = mesh(&two, &["tomcat", "--expose", "8080", "--versionMark", "kt-mark:two"]);
    let said = two.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", "one"]).wait(20);

    assert_eq!(said.code, 1, "{}", said.text);
    let taken =
        "Another user is meshing service 'tomcat' via version 'one', please specify a different version mark";
    assert!(said.text.contains(taken), "{}", said.text);
    wait_for_marked(&cluster, "VERSION: one", LOCAL);
    wait_for_marked(&cluster, "KT-MARK: two", OTHER);
    let seen = two.ktctl(&["birdseye"]).wait(10).ok();
    for part in ["> tomcat - meshed (auto) by [", &format!("[{}]", one.user()), &format!("[{}]", two.user())]
    {
        assert!(seen.contains(part), "{part} is not in: {seen}");
    }
    assert_eq!(first.interrupt(20).code, 0);
    wait_for_marked(&cluster, "VERSION: one", DEMO);
    wait_for_marked(&cluster, "KT-MARK: two", OTHER);
    assert_eq!(second.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, 5);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

#[test]
fn what_was_mistyped_is_named_before_anything_is_done() {
    let (_cluster, laptop) = Laptop::with_cluster("meshtypo");
    for (flags, said) in [
        (&["mesh"][..], "name of service to mesh is required"),
        (&["mesh", "tomcat"], "--expose is required"),
        (
            &["mesh", "tomcat", "--expose", "1", "--mode", "x"],
            "invalid mesh method 'x', supportted are auto, manual",
        ),
        (&["mesh", "tomcat", "--expose", "1", "--versionMark", "a:b:c"], "more than one colon"),
        (&["mesh", "tomcat", "--expose", "1", "--match", "colour"], "is no rule"),
    ] {
        let ended = laptop.ktctl(flags).wait(10);

        assert_eq!(ended.code, 2, "{flags:?}: {}", ended.text);
        assert!(ended.text.contains(said), "{flags:?}: {}", ended.text);
    }
}

/// Waits until a request with the header gets this page.
fn wait_for_marked(cluster: &Cluster, header: &str, page: &str) {
    let mut last = Ok(String::new());
    wait_until(&format!("{header} gets {page:?}"), Duration::from_secs(NODES), || {
        last = cluster.get_with(URL, Some(header));
        last.as_ref().is_ok_and(|answer| answer.contains(page)).then_some(())
    });
}

/// Of 40 callers without a mark, how many get this page, and how many that of the originals.
fn pages(cluster: &Cluster, page: &str) -> (usize, usize) {
    let ask = "for call in {1..40}; do curl -sS -m 5 \"$0\"; done";
    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    let said = cluster.start_on("node1", &["bash", "-c", ask, &url]).wait(60).text;
    (said.matches(page).count(), said.matches(DEMO).count())
}

fn mesh(laptop: &Laptop, args: &[&str]) -> Running {
    let mut mesh = laptop.ktctl(&[&["mesh"], args].concat());
    mesh.wait_for("Now you can", 40);
    mesh
}

fn main_process(laptop: &Laptop) -> Process {
    let found = laptop.processes("ktctl").into_iter().find(|process| process.args.contains(" mesh "));
    found.expect("mesh runs")
}
