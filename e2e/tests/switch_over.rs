//! What callers notice when a service goes to the laptop and back, or the laptop vanishes meanwhile.

#[path = "switch_over/away.rs"]
mod away;
#[path = "switch_over/modes.rs"]
mod modes;

use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::{
    Conversation, DEMO, LOCAL, Laptop, Running, assert_nothing_lost, callers_who_keep, wait_until,
    wait_until_they_hear,
};

const URL: &str = "http://tomcat:8080";
/// How long after the ready text a caller may still take the old way, in seconds.
const NODES: u64 = 6;
/// A service with a page and with lines.
const BOTH: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec":
    {"selector": {"app": "tomcat"}, "ports": [{"name": "page", "port": 8080}, {"name": "lines", "port": 7000}]}}"#;

#[test]
fn no_request_is_lost_when_the_service_is_taken_and_given_back() {
    let (cluster, laptop) = Laptop::with_cluster("switch");
    cluster.kubectl(&["scale", "deployment", "tomcat", "--replicas", "2"]).unwrap();
    cluster.wait_ready("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, DEMO);

    for _ in 0..2 {
        let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
        wait_until_they_hear(&callers, LOCAL);
        assert_eq!(exchange.interrupt(20).code, 0);
        wait_until_they_hear(&callers, DEMO);
    }

    assert_nothing_lost(&callers);
}

#[test]
fn connections_that_callers_keep_are_ended_and_never_reset() {
    let (cluster, laptop) = Laptop::with_cluster("kept");
    let service = cluster.service_ip("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let before = callers_who_keep(&cluster, &service, "", "60000", DEMO);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    let idle = callers_who_keep(&cluster, &service, "", "60000", LOCAL);
    let busy = callers_who_keep(&cluster, &service, "", "200", LOCAL);

    assert_eq!(exchange.interrupt(15).code, 0);

    heard_by_each(&idle, "FIN");
    heard_by_each(&busy, "FIN");
    heard_by_each(&busy, DEMO);
    for caller in before.iter().chain(&idle).chain(&busy) {
        assert!(!caller.text().contains("LOST"), "{}", caller.text());
    }
    for caller in before {
        assert!(!caller.text().contains("FIN"), "who kept the original lost it: {}", caller.text());
    }
}

#[test]
fn a_request_under_way_at_the_end_is_answered_within_10_s_and_then_cut() {
    let (cluster, laptop) = Laptop::with_cluster("underway");
    let service = cluster.service_ip("tomcat");
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
    let _here = callers_who_keep(&cluster, &service, "", "60000", LOCAL); // each node has learned of it
    let ask = |ms: u64| {
        let url = format!("http://{service}:8080/slow?ms={ms}");
        cluster.start_on("node1", &["curl", "-sS", "-m", "40", "-w", "took %{time_total}", &url])
    };
    let (mut short, mut long) = (ask(6000), ask(30_000));
    sleep(Duration::from_secs(1)); // until both are under way

    let interrupted = Instant::now();
    exchange.signal("INT");

    let answer = short.wait(10);
    assert!(answer.code == 0 && answer.text.contains(LOCAL), "{}", answer.text);
    let cut = long.wait(20);
    let after = interrupted.elapsed();
    assert_ne!(cut.code, 0, "{}", cut.text);
    assert!((9.0..12.0).contains(&after.as_secs_f64()), "cut {after:?} after the end was wished");
    assert_eq!(exchange.wait(10).code, 0);
}

#[test]
fn an_idle_caller_of_http2_does_not_delay_the_end_and_one_who_waits_is_answered() {
    let (cluster, laptop) = Laptop::with_cluster("endhttp2");
    let service = cluster.service_ip("tomcat");
    let mut local = laptop.start(&["python3", "-uc", &[FRAMES, ANSWERS_HTTP2].concat()]);
    local.wait_for("listening", 10);
    for (requests, within) in [("1", 0.0..6.0), ("2", 3.0..9.0)] {
        let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"]);
        let asks = [FRAMES, ASKS_BY_HTTP2].concat();
        let mut caller = cluster.start_on("node1", &["python3", "-uc", &asks, &service, requests]);
        caller.wait_for("answer 1", 10);
        sleep(Duration::from_secs(1)); // what else he says has arrived

        let begun = Instant::now();
        let ended = exchange.interrupt(20);

        let took = begun.elapsed().as_secs_f64();
        assert_eq!(ended.code, 0, "{}", ended.text);
        let said = caller.wait(5).ok();
        assert!(said.contains(&format!("answer {requests}")) && said.contains("FIN"), "{said}");
        assert!(within.contains(&took), "{requests}: {took} s\n{}", ended.text);
    }
}

/// Frames of HTTP/2 by hand: their type, flags and stream.
const FRAMES: &str = r#"
import socket, struct, sys, time
def frame(kind, flags=0, stream=0, body=b""):
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body
def frames(file):
    while len(head := file.read(9)) == 9:
        body = file.read(int.from_bytes(head[:3], "big"))
        yield head[3], head[4], int.from_bytes(head[5:], "big"), body
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"#;

/// Answers the first request of a connection at once, and the next one after 5 s.
const ANSWERS_HTTP2: &str = r#"
import threading
def serve(connection):
    file = connection.makefile("rb")
    if file.read(len(PREFACE)) != PREFACE: return
    connection.sendall(frame(4))
    for kind, flags, stream, body in frames(file):
        if kind == 1:
            time.sleep(5 if stream > 1 else 0)
            connection.sendall(frame(1, 4, stream, b"\x88") + frame(0, 1, stream, b"answer"))
listener = socket.create_server(("127.0.0.1", 8080))
print("listening")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"#;

/// Asks so many times, each time after the answer to the one before, and has the last word, which is no
/// question.
const ASKS_BY_HTTP2: &str = r#"
connection = socket.create_connection((sys.argv[1], 8080))
file, many, answers = connection.makefile("rb"), int(sys.argv[2]), 0
ask = lambda number: connection.sendall(frame(1, 5, 2 * number + 1, b"\x82\x86\x84"))
connection.sendall(PREFACE + frame(4))
ask(0)
for kind, flags, stream, body in frames(file):
    if kind == 0 and flags & 1:
        answers += 1
        print("answer", answers)
        if answers < many: ask(answers)
    connection.sendall(frame(8, 0, 0, struct.pack(">I", 1000)))
print("FIN")
"#;

#[test]
fn while_the_laptops_cable_is_pulled_callers_go_to_the_originals_and_then_come_again() {
    let (cluster, laptop) = Laptop::with_cluster("away");
    cluster.apply(BOTH);
    let service = cluster.service_ip("both");
    let url = format!("http://{service}:8080");
    let _locals = [laptop.serve(8080, LOCAL), laptop.serve_lines(7001)];
    let mut exchange = exchange(&laptop, &["both", "--expose", "8080,7001:7000"]);
    cluster.wait_for_answer("http://both:8080", LOCAL, NODES);
    cluster.wait_for_line("tcp", "both:7000", laptop.name(), NODES);
    let talk = Conversation::from_node(&cluster, "node1", &service);

    let pulled = laptop.pull_cable();
    let cut = Instant::now();
    let mut caller = cluster.start_on("node1", &["curl", "-sS", "-m", "40", &url]);
    sleep(Duration::from_secs(1)); // what was on its way has arrived
    let said = talk.lines();
    let page = caller.wait(45).ok();
    let passed_on = cut.elapsed();
    assert_eq!(talk.lines(), said, "an old stream goes on without a cable");
    assert!(page.contains(DEMO), "{page}");
    // It was last heard before the cut, at most a ping earlier; finding it out takes up to a second.
    assert!((9.0..17.0).contains(&passed_on.as_secs_f64()), "{passed_on:?}");
    cluster.wait_for_answer(&url, DEMO, 1);

    drop(pulled);
    let back = Instant::now();
    cluster.wait_for_answer(&url, LOCAL, 30);
    println!("to the originals after {passed_on:?}, back after {:?}", back.elapsed());
    talk.goes_on(20);
    assert_eq!(talk.hang_up().code, 0);
    assert_eq!(exchange.interrupt(15).code, 0);
}

fn heard_by_each(callers: &[Running], text: &str) {
    wait_until(&format!("all callers hear {text:?}"), Duration::from_secs(5), || {
        callers.iter().all(|caller| caller.text().contains(text)).then_some(())
    });
}

/// Exchanges as the ordinary user, and returns when the cluster calls here.
fn exchange(laptop: &Laptop, args: &[&str]) -> Running {
    let mut exchange = laptop.ktctl(&[&["exchange"], args].concat());
    exchange.wait_for("will be redirected to local", 30);
    exchange
}
