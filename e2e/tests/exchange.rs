//! `exchange --mode selector`: the cluster calls the laptop, and afterwards all is as it was.

#[path = "exchange/slow.rs"]
mod slow;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Process, Running, Snapshot, skip, wait_until};

const URL: &str = "http://tomcat:8080";
/// How long after the ready text a caller may still take the old way, in seconds: each node learns
/// of the switch-over by itself.
const NODES: u64 = 6;
/// The same after the clean-up behind a dead run, whose shadow passes on who still waits there.
const AFTER_DEAD: u64 = 5;

// covers: 4-11, 3-13
#[test]
fn the_quick_start_works_in_the_cluster_and_on_the_laptop_and_leaves_no_trace() {
    let (cluster, laptop) = Laptop::with_cluster("quick");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut connect = laptop.connect(&[]);

    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);

    exchange.wait_for("Now all request to service 'tomcat' will be redirected to local", 0);
    cluster.wait_for_answer(URL, LOCAL, NODES);
    assert!(laptop.get(URL).ok().contains(LOCAL));
    let ended = exchange.interrupt(15);
    assert_eq!(ended.code, 0);
    for line in [
        "Forwarding pod tomcat-kt-exchange-",
        " to local via port 8080",
        "Stuntman service tomcat-kt-stuntman removed",
        "Cleaning configmap tomcat-kt-exchange-",
        "Cleaning shadow pod tomcat-kt-exchange-",
    ] {
        assert!(ended.text.contains(line), "{line}: {}", ended.text);
    }
    cluster.wait_for_answer(URL, DEMO, 5);
    assert!(laptop.get(URL).ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

// covers: 3-14
#[test]
fn calls_past_the_service_go_on_to_the_pods_as_the_readme_says() {
    let (cluster, laptop) = Laptop::with_cluster("past");
    let _local = laptop.serve(8080, LOCAL);
    let readme = include_str!("../../README.md").split_whitespace().collect::<Vec<_>>().join(" ");

    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);

    cluster.wait_for_answer(URL, LOCAL, NODES);
    let past = cluster.get(&format!("http://{}:8080", cluster.pod_ip("tomcat"))).expect("an answer");
    assert!(past.contains(DEMO), "{past}");
    for text in [
        "Calls which do not go through the service (straight to pod IPs, as with Nacos or Eureka) do not come to you",
        "`spring.cloud.nacos.discovery.ip: ${spring.application.name}`",
    ] {
        assert!(readme.contains(text), "{text}");
    }
    assert_eq!(exchange.interrupt(30).code, 0);
}

// covers: 3-11
#[test]
fn the_line_of_an_article_with_an_image_works_as_typed() {
    if !load_shadow_image() {
        return skip("article", "there is no archive of the shadow's image: run `make images`");
    }
    let (cluster, laptop) = Laptop::with_cluster("article");
    let _local = laptop.serve(8080, LOCAL);
    let namespace = format!("--namespace={}", cluster.namespace());

    let _exchange = exchange(
        &laptop,
        &["tomcat", "--expose", "8080", "--debug", "--image=kt-connect-shadow:local", &namespace],
    );

    cluster.wait_for_answer(URL, LOCAL, NODES);
    let images = cluster
        .kubectl(&["get", "pods", "-l", "kt-role=shadow-exchange", "-o", "jsonpath={..image}"])
        .unwrap();
    assert!(images.contains("kt-connect-shadow:local"), "{images}");
}

// covers: 3-12
#[test]
fn only_the_shadow_stands_behind_the_service() {
    let (cluster, laptop) = Laptop::with_cluster("endpoints");
    let _local = laptop.serve(8080, LOCAL);

    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);

    let addresses = |what: &[&str]| cluster.kubectl(what).expect("kubectl");
    let behind = addresses(&["get", "endpoints", "tomcat", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]);
    let shadow = addresses(&[
        "get",
        "pods",
        "-l",
        "kt-role=shadow-exchange",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{end}",
    ]);
    let (name, address) = shadow.split_once(' ').expect("one shadow");
    assert!(name.starts_with("tomcat-kt-exchange-"), "{name}");
    assert_eq!(behind, address);
}

