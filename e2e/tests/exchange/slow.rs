//! A local program that does not read holds up its own callers, and nothing else.

use super::*;

/// Pages, and lines.
const BOTH: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "both"}, "spec":
    {"selector": {"app": "tomcat"}, "ports": [{"name": "page", "port": 8080}, {"name": "lines", "port": 7000}]}}"#;
/// What each of two callers sends, in MiB.
const SENT: u64 = 128;
/// What may be on its way for one of them, in MiB: the most that a stream may send in advance, and what
/// the systems hold for the sockets between.
const ON_ITS_WAY: u64 = 40;

#[test]
fn a_program_that_does_not_read_holds_up_its_callers_alone_and_costs_little_memory() {
    let (cluster, laptop) = Laptop::with_cluster("noread");
    cluster.apply(BOTH);
    let service = cluster.service_ip("both");
    let _local = laptop.serve(8080, LOCAL);
    let mut sleeper = laptop.start(&["python3", "-uc", READS_LATER]);
    sleeper.wait_for("listens", 10);
    let mut exchange = exchange(&laptop, &["both", "--expose", "8080,7001:7000"]);
    cluster.wait_for_answer("http://both:8080", LOCAL, NODES);
    let pod =
        cluster.kubectl(&["get", "pods", "-l", "control-by=kt", "-o", "jsonpath={.items[0].metadata.name}"]);
    let pod = pod.expect("the shadow");
    let held = || (memory_of_ktctl(&laptop), cluster.memory_in(&pod, "shadow"));
    let before = held();

    let send = || cluster.start_on("node1", &["python3", "-uc", SENDS, &service, &SENT.to_string()]);
    let mut senders = [send(), send()];

    for sender in &mut senders {
        let said = sender.wait_for("stalled at", 60);
        let sent: u64 = said.split_whitespace().nth(2).and_then(|word| word.parse().ok()).expect("a number");
        assert!(sent < ON_ITS_WAY, "{said}");
    }
    let after = held();
    println!("MiB of ktctl and of the shadow: {before:?}, with two streams that stand still: {after:?}");
    assert!(
        after.0 < before.0 + 2 * ON_ITS_WAY && after.1 < before.1 + 2 * ON_ITS_WAY,
        "{before:?} {after:?}"
    );
    for _ in 0..20 {
        assert!(cluster.get("http://both:8080").expect("others go on").contains(LOCAL));
    }
    sleeper.signal("USR1");
    for sender in &mut senders {
        sender.wait_for("all sent", 60);
    }
    sleeper.wait_for(&format!("read {} bytes", (2 * SENT) << 20), 20);
    assert_eq!(exchange.interrupt(15).code, 0);
}

/// In MiB, of the process that moves the bytes.
fn memory_of_ktctl(laptop: &Laptop) -> u64 {
    let mut all = laptop.processes("ktctl").into_iter();
    let process = all.find(|process| process.args.contains(" exchange ")).expect("ktctl runs");
    let status = laptop.root(&["cat", &format!("/proc/{}/status", process.pid)]).ok();
    e2e::resident(&status).expect("its memory")
}

/// Takes connections, and reads from them once it gets USR1.
const READS_LATER: &str = r#"
import signal, socket, threading
reading, lock, total = threading.Event(), threading.Lock(), 0
signal.signal(signal.SIGUSR1, lambda *_: reading.set())

def read(connection):
    global total
    reading.wait()
    while data := connection.recv(1 << 20):
        with lock: total += len(data)
    print("read", total, "bytes")

listener = socket.create_server(("127.0.0.1", 7001))
def accept():
    while True:
        threading.Thread(target=read, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
print("listens")
while True: signal.pause()
"#;

/// Sends so many MiB, and says it when it gets no further for 3 s.
const SENDS: &str = r#"
import socket, sys, threading
connection, sent, most = socket.create_connection((sys.argv[1], 7000)), 0, int(sys.argv[2]) << 20
ended = threading.Event()

def watch():
    last = -1
    while not ended.wait(3):
        if sent == last: return print("stalled at", sent >> 20, "MiB")
        last = sent

threading.Thread(target=watch, daemon=True).start()
while sent < most: sent += connection.send(bytes(min(1 << 16, most - sent)))
ended.set()
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
print("all sent")
"#;
