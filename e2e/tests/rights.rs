//! What users with few rights can do.

use std::time::Duration;

use e2e::{Cluster, DEMO, Laptop, Running, Snapshot, wait_until};
use serde_json::Value;

const ROLE: &str = "role/ktctl-all-commands-mini";

#[test]
fn each_right_on_pods_is_named_when_connect_misses_it() {
    each_right("rpods", &["pods"]);
}

#[test]
fn each_right_on_config_maps_is_named_when_connect_misses_it() {
    each_right("rmaps", &["configmaps"]);
}

#[test]
fn each_right_on_services_and_the_tunnel_is_named_when_connect_misses_it() {
    each_right("rrest", &["services", "pods/portforward"]);
}

#[test]
fn the_role_for_connect_alone_is_enough_for_connect() {
    let cluster = Cluster::new("only");
    let role = include_str!("../../docs/rbac/connect-only-mini.yaml");
    cluster.apply(role);
    cluster.kubectl(&["delete", "rolebinding", "developer"]).expect("take the other role away");
    let bind = ["create", "rolebinding", "only", "--role=ktctl-connect-only-mini", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let in_cluster = cluster.snapshot();
    let laptop = Laptop::lease(&cluster);
    let on_laptop = laptop.snapshot();

    let mut connect = laptop.connect(&[]);

    let refused = laptop.run(&["kubectl", "delete", "service", "tomcat", "--dry-run=server"]);
    assert!(refused.text.contains("orbidden"), "the small role is not what counts: {}", refused.text);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&on_laptop);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

/// Takes each right on the resources away in turn: connect works all the same, or names it.
fn each_right(name: &str, resources: &[&str]) {
    let cluster = Cluster::new(name);
    let full = cluster.object(ROLE).expect("the role is there");
    let laptop = Laptop::lease(&cluster);
    for resource in resources {
        for verb in verbs(&full, resource) {
            take_away(&cluster, &full, resource, &verb);
            let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
            works_or_names(&cluster, &laptop, &mut connect, resource, &verb);
        }
    }
    put_back(&cluster, &full);
}

/// A run gets ready and passes a call, or ends with the name of the right.
fn works_or_names(cluster: &Cluster, laptop: &Laptop, connect: &mut Running, resource: &str, verb: &str) {
    let case = format!("without {verb} {resource}");
    let ready = wait_until(&case, Duration::from_secs(15), || {
        let ready = connect.text().contains("All looks good");
        (ready || !connect.is_running()).then_some(ready)
    });
    if ready {
        let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
        let page = laptop.run(&["curl", "-sS", "--max-time", "5", "--socks5", "127.0.0.1:2223", &url]);
        assert!(page.text.contains(DEMO), "{case}: {}", page.text);
        connect.interrupt(15);
    } else {
        let ended = connect.wait(1);
        assert_eq!(ended.code, 1, "{case}: {}", ended.text);
        assert!(ended.text.contains(&format!("right to {verb} {resource}")), "{case}: {}", ended.text);
    }
}

fn rules(role: &Value) -> &[Value] {
    role["rules"].as_array().map_or(&[], Vec::as_slice)
}

fn has(rule: &Value, resource: &str) -> bool {
    rule["resources"].as_array().is_some_and(|all| all.contains(&resource.into()))
}

fn verbs(role: &Value, resource: &str) -> Vec<String> {
    let rule = rules(role).iter().find(|rule| has(rule, resource)).expect("the role has the resource");
    let verbs = rule["verbs"].as_array().expect("a rule has verbs");
    verbs.iter().filter_map(Value::as_str).map(String::from).collect()
}

fn take_away(cluster: &Cluster, full: &Value, resource: &str, verb: &str) {
    let mut changed: Vec<Value> = Vec::new();
    for rule in rules(full) {
        let mut others = rule.clone();
        if has(rule, resource) {
            let mut one = rule.clone();
            one["resources"] = serde_json::json!([resource]);
            retain(&mut one["verbs"], verb);
            changed.push(one);
            retain(&mut others["resources"], resource);
        }
        if others["resources"].as_array().is_some_and(|left| !left.is_empty()) {
            changed.push(others);
        }
    }
    patch(cluster, &changed);
    let (plain, sub) = resource.split_once('/').unwrap_or((resource, ""));
    let sub = format!("--subresource={sub}");
    wait_until("the right is gone", Duration::from_secs(5), || {
        cluster.kubectl(&["auth", "can-i", verb, plain, &sub, "--as=developer"]).err()
    });
}

fn retain(list: &mut Value, unwanted: &str) {
    list.as_array_mut().expect("a list").retain(|item| item != unwanted);
}

fn put_back(cluster: &Cluster, full: &Value) {
    patch(cluster, rules(full));
}

fn patch(cluster: &Cluster, rules: &[Value]) {
    let patch = serde_json::json!({ "rules": rules }).to_string();
    cluster.kubectl(&["patch", ROLE, "--type=merge", "-p", &patch]).expect("change the role");
}