// covers: 7-19
#[test]
fn a_target_may_be_a_service_or_a_deployment() {
    let (cluster, laptop) = Laptop::with_cluster("targets");
    let _local = laptop.serve(8080, LOCAL);
    let before = cluster.snapshot();

    for target in ["svc/tomcat", "service/tomcat", "deploy/tomcat"] {
        let mut exchange = exchange(&laptop, &[target, "--expose", "8080"]);
        cluster.wait_for_answer(URL, LOCAL, NODES);
        assert_eq!(exchange.interrupt(15).code, 0, "{target}");
    }
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

#[test]
fn a_deployment_without_a_service_of_its_name_is_found_by_its_bare_name() {
    let (cluster, laptop) = Laptop::with_cluster("bare");
    let _local = laptop.serve(8080, LOCAL);
    cluster.kubectl(&["expose", "deployment", "tomcat", "--name", "front", "--port", "8080"]).unwrap();
    cluster.kubectl(&["delete", "service", "tomcat"]).unwrap();
    cluster.wait_for_answer("http://front:8080", DEMO, 10);

    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);

    exchange.wait_for("Now all request to deployment 'tomcat' will be redirected to local", 30);
    cluster.wait_for_answer("http://front:8080", LOCAL, NODES);
}

// covers: 7-21
#[test]
fn several_ports_low_ones_and_named_ones_are_all_brought_here() {
    let (cluster, laptop) = Laptop::with_cluster("ports");
    let named = r#"[{"op": "add", "path": "/spec/template/spec/containers/0/ports/0/name", "value": "web"}]"#;
    cluster.kubectl(&["patch", "deployment", "tomcat", "--type=json", "-p", named]).unwrap();
    cluster.wait_ready("tomcat");
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "many"}, "spec": {"selector": {"app": "tomcat"},
            "ports": [{"name": "a", "port": 7001}, {"name": "b", "port": 81, "targetPort": 80},
                      {"name": "c", "port": 8082, "targetPort": "web"}]}}"#,
    );
    let pages = [(7001, "page of 7001"), (8080, "page of 8080"), (9000, "page of 9000")];
    let _locals = pages.map(|(port, page)| laptop.serve(port, page));

    let _exchange = exchange(&laptop, &["many", "--expose", "7001,8080:80,9000:8080"]);

    for (port, page) in [7001, 81, 8082].into_iter().zip(pages.map(|(_, page)| page)) {
        cluster.wait_for_answer(&format!("http://many:{port}"), page, NODES);
    }
}

#[test]
fn tcp_and_udp_of_one_port_come_here_and_go_back_to_the_pods() {
    let (cluster, laptop) = Laptop::with_cluster("udp");
    apply_talk(&cluster);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let local = laptop.serve_lines(7001);
    let here = format!("{} ", laptop.name());

    let mut exchange = exchange(&laptop, &["talk", "--expose", "7001:7000/udp,7001:7000"]);

    for network in ["udp", "tcp"] {
        cluster.wait_for_line(network, TALK, &here, NODES);
        let answer = cluster.send(network, TALK, "and back").expect("an answer");
        assert!(answer.contains(&here) && answer.contains("and back"), "{network}: {answer}");
    }
    let stuntman = cluster.object("service/talk-kt-stuntman").expect("the stuntman is there");
    let ports = stuntman["spec"]["ports"].as_array().expect("it has ports").iter();
    let protocols: Vec<_> = ports.map(|port| port["protocol"].as_str().unwrap_or_default()).collect();
    assert_eq!(protocols, ["TCP", "UDP"]);
    assert_eq!(exchange.interrupt(15).code, 0);
    for network in ["udp", "tcp"] {
        cluster.wait_for_line(network, TALK, "tomcat-", NODES);
    }
    drop(local);
    laptop.snapshot().assert_as(&on_laptop);
    Snapshot::wait_until_as(&in_cluster, 10, || cluster.snapshot());
}

