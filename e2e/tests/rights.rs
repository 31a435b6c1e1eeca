//! What users with few rights can do.

#[path = "rights/modes.rs"]
mod modes;

use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, Ended, LOCAL, Laptop, Snapshot, wait_until};
use serde_json::Value;

const ROLE: &str = "role/ktctl-all-commands-mini";

#[test]
fn each_right_on_pods_is_named_when_connect_misses_it() {
    each_right("cpods", &CONNECT, &["pods"]);
}

#[test]
fn each_right_on_config_maps_is_named_when_connect_misses_it() {
    each_right("cmaps", &CONNECT, &["configmaps"]);
}

#[test]
fn each_right_on_services_and_the_tunnel_is_named_when_connect_misses_it() {
    each_right("crest", &CONNECT, &["services", "pods/portforward"]);
}

#[test]
fn each_right_on_pods_is_named_when_connect_with_a_device_misses_it() {
    each_right("dpods", &DEVICE, &["pods"]);
}

#[test]
fn each_right_on_the_rest_is_named_when_connect_with_a_device_misses_it() {
    each_right("drest", &DEVICE, &["configmaps", "services", "pods/portforward"]);
}

#[test]
fn each_right_on_pods_is_named_when_exchange_misses_it() {
    each_right("epods", &EXCHANGE, &["pods"]);
}

#[test]
fn each_right_on_config_maps_and_the_tunnel_is_named_when_exchange_misses_it() {
    each_right("emaps", &EXCHANGE, &["configmaps", "pods/portforward"]);
}

#[test]
fn each_right_on_services_is_named_when_exchange_misses_it() {
    each_right("eservices", &EXCHANGE, &["services"]);
}

#[test]
fn each_right_on_services_is_named_when_preview_misses_it() {
    each_right("pservices", &PREVIEW, &["services"]);
}

#[test]
fn each_right_on_pods_and_the_tunnel_is_named_when_preview_misses_it() {
    each_right("ppods", &PREVIEW, &["pods", "pods/portforward"]);
}

#[test]
fn each_right_on_pods_is_named_when_mesh_misses_it() {
    each_right("mpods", &MESH, &["pods"]);
}

#[test]
fn each_right_on_config_maps_and_the_tunnel_is_named_when_mesh_misses_it() {
    each_right("mmaps", &MESH, &["configmaps", "pods/portforward"]);
}

#[test]
fn each_right_on_services_is_named_when_mesh_misses_it() {
    each_right("mservices", &MESH, &["services"]);
}

#[test]
fn exchange_needs_no_right_on_deployments_and_events() {
    each_right("erest", &EXCHANGE, &["deployments", "events"]);
}

#[test]
fn what_can_not_be_undone_when_all_rights_are_taken_away_is_named_with_its_commands() {
    let cluster = Cluster::new("revoked");
    let full = cluster.object(ROLE).expect("the role is there");
    let laptop = Laptop::lease(&cluster);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let local = laptop.serve(8080, LOCAL);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);

    patch(&cluster, &[]);
    wait_until_gone(&cluster, "patch", "services");
    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    let ended = exchange.interrupt(25);

    assert_eq!(ended.code, 1, "{}", ended.text);
    let shadow =
        cluster.kubectl(&["get", "pods", "-l", "kt-role=shadow-exchange", "-o", "name"]).expect("a name");
    let shadow = shadow.trim().trim_start_matches("pod/");
    let namespace = cluster.namespace();
    for part in [
        "Cleaning up in the cluster is not complete: ",
        "cannot get resource \"services\"",
        &format!(">> put the service back by: ktctl -n {namespace} recover tomcat"),
        &format!(">> remove what remains by: kubectl -n {namespace} delete pod/{shadow} configmap/{shadow}"),
        "Exit: not everything could be undone, as said above",
    ] {
        assert!(ended.text.contains(part), "{part} is not in: {}", ended.text);
    }
    drop(local);
    // The run's journal stays: the next start on this laptop does the rest.
    laptop.snapshot().without(&["kt folders"]).assert_as(&on_laptop.without(&["kt folders"]));
    cluster.wait_for_answer("http://tomcat:8080", DEMO, 20);
    put_back(&cluster, &full);
    wait_until("the right is back", Duration::from_secs(5), || {
        cluster.kubectl(&["auth", "can-i", "patch", "services", "--as=developer"]).ok()
    });
    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("Cleaned up after exchange", 20);
    assert_eq!(next.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&on_laptop);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

