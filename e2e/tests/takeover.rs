//! `exchange --takeover`: a service comes from one laptop to another one.

use std::time::Duration;

use e2e::{
    Cluster, DEMO, Kind, Laptop, Running, Snapshot, assert_nothing_lost, skip, wait_until,
    wait_until_they_hear,
};

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
fn a_deployment_is_taken_over_and_gets_back_what_it_had_before_the_first_one() {
    let Some((cluster, first, second)) = scaling("takescale") else { return };
    let before = cluster.snapshot().without(&["objects"]);
    let _locals = [first.serve(8080, "page of the first"), second.serve(8080, "page of the second")];
    let mut loser = scale(&first, &[]);
    cluster.wait_for_answer(URL, "page of the first", NODES);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, "page of the first");

    let mut winner = scale(&second, &["--takeover", "--yes"]);

    let said = winner.text();
    assert!(said.contains(&format!("Taking deployment 'tomcat' over from {}", first.user())), "{said}");
    let ended = loser.wait(30);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let taken = format!("deployment 'tomcat' was taken over by another user ({})", second.user());
    assert!(ended.text.contains(&taken), "{}", ended.text);
    assert!(!ended.text.contains("scaled back") && !ended.text.contains(" WRN not"), "{}", ended.text);
    assert_eq!(replicas(&cluster), "0");
    let path = "jsonpath={.items[*].metadata.annotations.kt-config}";
    wait_until("the shadow of the first is gone", Duration::from_secs(15), || {
        let configs = cluster.kubectl(&["get", "pods", "-l", "kt-role=shadow-exchange", "-o", path]).ok()?;
        (configs == "app=tomcat,replicas=2").then_some(())
    });
    wait_until_they_hear(&callers, "page of the second");
    assert_nothing_lost(&callers);
    drop(callers);
    assert_eq!(winner.interrupt(60).code, 0);
    assert_eq!(replicas(&cluster), "2");
    cluster.wait_for_answer(URL, DEMO, NODES);
    let without_callers = || {
        let callers = ["delete", "pod", "caller-node1", "caller-node2", "--ignore-not-found", "--now"];
        cluster.kubectl(&callers).expect("delete the callers");
        cluster.snapshot().without(&["objects"])
    };
    Snapshot::wait_until_as(&before, 20, without_callers);
}

#[test]
fn who_took_a_deployment_over_and_was_killed_gives_back_what_it_had_before_the_first_one() {
    let Some((cluster, first, second)) = scaling("takekill") else { return };
    let mut loser = scale(&first, &[]);
    let line = ["exchange", "tomcat", "--mode", "scale", "--expose", "8080", "--skipPortChecking"];
    let in_a_script = second.ktctl(&[&line[..], &["--takeover"]].concat()).wait(20);
    assert_eq!(in_a_script.code, 1, "{}", in_a_script.text);
    assert!(in_a_script.text.contains("--takeover --yes"), "{}", in_a_script.text);
    let selector = second.ktctl(&[&line[..2], &line[4..], &["--takeover", "--yes"]].concat()).wait(20);
    assert_eq!(selector.code, 1, "{}", selector.text);
    assert!(selector.text.contains("--mode scale --takeover"), "{}", selector.text);
    let _killed = scale(&second, &["--takeover", "--yes"]);

    for process in second.processes("ktctl") {
        second.kill9(&process);
    }

    assert_eq!(loser.wait(30).code, 1, "{}", loser.text());
    assert_eq!(replicas(&cluster), "0");
    let mut next = second.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Deployment tomcat scaled back to 2", 20);
    assert_eq!(next.interrupt(15).code, 0);
    assert_eq!(replicas(&cluster), "2");
    cluster.wait_for_answer(URL, DEMO, 30);
}

#[test]
fn what_can_not_be_taken_over_is_told_with_what_works() {
    let Some((cluster, first, second)) = scaling("takenot") else { return };
    let mut owner = exchange(&first, &[]);
    let before = cluster.snapshot();
    let line = ["exchange", "tomcat", "--expose", "8080", "--skipPortChecking", "--takeover", "--yes"];

    let scale = second.ktctl(&[&line[..], &["--mode", "scale"]].concat()).wait(20);
    let ephemeral =
        second.ktctl(&[&line[..], &["--mode", "ephemeral", "--image", "any:1"]].concat()).wait(20);

    assert_eq!(scale.code, 1, "{}", scale.text);
    assert!(scale.text.contains(&format!("by another user ({})", first.user())), "{}", scale.text);
    assert!(scale.text.contains("`--mode selector --takeover` takes it over"), "{}", scale.text);
    assert_eq!(ephemeral.code, 2, "{}", ephemeral.text);
    assert!(ephemeral.text.contains("only its own user can end a container"), "{}", ephemeral.text);
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

fn scale(laptop: &Laptop, more: &[&str]) -> Running {
    let line = ["exchange", "tomcat", "--mode", "scale", "--expose", "8080", "--skipPortChecking"];
    let mut exchange = laptop.ktctl(&[&line[..], more].concat());
    exchange.wait_for(READY, 60);
    exchange
}

/// How many pods the sample's deployment is meant to have.
fn replicas(cluster: &Cluster) -> String {
    let replicas = ["get", "deployment", "tomcat", "-o", "jsonpath={.spec.replicas}"];
    cluster.kubectl(&replicas).expect("read the deployment")
}

/// As [`bed`], with the right to scale and two pods of the sample.
fn scaling(name: &str) -> Option<(Cluster, Laptop, Laptop)> {
    let bed = bed(name)?;
    bed.0.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    bed.0.kubectl(&["scale", "deployment", "tomcat", "--replicas=2"]).expect("scale");
    bed.0.wait_ready("tomcat");
    Some(bed)
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