#[test]
fn after_a_kill_udp_goes_to_the_original_pods() {
    let (cluster, laptop) = Laptop::with_cluster("udpkill");
    apply_talk(&cluster);
    let in_cluster = cluster.snapshot();
    let _local = laptop.serve_lines(7000);
    let _killed = exchange(&laptop, &["talk", "--expose", "7000/udp"]);
    cluster.wait_for_line("udp", TALK, &format!("{} ", laptop.name()), NODES);

    laptop.kill9(&main_process(&laptop));

    cluster.wait_for_line("udp", TALK, "tomcat-", 30);
    let selector = &cluster.object("service/talk").expect("the service is there")["spec"]["selector"];
    assert!(selector["kt-role"].is_string(), "somebody has put the service back: {selector}");
    let mut next = exchange(&laptop, &["talk", "--expose", "7000/udp"]);
    assert_eq!(next.interrupt(15).code, 0);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

#[test]
fn the_proxy_protocol_tells_the_local_program_who_calls() {
    let (cluster, laptop) = Laptop::with_cluster("proxied");
    let _local = laptop.serve_headers();
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--proxyProtocol"]);

    let signature_and_kind = "0d0a0d0a000d0a515549540a2111000c";
    cluster.wait_for_line("tcp", "tomcat:8080", signature_and_kind, NODES);
    let answer = cluster.send("tcp", "tomcat:8080", "hello").expect("an answer");

    let caller: std::net::Ipv4Addr = cluster.pod_ip("caller").parse().expect("an address");
    let caller: String = caller.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    let addresses = format!("{signature_and_kind}{caller}7f000001");
    assert!(answer.contains(&addresses), "{answer} is not from {caller}");
    assert!(answer.contains("1f90 "), "not to port 8080: {answer}");
    assert!(answer.ends_with("hello\n"), "what was sent is not behind the header: {answer}");
}

const TALK: &str = "talk:7000";

/// A Service before the sample's pods, with TCP and UDP of one port.
fn apply_talk(cluster: &Cluster) {
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "talk"}, "spec": {"selector": {"app": "tomcat"},
            "ports": [{"name": "tcp", "port": 7000}, {"name": "udp", "port": 7000, "protocol": "UDP"}]}}"#,
    );
    cluster.wait_for_line("udp", TALK, "tomcat-", 15);
}

// covers: 7-22
#[test]
fn ports_are_checked_at_both_ends_unless_told_not_to() {
    let (cluster, laptop) = Laptop::with_cluster("check");
    let before = cluster.snapshot();

    let absent = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]).wait(10);
    let local = laptop.serve(8080, LOCAL);
    let wrong = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080:9999"]).wait(15);
    drop(local);

    assert_eq!(absent.code, 1, "{}", absent.text);
    assert!(absent.text.contains("no application is running on port 8080"), "{}", absent.text);
    assert_eq!(wrong.code, 1, "{}", wrong.text);
    assert!(wrong.text.contains("Exit: ") && wrong.text.contains("9999"), "{}", wrong.text);
    cluster.snapshot().assert_as(&before);
    let mut allowed = exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking"]);
    assert_eq!(allowed.interrupt(15).code, 0);
}

