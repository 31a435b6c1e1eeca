//! `exchange --takeover`: a service comes from one laptop to another one.

use e2e::{Cluster, DEMO, Kind, Laptop, Running, Snapshot, skip};

const URL: &str = "http://tomcat:8080";
const READY: &str = "will be redirected to local";
/// How long each node may take to learn who stands behind a service, in seconds.
const NODES: u64 = 6;

#[test]
fn a_service_is_taken_over_from_somebody_who_is_told_and_ends() {
    let Some((cluster, first, second)) = bed("takeover") else { return };
    let before = cluster.snapshot();
    let _locals = [first.serve(8080, "page of the first"), second.serve(8080, "page of the second")];
    let mut loser = exchange(&first, &[]);
    cluster.wait_for_answer(URL, "page of the first", NODES);

    let mut winner = exchange(&second, &["--takeover", "--yes"]);

    let said = winner.text();
    assert!(said.contains(&format!("Taking service tomcat over from {}", first.user())), "{said}");
    let ended = loser.wait(30);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let taken = format!("the service was taken over by another user ({})", second.user());
    assert!(ended.text.contains(&taken), "{}", ended.text);
    assert!(!ended.text.contains("Original service tomcat recovered"), "{}", ended.text);
    cluster.wait_for_answer(URL, "page of the second", NODES);
    let stuntman = cluster.object("service/tomcat-kt-stuntman").expect("the stuntman stays");
    assert_eq!(stuntman["spec"]["selector"]["app"], "tomcat");
    assert_eq!(winner.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn without_consent_the_service_stays_where_it_is() {
    let Some((cluster, first, second)) = bed("consent") else { return };
    let _local = first.serve(8080, "page of the first");
    let mut owner = exchange(&first, &[]);
    cluster.wait_for_answer(URL, "page of the first", NODES);
    let before = cluster.snapshot();
    let line = ["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"];

    let refused = second.ktctl(&line).wait(20);
    let in_a_script = second.ktctl(&[&line[..], &["--takeover"]].concat()).wait(20);
    let ktctl = e2e::ktctl();
    let at_a_terminal = [&["python3", "-c", SAYS_NO, &ktctl][..], &line, &["--takeover"]].concat();
    let denied = second.start(&at_a_terminal).wait(30);

    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("--takeover"), "{}", refused.text);
    assert_eq!(in_a_script.code, 1, "{}", in_a_script.text);
    assert!(in_a_script.text.contains("--takeover --yes"), "{}", in_a_script.text);
    assert_eq!(denied.code, 2, "{}", denied.text);
    assert!(denied.text.contains("Take it over? (y/N)"), "{}", denied.text);
    assert!(denied.text.contains(&format!("stays with {}", first.user())), "{}", denied.text);
    cluster.snapshot().assert_as(&before);
    assert_eq!(owner.interrupt(20).code, 0);
}

#[test]
fn takeover_of_a_free_service_is_an_ordinary_exchange() {
    let (cluster, laptop) = one("free");
    let mut exchange = exchange(&laptop, &["--takeover"]);

    assert!(!exchange.text().contains("Taking"), "{}", exchange.text());
    assert_eq!(exchange.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
}

/// Runs the command line behind it at a terminal, and answers its first question with no.
const SAYS_NO: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while True:
    try:
        part = os.read(terminal, 1000)
    except OSError:
        break
    if not part:
        break
    said += part
    if b"(y/N)" in part:
        os.write(terminal, b"n\n")
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn exchange(laptop: &Laptop, more: &[&str]) -> Running {
    let line = ["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"];
    let mut exchange = laptop.ktctl(&[&line[..], more].concat());
    exchange.wait_for(READY, 40);
    exchange
}

fn one(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}

/// Two laptops of different kinds: two tests that each hold a plain one and want a second plain one
/// would wait for each other.
fn bed(name: &str) -> Option<(Cluster, Laptop, Laptop)> {
    let (cluster, first) = one(name);
    let Some(second) = Laptop::lease_kind(&cluster, Kind::Vpn) else {
        skip(name, "the test bed has no laptop of kind Vpn");
        return None;
    };
    Some((cluster, first, second))
}
