//! The `clean` of an older client, played as the specification tells: it deletes what says `control-by=kt`
//! and has an old heartbeat, and puts services back whose router or shadow it does not find by its name.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::client::now;
use super::*;

/// When an older client takes what it finds for dead, in seconds.
const STALE: i64 = 300;
/// A workload for mode scale, beside the sample's.
const KEEPER: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "keeper"},
    "spec": {"selector": {"app": "keeper"}, "ports": [{"port": 8080}]}}"#;
const SHOP: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
    "spec": {"selector": {"app": "tomcat"}, "ports": [{"port": 8080}]}}"#;
const LINES: [(&[&str], &str); 5] = [
    (&["connect", "--disableTunDevice"], "All looks good"),
    (&["exchange", "shop", "--expose", "8080"], "will be redirected to local"),
    (&["exchange", "keeper", "--expose", "8080", "--mode", "scale"], "will be redirected to local"),
    (&["preview", "mine", "--expose", "8080"], "Now you can"),
    (&["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"], "Now you can"),
];

#[test]
fn what_lives_is_renewed_and_survives_an_older_clean() {
    // Pods and config maps of five shadows and a router; two stuntmen, a version and a new service.
    lives_on("oldclean", &[], 16);
}

#[test]
fn what_lives_in_deployments_is_renewed_and_survives_an_older_clean() {
    lives_on("oldcleanwrap", &["--useShadowDeployment"], 16);
}

#[test]
fn what_killed_runs_have_left_is_put_back_by_an_older_clean() {
    let (cluster, laptop) = bed("oldcleandead");
    let before = cluster.snapshot().without(&["objects"]);
    let _local = laptop.serve(8080, LOCAL);
    let _runs = start(&laptop, &[]);
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
    assert_eq!(clean(&cluster), [""; 0], "nothing is old yet");
    cluster.age(&[""], 600);

    let done = clean(&cluster);

    for part in ["restore shop", "restore tomcat", "scale keeper to 1", "delete Service mine"] {
        assert!(done.iter().any(|deed| deed == part), "{part} is not in: {done:?}");
    }
    cluster.wait_ready("keeper");
    for service in ["tomcat", "shop", "keeper"] {
        cluster.wait_for_answer(&format!("http://{service}:8080"), DEMO, 20);
    }
    wait_until("nothing of ours is left", Duration::from_secs(15), || {
        ours(&cluster).is_empty().then_some(())
    });
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot().without(&["objects"]));
}

fn lives_on(name: &str, flags: &[&str], count: usize) {
    let (cluster, laptop) = bed(name);
    let _local = laptop.serve(8080, LOCAL);
    let started = now();
    let mut runs = start(&laptop, flags);
    let mesh = runs.last_mut().expect("it meshes");
    cluster.kubectl(&["delete", ROUTER, "--grace-period=1"]).expect("deleted");
    mesh.wait_for("was made anew", 30);
    // What stood in for the router goes.
    let first = wait_until("all objects are there, and no others", Duration::from_secs(40), || {
        Some(heartbeats(&cluster)).filter(|beats| beats.len() == count)
    });
    let ready = now();
    for (object, beat) in &first {
        let beat = beat.unwrap_or_else(|| panic!("{object} has no heartbeat"));
        assert!((started - 5..=ready + 5).contains(&beat), "{object}: {beat}, it was {started} to {ready}");
    }

    wait_until("each has another heartbeat", Duration::from_secs(150), || {
        heartbeats(&cluster).iter().all(|(object, beat)| *beat > first[object]).then_some(())
    });

    assert_eq!(clean(&cluster), [""; 0]);
    get_these(&cluster, &[("VERSION: mine", LOCAL)]);
    for service in ["shop", "keeper", "mine"] {
        cluster.wait_for_answer(&format!("http://{service}:8080"), LOCAL, NODES);
    }
    for run in &mut runs {
        assert!(run.is_running() && !run.text().contains("no heartbeat"), "{}", run.text());
    }
}

/// Each of the commands once; the mesh is the last.
fn start(laptop: &Laptop, flags: &[&str]) -> Vec<Running> {
    let ready = |(line, text): (&[&str], &str)| {
        let mut run = laptop.ktctl(&[flags, line].concat());
        run.wait_for(text, 60);
        run
    };
    LINES.into_iter().map(ready).collect()
}