// covers: 7-25
#[test]
fn of_two_at_the_same_time_exactly_one_gets_the_service() {
    let (cluster, first) = Laptop::with_cluster("race");
    let Some(second) = Laptop::lease_another("race", &cluster) else { return };
    let before = cluster.snapshot();
    let _locals = [first.serve(8080, "page of the first"), second.serve(8080, "page of the second")];
    let line = ["exchange", "tomcat", "--expose", "8080"];

    let mut both = [first.ktctl(&line), second.ktctl(&line)];

    let is_ready = |run: &Running| run.text().contains("will be redirected to local");
    wait_until("one is ready and one has ended", Duration::from_secs(40), || {
        let ended = both.iter_mut().filter_map(|run| (!run.is_running()).then_some(())).count();
        (ended == 1 && both.iter().any(is_ready)).then_some(())
    });
    let winner = usize::from(is_ready(&both[1]));
    let loser = both[1 - winner].wait(1);
    assert_eq!(loser.code, 1, "{}", loser.text);
    let owner = [first.user(), second.user()][winner];
    assert!(loser.text.contains("Exit: ") && loser.text.contains(owner), "{}", loser.text);
    let page = ["page of the first", "page of the second"][winner];
    cluster.wait_for_answer(URL, page, NODES);
    assert_eq!(both[winner].interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

// The part of row 7-26 that is about exchange.
#[test]
fn a_service_that_is_applied_anew_is_redirected_again() {
    let (cluster, laptop) = Laptop::with_cluster("reapply");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    let original = r#"{"metadata": {"annotations": {"kt-selector": null}},
        "spec": {"selector": {"app": "tomcat", "kt-role": null, "kt-target": null}}}"#;
    cluster.kubectl(&["patch", "service", "tomcat", "--type=merge", "-p", original]).unwrap();

    exchange.wait_for("service tomcat is redirected again", 20); // after a random pause
    cluster.wait_for_answer(URL, LOCAL, NODES);
    assert_eq!(exchange.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

#[test]
fn a_dead_local_program_refuses_and_is_found_again_when_it_lives() {
    let (cluster, laptop) = Laptop::with_cluster("dead");
    let local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    drop(local);

    // The first is reset, by which it becomes known; from then on the port is closed.
    let asked = Instant::now();
    let first = cluster.get(URL).expect_err("nobody listens");
    assert!(first.contains("refused") || first.contains("reset"), "{first}");
    assert!(asked.elapsed() < Duration::from_secs(3), "told after {:?}", asked.elapsed());
    wait_until("the next callers are refused", Duration::from_secs(5), || {
        cluster.get(URL).is_err_and(|why| why.contains("refused")).then_some(())
    });
    let _again = laptop.serve(8080, LOCAL);
    cluster.wait_for_answer(URL, LOCAL, 5);
}

#[test]
fn every_way_to_end_it_leaves_no_trace() {
    let (cluster, laptop) = Laptop::with_cluster("ends");
    let _local = laptop.serve(8080, LOCAL);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());

    for signal in ["INT", "TERM", "HUP", "QUIT", "pid file removed"] {
        let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
        match signal {
            "pid file removed" => drop(laptop.run(&["bash", "-c", "rm ~/.kt/pid/exchange-*.pid"]).ok()),
            signal => exchange.signal(signal),
        }
        let ended = exchange.wait(15);
        assert_eq!(ended.code, 0, "{signal}: {}", ended.text);
        laptop.snapshot().assert_as(&on_laptop);
        Snapshot::wait_until_as(&in_cluster, 10, || cluster.snapshot());
    }
}

#[test]
fn after_a_kill_the_originals_answer_and_the_next_start_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("killed");
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    laptop.kill9(&main_process(&laptop));
    drop(local);

    cluster.wait_for_answer(URL, DEMO, 20);
    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after exchange", 20);
    assert_eq!(next.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
    laptop.snapshot().assert_as(&on_laptop);
}

// covers: 7-35
#[test]
fn a_shadow_that_is_deleted_is_replaced_and_the_service_comes_here_again() {
    let (cluster, laptop) = Laptop::with_cluster("noshadow");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    let deleted = Instant::now();
    cluster.kubectl(&["delete", "pod", "-l", "kt-role=shadow-exchange", "--wait=false"]).expect("deleted");

    exchange.wait_for("the shadow pod is gone, making another one", 10);
    exchange.wait_for("connection restored", 10);
    let restored = deleted.elapsed();
    let left = Duration::from_secs(10).saturating_sub(restored);
    wait_until("callers come here again", left, || {
        cluster.get(URL).is_ok_and(|page| page.contains(LOCAL)).then_some(())
    });
    println!("restored after {restored:?}, callers after {:?}", deleted.elapsed());
    assert_eq!(exchange.interrupt(15).code, 0);
    cluster.wait_for_answer(URL, DEMO, 5);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

/// Imports what `make images` has packed on every node; `false` when it has not packed anything.
fn load_shadow_image() -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout is above this crate");
    let archive = root.join("target/images/kt-connect-shadow.tar");
    if !archive.exists() {
        return false;
    }
    let loaded = Command::new(root.join("testbed/testbed")).arg("load-image").arg(archive).status();
    assert!(loaded.expect("run the test bed").success(), "import the shadow's image");
    true
}

/// Exchanges as the ordinary user, and returns when the cluster calls here.
fn exchange(laptop: &Laptop, args: &[&str]) -> Running {
    let mut exchange = laptop.ktctl(&[&["exchange"], args].concat());
    exchange.wait_for("will be redirected to local", 30);
    exchange
}

fn main_process(laptop: &Laptop) -> Process {
    let mine = |process: &Process| process.args.contains(" exchange");
    laptop.processes("ktctl").into_iter().find(mine).expect("exchange runs")
}
