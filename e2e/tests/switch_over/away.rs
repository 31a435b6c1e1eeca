//! Laptops that are away while nobody else can answer: callers wait for them, and then are told.

use e2e::Cluster;

use super::*;

#[test]
fn callers_of_a_scaled_exchange_wait_15_s_for_a_laptop_without_a_cable_and_come_again() {
    let (cluster, laptop) = Laptop::with_cluster("awayscale");
    cluster.grant(include_str!("../../../docs/rbac/exchange-scale.yaml"));
    let line = ["exchange", "tomcat", "--expose", "8080", "--mode", "scale"];

    is_away_and_comes_back(&cluster, &laptop, "tomcat", &line);

    cluster.wait_for_answer(URL, DEMO, NODES);
}

#[test]
fn callers_of_a_preview_wait_15_s_for_a_laptop_without_a_cable_and_come_again() {
    let (cluster, laptop) = Laptop::with_cluster("awaypreview");

    is_away_and_comes_back(&cluster, &laptop, "mine", &["preview", "mine", "--expose", "8080"]);
}

fn is_away_and_comes_back(cluster: &Cluster, laptop: &Laptop, service: &str, line: &[&str]) {
    let _local = laptop.serve(8080, LOCAL);
    let mut run = laptop.ktctl(line);
    let ready = if line[0] == "preview" { "Now you can" } else { "will be redirected to local" };
    run.wait_for(ready, 60);
    let url = format!("http://{}:8080", cluster.service_ip(service));
    let ask = || cluster.start_on("node1", &["curl", "-sS", "-m", "40", &url]).wait(45);

    let pulled = laptop.pull_cable();
    let cut = Instant::now();
    let waited = ask();
    let told = cut.elapsed().as_secs_f64();
    let asked = Instant::now();
    let at_once = ask();

    // It was last heard before the cut, at most a ping earlier; finding it out takes up to a second.
    assert_ne!(waited.code, 0, "{}", waited.text);
    assert!((9.0..17.0).contains(&told), "after {told} s: {}", waited.text);
    assert_ne!(at_once.code, 0, "{}", at_once.text);
    assert!(asked.elapsed() < Duration::from_secs(3), "{}", at_once.text);
    drop(pulled);
    cluster.wait_for_answer(&url, LOCAL, 30);
    let ended = run.interrupt(60);
    assert_eq!(ended.code, 0, "{}", ended.text);
}
