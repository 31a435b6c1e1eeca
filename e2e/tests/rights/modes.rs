//! The same of modes that are asked for, and of who puts right what others have left. Each takes many
//! starts, so only long runs try all rights.

use e2e::long;

use super::*;

const MANUAL: Line = Line {
    args: &["mesh", "tomcat", "--mode", "manual", "--expose", "8080", "--skipPortChecking"],
    is_sudo: false,
    ready: "Now you can update Istio rule",
    works: |cluster, laptop| {
        let _local = laptop.serve(8080, LOCAL);
        cluster.wait_for_answer("http://tomcat:8080", LOCAL, 20); // of two pods, by chance
        Ok(())
    },
};

const SCALE: Line = Line {
    args: &["exchange", "tomcat", "--mode", "scale", "--expose", "8080", "--skipPortChecking"],
    is_sudo: false,
    ready: "will be redirected to local",
    works: EXCHANGE.works,
};

#[test]
fn each_right_on_pods_is_named_when_mesh_by_hand_misses_it() {
    each_of("hpods", &MANUAL, |full| some(full, &["pods"]));
}

#[test]
fn each_right_on_the_rest_is_named_when_mesh_by_hand_misses_it() {
    each_of("hrest", &MANUAL, |full| some(full, &["configmaps", "services", "pods/portforward"]));
}

#[test]
fn each_right_on_pods_is_named_when_scale_misses_it() {
    each_right_to_scale("spods", &["pods"]);
}

#[test]
fn each_right_on_the_rest_is_named_when_scale_misses_it() {
    each_right_to_scale("srest", &["deployments", "deployments/scale", "services", "pods/portforward"]);
}

#[test]
fn each_right_is_named_when_recover_misses_it() {
    each_right_to_mend("rmend", &["recover", "tomcat"]);
}

#[test]
fn each_right_is_named_when_clean_misses_it() {
    each_right_to_mend("cmend", &["clean"]);
}

/// All rights in a long run, each third one otherwise.
fn some(role: &Value, resources: &[&str]) -> Vec<(String, String)> {
    cases(role, resources).into_iter().step_by(if long() { 1 } else { 3 }).collect()
}

/// As [`each_right`], where pods come back under other names.
fn each_right_to_scale(name: &str, resources: &[&str]) {
    let cluster = Cluster::new(name);
    cluster.grant(include_str!("../../../docs/rbac/exchange-scale.yaml"));
    let full = in_one_role(&cluster, "ktctl-exchange-scale");
    let laptop = Laptop::lease(&cluster);
    for (resource, verb) in some(&full, resources) {
        let case = format!("without {verb} {resource}");
        take_away(&cluster, &full, &resource, &verb);
        let ended = works_or_names(&cluster, &laptop, &SCALE, &resource, &verb);
        put_back(&cluster, &full);
        let left = helpers(&cluster);
        for object in &left {
            assert!(ended.text.contains(object), "{case}: {object} stays: {}", ended.text);
        }
        assert!(left.is_empty() || ended.code == 1, "{case}: code {}: {}", ended.code, ended.text);
        laptop.ktctl(&["clean"]).wait(30).ok();
        cluster.wait_ready("tomcat");
        assert_eq!(helpers(&cluster), [""; 0], "{case}");
        let pods = cluster.kubectl(&["get", "deployment", "tomcat", "-o", "jsonpath={.spec.replicas}"]);
        assert_eq!(pods.as_deref(), Ok("1"), "{case}: {}", ended.text);
    }
}

/// Somebody else's killed mesh is put right as far as the rights go, and what lacks is named.
fn each_right_to_mend(name: &str, line: &[&str]) {
    let cluster = Cluster::new(name);
    let full = cluster.object(ROLE).expect("the role is there");
    let laptop = Laptop::lease(&cluster);
    let before = cluster.snapshot();
    for (resource, verb) in some(&full, &["pods", "services", "configmaps"]) {
        let case = format!("without {verb} {resource}");
        let mut mesh = laptop.ktctl(MESH.args);
        mesh.wait_for(MESH.ready, 40);
        laptop.processes("ktctl").iter().for_each(|process| laptop.kill9(process));
        laptop.run(&["rm", "-rf", ".kt"]).ok();
        cluster.age(&["tomcat-kt-"], 600);
        take_away(&cluster, &full, &resource, &verb);
        let mended = laptop.ktctl(line).wait(30);
        put_back(&cluster, &full);
        let is_named = mended.text.contains(&format!("right to {verb} {resource}"));
        assert!(is_named || mended.code == 0, "{case}: {}", mended.text);
        if !is_named {
            Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
            continue;
        }
        let cleaned = laptop.ktctl(&["clean"]).wait(30);
        assert_eq!(cleaned.code, 0, "{case}: {}", cleaned.text);
        Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
    }
}

/// The names of what is ours and stays.
fn helpers(cluster: &Cluster) -> Vec<String> {
    let list = ["get", "pods,services,configmaps", "-l", "control-by=kt", "-o", "json"];
    let list: Value = serde_json::from_str(&cluster.kubectl(&list).expect("a list")).expect("JSON");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let stays = items.iter().filter(|object| object["metadata"]["deletionTimestamp"].is_null());
    stays.filter_map(|object| object["metadata"]["name"].as_str().map(String::from)).collect()
}

/// Moves the rights of another role into the one of which rights are taken.
fn in_one_role(cluster: &Cluster, other: &str) -> Value {
    let mut full = cluster.object(ROLE).expect("the role is there");
    let more = cluster.object(&format!("role/{other}")).expect("the other role is there");
    let mut all: Vec<Value> = rules(&full).iter().filter(|rule| !has(rule, "deployments")).cloned().collect();
    all.extend(rules(&more).iter().cloned());
    full["rules"] = all.into();
    put_back(cluster, &full);
    cluster.kubectl(&["delete", "rolebinding", other]).expect("unbind the other role");
    full
}