#[test]
fn what_a_killed_run_has_left_is_named_at_each_start_until_the_right_to_put_it_back_has_come() {
    let cluster = Cluster::new("laterright");
    let full = cluster.object(ROLE).expect("the role is there");
    let laptop = Laptop::lease(&cluster);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"]);
    exchange.wait_for("will be redirected to local", 30);
    take_away(&cluster, &full, "services", "patch");
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }

    let recover = format!(">> put the service back by: ktctl -n {} recover tomcat", cluster.namespace());
    for then in ["the next start tries again", "for 7 more days each start tries again"] {
        let mut start = laptop.ktctl(&["connect", "--disableTunDevice"]);
        start.wait_for("All looks good", 20);
        let said = start.interrupt(15).text;
        let missing =
            "Can not clean up after a killed exchange without the right to patch services in namespace";
        assert!(said.contains(missing) && said.contains(then) && said.contains(&recover), "{said}");
        assert_eq!(said.matches(&recover).count(), 1, "{said}");
    }
    put_back(&cluster, &full);
    wait_until("the right is back", Duration::from_secs(5), || {
        cluster.kubectl(&["auth", "can-i", "patch", "services", "--as=developer"]).ok()
    });
    let mut start = laptop.ktctl(&["connect", "--disableTunDevice"]);

    start.wait_for("Cleaned up after exchange", 20);
    assert_eq!(start.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&on_laptop);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

/// A command, and how to see that it does its work.
struct Line {
    args: &'static [&'static str],
    is_sudo: bool,
    ready: &'static str,
    works: fn(&Cluster, &Laptop) -> Result<(), String>,
}

const CONNECT: Line = Line {
    args: &["connect", "--disableTunDevice"],
    is_sudo: false,
    ready: "All looks good",
    works: |cluster, laptop| {
        let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
        let page = laptop.run(&["curl", "-sS", "--max-time", "5", "--socks5", "127.0.0.1:2223", &url]);
        if page.text.contains(DEMO) { Ok(()) } else { Err(page.text) }
    },
};

const DEVICE: Line = Line {
    args: &["connect"],
    is_sudo: true,
    ready: "All looks good",
    works: |_, laptop| {
        // By its name: the route to an address comes with the answer that tells it.
        let page = laptop.run(&["curl", "-sS", "--max-time", "5", "http://tomcat:8080"]);
        if page.text.contains(DEMO) { Ok(()) } else { Err(page.text) }
    },
};

const EXCHANGE: Line = Line {
    args: &["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"],
    is_sudo: false,
    ready: "will be redirected to local",
    works: |cluster, laptop| {
        let _local = laptop.serve(8080, LOCAL);
        cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
        Ok(())
    },
};

const MESH: Line = Line {
    args: &["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine", "--skipPortChecking"],
    is_sudo: false,
    ready: "Now you can access your service",
    works: |cluster, laptop| {
        let _local = laptop.serve(8080, LOCAL);
        wait_until("requests with the mark come here", Duration::from_secs(6), || {
            let page = cluster.get_with("http://tomcat:8080", Some("VERSION: mine"));
            page.is_ok_and(|page| page.contains(LOCAL)).then_some(())
        });
        Ok(())
    },
};

const PREVIEW: Line = Line {
    args: &["preview", "mine", "--expose", "8080", "--skipPortChecking"],
    is_sudo: false,
    ready: "Now you can access your local service",
    works: |cluster, laptop| {
        let _local = laptop.serve(8080, LOCAL);
        cluster.wait_for_answer("http://mine:8080", LOCAL, 6);
        Ok(())
    },
};

/// Takes each right on the resources away in turn: the command works all the same, or names it; and
/// what it can not clean up it names, too.
fn each_right(name: &str, line: &Line, resources: &[&str]) {
    each_of(name, line, |full| cases(full, resources));
}

