//! `-o json`: programs are told on stdout what happens to a run; people read on stderr who calls.

use std::time::Duration;

use e2e::{Cluster, LOCAL, Laptop, Running, ktctl, wait_until};
use serde_json::{Value, json};

const URL: &str = "http://tomcat:8080";
/// Each node learns of a switch by itself, in seconds.
const NODES: u64 = 6;

#[test]
fn an_exchange_tells_programs_who_calls_and_what_happens_and_people_who_calls() {
    let (cluster, laptop) = Laptop::with_cluster("events");
    let local = laptop.serve(8099, LOCAL);
    let mut exchange = told(&laptop, "exchange tomcat --expose 8099:8080");

    let ready = wait_for(&exchange, "ready", 30);
    assert_eq!(
        (&ready["version"], &ready["command"], &ready["mode"], &ready["namespace"], &ready["target"]),
        (
            &json!(1),
            &json!("exchange"),
            &json!("selector"),
            &json!(cluster.namespace()),
            &json!("service/tomcat")
        )
    );
    assert_eq!(ready["ports"], json!([{"laptop": 8099, "cluster": 8080, "protocol": "tcp"}]));

    let address = pod_ip(&cluster, "caller");
    for _ in 0..3 {
        cluster.wait_for_answer(URL, LOCAL, NODES);
    }
    let calls = of_caller(&exchange, &address);
    assert!(calls.len() >= 3, "{}", exchange.text());
    for call in &calls {
        assert_eq!(
            (&call["protocol"], &call["port"], &call["laptopPort"], &call["delivered"]),
            (&json!("tcp"), &json!(8080), &json!(8099), &json!(true)),
            "{call}"
        );
        assert!(call["peerPort"].as_u64().is_some_and(|port| port > 0), "{call}");
    }
    let log = log(&laptop);
    assert_eq!(log.matches(&format!("INF {address} calls port 8080")).count(), 1, "once: {log}");

    drop(local);
    drop(cluster.get(URL));
    let refused = wait_until("a caller meets nobody", Duration::from_secs(10), || {
        of_caller(&exchange, &address).into_iter().find(|call| call["delivered"] == json!(false))
    });
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("refused")), "{refused}");

    assert_eq!(exchange.interrupt(20).code, 0);
    let last = events(&exchange).pop().expect("events");
    assert_eq!((&last["event"], &last["exitCode"], &last["remains"]), (&json!("end"), &json!(0), &json!([])));
}

#[test]
fn a_shadow_that_is_replaced_is_told_with_what_was_lost() {
    let (cluster, laptop) = Laptop::with_cluster("newshadow");
    let _local = laptop.serve(8080, LOCAL);
    let exchange = told(&laptop, "exchange tomcat --expose 8080");
    wait_for(&exchange, "ready", 30);

    cluster.kubectl(&["delete", "pod", "-l", "kt-role=shadow-exchange", "--wait=false"]).expect("deleted");

    let shadow = wait_for(&exchange, "shadow", 60);
    let lost = wait_for(&exchange, "lost", 0);
    assert_eq!(shadow["replaces"], lost["pod"]);
    assert!(lost["why"].as_str().is_some_and(|why| !why.is_empty()), "{lost}");
    let present = ["get", "pods", "-l", "kt-role=shadow-exchange", "-o", "name"];
    let present = cluster.kubectl(&present).expect("list shadows");
    assert!(present.contains(shadow["pod"].as_str().expect("a name")), "{present} {shadow}");
}

#[test]
fn a_mesh_and_a_preview_tell_programs_that_they_are_ready_and_who_calls() {
    let (cluster, laptop) = Laptop::with_cluster("jsonmesh");
    let _local = laptop.serve(8080, LOCAL);

    let mut mesh = told(&laptop, "mesh tomcat --expose 8080 --versionMark kt-mark:mine");
    let ready = wait_for(&mesh, "ready", 30);
    assert_eq!(
        (&ready["command"], &ready["mode"], &ready["target"], &ready["mark"]),
        (&json!("mesh"), &json!("auto"), &json!("service/tomcat"), &json!("kt-mark:mine"))
    );
    let page = cluster.get_with(URL, Some("kt-mark: mine")).expect("an answer");
    assert!(page.contains(LOCAL), "{page}");
    let router = pod_ip(&cluster, "tomcat-kt-router");
    assert!(!of_caller(&mesh, &router).is_empty(), "{router} {}", mesh.text());
    assert_eq!(mesh.interrupt(20).code, 0);

    let _lines = laptop.serve_lines(7000);
    let mut preview = told(&laptop, "provide mine --expose 8080,7000/udp");
    let ready = wait_for(&preview, "ready", 30);
    assert_eq!((&ready["command"], &ready["target"]), (&json!("preview"), &json!("service/mine")));
    cluster.wait_for_answer("http://mine:8080", LOCAL, NODES);
    cluster.wait_for_line("udp", "mine:7000", laptop.name(), NODES);
    let calls = of_caller(&preview, &pod_ip(&cluster, "caller"));
    let tcp = calls.iter().find(|call| call["protocol"] == json!("tcp")).expect("a connection");
    let udp = calls.iter().find(|call| call["protocol"] == json!("udp")).expect("a peer");
    assert_eq!((&tcp["port"], &tcp["delivered"]), (&json!(8080), &json!(true)));
    assert_eq!((&udp["port"], udp.get("delivered")), (&json!(7000), None));
    assert_eq!(preview.interrupt(20).code, 0);
}