/// A namespace with two workloads, whose user may scale and make Deployments, and a plain laptop.
fn bed(name: &str) -> (Cluster, Laptop) {
    let (cluster, laptop) = Laptop::with_cluster(name);
    cluster.grant(include_str!("../../../docs/rbac/exchange-scale.yaml"));
    cluster.grant(include_str!("../../../docs/rbac/use-shadow-deployment.yaml"));
    let mut keeper = cluster.object("deployment/tomcat").expect("the deployment");
    keeper["metadata"] = json!({"name": "keeper"});
    keeper["spec"]["selector"]["matchLabels"]["app"] = "keeper".into();
    keeper["spec"]["template"]["metadata"]["labels"]["app"] = "keeper".into();
    keeper["status"] = Value::Null;
    [keeper.to_string().as_str(), KEEPER, SHOP].into_iter().for_each(|object| cluster.apply(object));
    cluster.wait_ready("keeper");
    cluster.wait_for_answer("http://keeper:8080", DEMO, 20);
    (cluster, laptop)
}

/// Cleans up as an older client does; returns what it has done.
fn clean(cluster: &Cluster) -> Vec<String> {
    let mut done = Vec::new();
    for object in ours(cluster).iter().filter(|object| is_stale(object)) {
        remove(cluster, object, &mut done);
    }
    for service in all(cluster, &["services"]) {
        let (name, record) = (text(&service["metadata"]["name"]), annotation(&service, "kt-selector"));
        if annotation(&service, "kt-lock").is_some_and(|since| now() - since.parse().unwrap_or(0) > 180) {
            cluster.kubectl(&["annotate", "service", name, "kt-lock-"]).expect("unlock");
            done.push(format!("unlock {name}"));
        }
        let is_meshed = service["spec"]["selector"]["kt-role"] == "router";
        let helper = format!("{name}-kt-{}", if is_meshed { "router" } else { "exchange-" });
        if record.is_some() && !pods(cluster).iter().any(|pod| pod.starts_with(&helper)) {
            restore(cluster, name, &mut done);
        }
    }
    done
}

/// And what it stands for is given back.
fn remove(cluster: &Cluster, object: &Value, done: &mut Vec<String>) {
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    // What belongs to a pod goes by itself, too.
    cluster.kubectl(&["delete", kind, name, "--wait=false", "--ignore-not-found"]).expect("delete");
    done.push(format!("delete {kind} {name}"));
    let pairs = annotation(object, "kt-config").unwrap_or_default().split(',');
    let config: BTreeMap<&str, &str> = pairs.filter_map(|pair| pair.split_once('=')).collect();
    let role = text(&object["metadata"]["labels"]["kt-role"]);
    if ["Pod", "Deployment"].contains(&kind) && ["router", "shadow-exchange"].contains(&role) {
        if let Some(service) = config.get("service") {
            restore(cluster, service, done);
        } else if let (Some(app), Some(replicas)) = (config.get("app"), config.get("replicas")) {
            let replicas_flag = format!("--replicas={replicas}");
            cluster.kubectl(&["scale", "deployment", app, &replicas_flag]).expect("scale");
            done.push(format!("scale {app} to {replicas}"));
        }
    }
}

fn restore(cluster: &Cluster, name: &str, done: &mut Vec<String>) {
    let service = cluster.object(&format!("service/{name}")).expect("the service");
    let Some(record) = annotation(&service, "kt-selector") else { return };
    let selector: Value = serde_json::from_str(record).expect("JSON");
    let patch = json!([
        {"op": "replace", "path": "/spec/selector", "value": selector},
        {"op": "remove", "path": "/metadata/annotations/kt-selector"},
    ]);
    let patched = cluster.kubectl(&["patch", "service", name, "--type=json", "-p", &patch.to_string()]);
    patched.expect("restore");
    done.push(format!("restore {name}"));
}

fn ours(cluster: &Cluster) -> Vec<Value> {
    all(cluster, &["pods,services,configmaps,deployments", "-l", "control-by=kt"])
}

fn pods(cluster: &Cluster) -> Vec<String> {
    all(cluster, &["pods"]).iter().map(|pod| text(&pod["metadata"]["name"]).to_owned()).collect()
}

/// What stays.
fn all(cluster: &Cluster, what: &[&str]) -> Vec<Value> {
    let list = cluster.kubectl(&[&["get", "-o", "json"], what].concat()).expect("a list");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null()).collect()
}

fn heartbeats(cluster: &Cluster) -> BTreeMap<String, Option<i64>> {
    let name = |object: &Value| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
    ours(cluster).iter().map(|object| (name(object), beat(object))).collect()
}

fn is_stale(object: &Value) -> bool {
    beat(object).is_some_and(|beat| now() - beat > STALE)
}

fn beat(object: &Value) -> Option<i64> {
    annotation(object, "kt-last-heart-beat")?.parse().ok()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