fn each_of(name: &str, line: &Line, cases: impl Fn(&Value) -> Vec<(String, String)>) {
    let cluster = Cluster::new(name);
    let full = cluster.object(ROLE).expect("the role is there");
    let laptop = Laptop::lease(&cluster);
    for (resource, verb) in cases(&full) {
        let before = cluster.snapshot();
        take_away(&cluster, &full, &resource, &verb);
        let ended = works_or_names(&cluster, &laptop, line, &resource, &verb);
        put_back(&cluster, &full);
        names_what_stays(&cluster, &before, &ended, &format!("without {verb} {resource}"));
        laptop.run(&["rm", "-rf", ".kt"]).ok();
    }
}

/// Resources and verbs of the role.
fn cases(role: &Value, resources: &[&str]) -> Vec<(String, String)> {
    let case = |resource: &str, verb| (resource.to_owned(), verb);
    let of = |resource: &&str| verbs(role, resource).into_iter().map(|verb| case(resource, verb)).collect();
    resources.iter().flat_map::<Vec<_>, _>(of).collect()
}

/// A run gets ready and does its work, or ends with the name of the right.
fn works_or_names(cluster: &Cluster, laptop: &Laptop, line: &Line, resource: &str, verb: &str) -> Ended {
    let case = format!("without {verb} {resource}");
    let mut run = if line.is_sudo { laptop.sudo_ktctl(line.args) } else { laptop.ktctl(line.args) };
    let ready = wait_until(&case, Duration::from_secs(15), || {
        let ready = run.text().contains(line.ready);
        (ready || !run.is_running()).then_some(ready)
    });
    if ready {
        (line.works)(cluster, laptop).unwrap_or_else(|said| panic!("{case}: {said}"));
        let ended = run.interrupt(25);
        let is_named = ended.text.contains(&format!("right to {verb} {resource}"));
        assert!(is_named || is_idle(line, verb, resource), "{case} nothing is said: {}", ended.text);
        return ended;
    }
    let ended = run.wait(1);
    assert_eq!(ended.code, 1, "{case}: {}", ended.text);
    assert!(ended.text.contains(&format!("right to {verb} {resource}")), "{case}: {}", ended.text);
    ended
}

/// The commands work as well without it: it serves other commands, or what they no longer do.
fn is_idle(line: &Line, verb: &str, resource: &str) -> bool {
    let is_by_service = !["manual", "scale"].iter().any(|mode| line.args.contains(mode));
    match (line.args[0], resource) {
        (_, "services") if !is_by_service => verb != "get",
        (_, "deployments/scale") => true,
        (_, "configmaps") => ["get", "list", "watch", "update"].contains(&verb),
        ("connect", "services") => !["list", "watch"].contains(&verb),
        ("preview", "services") => ["list", "watch", "update"].contains(&verb),
        (_, "deployments" | "events") => ["get", "watch"].contains(&verb),
        _ => verb == "update",
    }
}

/// Each object that is left stands in the text, and the exit code tells; then it is removed.
fn names_what_stays(cluster: &Cluster, before: &Snapshot, ended: &Ended, case: &str) {
    let objects = |of: &Snapshot| of.part("objects").map(<[String]>::to_vec).unwrap_or_default();
    let left = || -> Vec<String> {
        let now = objects(&cluster.snapshot());
        now.into_iter().filter(|object| !objects(before).contains(object)).collect()
    };
    // What belongs to a pod goes by itself, a moment after it.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !left().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
    }
    let left = left();
    for object in &left {
        let name = object.rsplit('/').next().unwrap_or_default();
        assert!(ended.text.contains(name), "{case}: {object} stays and is not named:\n{}", ended.text);
        let remove = ["delete", "--wait=false", "--ignore-not-found", &object.to_lowercase()];
        cluster.kubectl(&remove).expect("remove it");
    }
    assert!(left.is_empty() || ended.code == 1, "{case}: code {}: {}", ended.code, ended.text);
    assert_eq!(
        cluster.snapshot().part("Service/tomcat"),
        before.part("Service/tomcat"),
        "{case}: {}",
        ended.text
    );
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
            if one["verbs"].as_array().is_some_and(|left| !left.is_empty()) {
                changed.push(one);
            }
            retain(&mut others["resources"], resource);
        }
        if others["resources"].as_array().is_some_and(|left| !left.is_empty()) {
            changed.push(others);
        }
    }
    patch(cluster, &changed);
    wait_until_gone(cluster, verb, resource);
}

fn wait_until_gone(cluster: &Cluster, verb: &str, resource: &str) {
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