#[test]
fn a_connect_and_an_old_run_tell_programs_that_they_are_ready_and_over() {
    let (cluster, laptop) = Laptop::with_cluster("jsonold");
    cluster.grant(include_str!("../../docs/rbac/use-shadow-deployment.yaml"));
    let _local = laptop.serve(8080, LOCAL);
    for (command, what, key, value) in [
        ("connect --disableTunDevice --proxyPort 3456", "connect", "proxy", "127.0.0.1:3456"),
        ("run mine --port 8080 --expose", "run", "target", "service/mine"),
    ] {
        let mut run = told(&laptop, command);

        let ready = wait_for(&run, "ready", 40);

        assert_eq!((&ready["command"], &ready[key]), (&json!(what), &json!(value)));
        assert_eq!(run.interrupt(20).code, 0, "{command}");
        assert_eq!(wait_for(&run, "end", 0)["exitCode"], json!(0), "{command}");
    }
}

#[test]
fn a_run_that_fails_tells_programs_why_and_with_which_code() {
    let (_cluster, laptop) = Laptop::with_cluster("jsonend");

    for (command, code, why) in [
        ("exchange nonesuch --expose 8080", 1, "nonesuch"),
        ("exchange tomcat", 2, "--expose is required"),
        ("preview mine --expose 8080", 1, "no application is running on port 8080"),
    ] {
        let mut run = told(&laptop, command);

        assert_eq!(run.wait(30).code, code, "{command}: {}", run.text());
        let events = events(&run);
        let [end] = &events[..] else { panic!("{command}: {events:?}") };
        assert_eq!((&end["event"], &end["exitCode"]), (&json!("end"), &json!(code)));
        assert!(end["error"].as_str().is_some_and(|said| said.contains(why)), "{command}: {end}");
    }
}

#[test]
fn what_could_not_be_undone_is_told_with_its_commands() {
    let (cluster, laptop) = Laptop::with_cluster("jsonleft");
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = told(&laptop, "exchange tomcat --expose 8080");
    wait_for(&exchange, "ready", 30);
    let rules = r#"{"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}"#;
    cluster.kubectl(&["patch", "role/ktctl-all-commands-mini", "--type=merge", "-p", rules]).expect("patch");

    assert_eq!(exchange.interrupt(30).code, 1);

    let end = wait_for(&exchange, "end", 0);
    let recover = format!("ktctl -n {} recover tomcat", cluster.namespace());
    assert_eq!((&end["exitCode"], &end["remains"][0]), (&json!(1), &json!(recover)));
    assert!(end["error"].as_str().is_some_and(|why| why.contains("could be undone")), "{end}");
}

#[test]
fn a_reader_who_goes_does_not_end_the_run() {
    let (cluster, laptop) = Laptop::with_cluster("jsongone");
    let _local = laptop.serve(8080, LOCAL);
    let command = format!("{} exchange tomcat --expose 8080 -o json 2> ~/events.log | head -1", ktctl());
    let mut run = laptop.start(&["bash", "-c", &command]);
    let first = run.wait_for(r#"{"version":1,"#, 30);

    assert!(first.contains(r#""event":"ready""#), "{first}");

    for _ in 0..5 {
        cluster.wait_for_answer(URL, LOCAL, NODES);
    }
    assert!(run.is_running(), "{}", run.text());
    laptop.run(&["bash", "-c", "rm ~/.kt/pid/exchange-*.pid"]).ok();
    run.wait(20);
    assert!(log(&laptop).contains("Original service tomcat recovered"), "{}", log(&laptop));
}

/// `ktctl` with these words, whose events are its output; its log is a file of the laptop.
fn told(laptop: &Laptop, words: &str) -> Running {
    laptop.start(&["bash", "-c", &format!("exec {} {words} -o json 2> ~/events.log", ktctl())])
}

fn log(laptop: &Laptop) -> String {
    laptop.run(&["bash", "-c", "cat ~/events.log"]).ok()
}

/// All that was told so far: nothing else may stand there.
fn events(run: &Running) -> Vec<Value> {
    let text = run.text();
    let event = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(event).collect()
}

fn wait_for(run: &Running, event: &str, secs: u64) -> Value {
    wait_until(&format!("the event {event}"), Duration::from_secs(secs), || {
        events(run).into_iter().find(|line| line["event"] == json!(event))
    })
}

fn of_caller(run: &Running, address: &str) -> Vec<Value> {
    let is_his = |line: &Value| line["event"] == json!("caller") && line["peer"] == json!(address);
    events(run).into_iter().filter(is_his).collect()
}

fn pod_ip(cluster: &Cluster, pod: &str) -> String {
    cluster.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]).expect("the pod has an address")
}
