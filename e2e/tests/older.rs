//! Beside clients of the 0.3 line: what they do to our objects, and what we do to theirs. They are
//! played by `kubectl`, step by step as the specification tells.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Running, Snapshot, load_program_as, skip, wait_until};
use serde_json::{Value, json};

const URL: &str = "http://tomcat:8080";
/// What the version of the older client answers.
const OLD: &str = "page of an older client";
/// The older client's router; ours, which knows the same commands.
const ROUTER_IMAGE: &str = "older/kt-connect-router:v0.3.7";
const ROUTER: &str = "pod/tomcat-kt-router";
/// How long a caller may take the old way after a switch, in seconds.
const NODES: u64 = 6;

#[test]
fn an_older_client_joins_our_router_and_the_last_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("oldjoin");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _locals = [laptop.serve(8080, LOCAL), laptop.serve(8081, "second page")];
    let mut first = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    assert_eq!(old.count(), 1);

    old.make_version();
    old.join();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL), ("VERSION: x", DEMO)]);
    assert_eq!(old.count(), 2);
    let mut second = mesh(&laptop, &["--expose", "8081:8080", "--versionMark", "second"]);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: second", "second page")]);
    assert_eq!(old.count(), 3, "who of us joins counts the older one, too");
    assert_eq!(second.interrupt(20).code, 0);
    assert_eq!(old.count(), 2);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);

    assert!(!old.leave(), "the older one is not the last");
    old.remove_version();
    get_these(&cluster, &[("VERSION: old", DEMO), ("VERSION: mine", LOCAL)]);
    old.make_version();
    old.join();
    let ended = first.interrupt(20);
    assert_eq!(ended.code, 0, "{}", ended.text);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    assert_eq!(old.count(), 1, "the older one is alone");

    assert!(old.leave(), "the older one is the last");
    old.remove_version();
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn the_version_of_an_older_client_outlives_the_routers_container() {
    let (cluster, laptop) = Laptop::with_cluster("oldkept");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    old.make_version();
    old.join();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);

    cluster.kill_in("tomcat-kt-router", "router");

    wait_until("the container is started anew", Duration::from_secs(30), || {
        let restarts =
            "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}";
        (cluster.kubectl(&["get", ROUTER, "-o", restarts]).ok()? == "1 true").then_some(())
    });
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL), ("VERSION: x", DEMO)]);
    assert!(!old.leave());
    old.remove_version();
    get_these(&cluster, &[("VERSION: old", DEMO), ("VERSION: mine", LOCAL)]);
    assert_eq!(mesh.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn a_living_mesh_says_so_when_an_older_client_puts_the_service_back() {
    let (cluster, laptop) = Laptop::with_cluster("oldlast");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);

    old.set_count(1); // as an older one leaves it that was counted wrongly
    assert!(old.leave());

    let ended = mesh.wait(30);
    assert_eq!(ended.code, 1, "{}", ended.text);
    let said =
        "Exit: mesh has stopped: somebody else has put service 'tomcat' back, nothing is meshed any more";
    assert!(ended.text.contains(said), "{}", ended.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn we_join_the_router_of_an_older_client_by_its_commands() {
    if !load_program_as("router", ROUTER_IMAGE) {
        return skip("older", "there are no programs for pods: run `make build`");
    }
    let (cluster, laptop) = Laptop::with_cluster("oldrouter");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();
    old.make_version();
    old.make_mesh();
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    let meshed = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let line = |mark: &str| {
        let line = ["mesh", "tomcat", "--expose", "8080", "--kubeconfig", &old.kubeconfig];
        laptop.ktctl(&[&line[..], &["--versionMark", mark]].concat())
    };

    let mut ours = line("mine");
    ours.wait_for("Now you can access your service by header 'VERSION: mine'", 40);
    get_these(&cluster, &[("VERSION: mine", LOCAL), ("VERSION: old", OLD), ("VERSION: x", DEMO)]);
    assert_eq!(old.count(), 2);
    assert_eq!(ours.interrupt(20).code, 0);
    get_these(&cluster, &[("VERSION: mine", DEMO), ("VERSION: old", OLD)]);
    assert_eq!(old.count(), 1);
    Snapshot::wait_until_as(&meshed, 15, || cluster.snapshot());

    let refused = line("0.0.1").wait(40);
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("can not serve the version '0.0.1'"), "{}", refused.text);
    assert_eq!(old.count(), 1, "{}", refused.text);

    let mut last = line("mine");
    last.wait_for("Now you can", 40);
    assert!(!old.leave());
    old.remove_version();
    get_these(&cluster, &[("VERSION: mine", LOCAL), ("VERSION: old", DEMO)]);
    assert_eq!(last.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

#[test]
fn without_the_right_to_execute_we_do_not_join_the_router_of_an_older_client() {
    if !load_program_as("router", ROUTER_IMAGE) {
        return skip("older", "there are no programs for pods: run `make build`");
    }
    let (cluster, laptop) = Laptop::with_cluster("oldright");
    let old = Older::new(&cluster, &laptop);
    old.make_version();
    old.make_mesh();
    let meshed = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let refused = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", "mine"]).wait(40);
    let rules = ["mesh", "tomcat", "--expose", "8080", "--match", "path:/mine"];
    let unknown = laptop.ktctl(&rules).wait(40);

    assert_eq!(refused.code, 1, "{}", refused.text);
    for part in [
        "the router of service 'tomcat' was made by an older ktctl",
        "the right to create pods/exec",
        ">> ask for that right",
    ] {
        assert!(refused.text.contains(part), "{part} is not in: {}", refused.text);
    }
    assert_eq!(unknown.code, 1, "{}", unknown.text);
    assert!(unknown.text.contains("knows no rules of --match"), "{}", unknown.text);
    assert_eq!(old.count(), 1);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
    Snapshot::wait_until_as(&meshed, 15, || cluster.snapshot());

    // The right to `get` is enough: then commands go by WebSocket.
    let rule = r#"[{"op": "add", "path": "/rules/-",
        "value": {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}}]"#;
    cluster
        .kubectl(&["patch", "role", "ktctl-all-commands-mini", "--type=json", "-p", rule])
        .expect("patched");
    let mut ours = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", LOCAL)]);
    assert_eq!(ours.interrupt(20).code, 0);
    get_these(&cluster, &[("VERSION: old", OLD), ("VERSION: mine", DEMO)]);
}

#[test]
fn what_an_older_client_has_left_is_recovered() {
    let (cluster, laptop) = Laptop::with_cluster("oldleft");
    let old = Older::new(&cluster, &laptop);
    let before = cluster.snapshot();

    old.make_exchange();
    cluster.wait_for_answer(URL, OLD, NODES);
    let refused = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080", "--skipPortChecking"]).wait(30);
    let text = "service 'tomcat' is already exchanging by another user (veteran), cannot apply exchange";
    assert!(refused.code == 1 && refused.text.contains(text), "{}", refused.text);
    let recovered = laptop.ktctl(&["recover", "tomcat"]).wait(30);
    assert_eq!(recovered.code, 0, "{}", recovered.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());

    old.make_version();
    old.make_router_pod("testbed/echo:local");
    old.lead_to("router");
    let recovered = laptop.ktctl(&["recover", "tomcat"]).wait(30);
    assert_eq!(recovered.code, 0, "{}", recovered.text);
    cluster.wait_for_answer(URL, DEMO, NODES);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

/// An older `clean` deletes what says `control-by=kt` and has an old heartbeat, and puts services
/// back whose router or shadow it does not find by its name.
#[test]
fn the_heartbeat_of_each_object_of_ours_is_renewed() {
    let (cluster, laptop) = Laptop::with_cluster("beats");
    cluster.kubectl(&["expose", "deployment", "tomcat", "--name", "shop", "--port", "8080"]).unwrap();
    let _local = laptop.serve(8080, LOCAL);
    let started = now();
    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
    connect.wait_for("All looks good", 30);
    let mut exchange = laptop.ktctl(&["exchange", "shop", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    let mut preview = laptop.ktctl(&["preview", "mine", "--expose", "8080"]);
    preview.wait_for("Now you can", 30);
    let mut mesh = mesh(&laptop, &["--expose", "8080", "--versionMark", "mine"]);
    cluster.kubectl(&["delete", ROUTER, "--grace-period=1"]).expect("deleted");
    mesh.wait_for("was made anew", 30);
    // Pods and config maps of four shadows and a router; two stuntmen, a version and a new service. What
    // stood in for the router goes.
    let first = wait_until("all objects are there, and no others", Duration::from_secs(40), || {
        Some(heartbeats(&cluster)).filter(|beats| beats.len() == 14)
    });
    let ready = now();
    for (object, beat) in &first {
        let beat = beat.unwrap_or_else(|| panic!("{object} has no heartbeat"));
        assert!((started - 5..=ready + 5).contains(&beat), "{object}: {beat}, it was {started} to {ready}");
    }

    wait_until("each has another heartbeat", Duration::from_secs(150), || {
        heartbeats(&cluster).iter().all(|(object, beat)| *beat > first[object]).then_some(())
    });

    let pods = cluster.kubectl(&["get", "pods", "-o", "name"]).expect("names");
    for name in ["pod/tomcat-kt-router", "pod/shop-kt-exchange-"] {
        assert!(pods.contains(name), "{name} is not in: {pods}");
    }
    for run in [&connect, &exchange, &preview, &mesh] {
        assert!(!run.text().contains("no heartbeat"), "{}", run.text());
    }
}

fn heartbeats(cluster: &Cluster) -> BTreeMap<String, Option<i64>> {
    let list = cluster.kubectl(&[
        "get",
        "pods,services,configmaps,deployments",
        "-l",
        "control-by=kt",
        "-o",
        "json",
    ]);
    let list: Value = serde_json::from_str(&list.expect("a list")).expect("JSON");
    let beat = |item: &Value| item["metadata"]["annotations"]["kt-last-heart-beat"].as_str()?.parse().ok();
    let name = |item: &Value| format!("{} {}", item["kind"], item["metadata"]["name"]);
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| (name(item), beat(item))).collect()
}

/// An older client, whose user has the role `edit`: it may execute commands in pods.
struct Older<'a> {
    cluster: &'a Cluster,
    laptop: &'a Laptop,
    kubeconfig: String,
}

impl<'a> Older<'a> {
    fn new(cluster: &'a Cluster, laptop: &'a Laptop) -> Self {
        Self { cluster, laptop, kubeconfig: laptop.become_also(cluster, "editor", "edit") }
    }

    /// Shadow and shadow Service of version `old`.
    fn make_version(&self) {
        self.make_pod(
            "tomcat-kt-mesh-old",
            "shadow-mesh",
            "testbed/echo:local",
            "service=tomcat-kt-mesh-old",
        );
        self.make_service("tomcat-kt-mesh-old", &json!({"kt-role": "shadow-mesh", "kt-target": "old"}));
    }

    fn remove_version(&self) {
        for object in ["service/tomcat-kt-mesh-old", "pod/tomcat-kt-mesh-old", "configmap/tomcat-kt-mesh-old"]
        {
            self.kubectl(&["delete", object, "--wait=true", "--grace-period=1"]);
        }
    }

    /// Counts itself in and adds its version.
    fn join(&self) {
        self.set_count(self.count() + 1);
        self.execute(&["add", "version:old"]);
    }

    /// Counts itself out and removes its version; the last one puts the service back, which it tells.
    fn leave(&self) -> bool {
        let count = self.count();
        if count > 1 {
            self.set_count(count - 1);
            self.execute(&["remove", "version:old"]);
            return false;
        }
        let service = self.cluster.object("service/tomcat").expect("the service");
        let original = service["metadata"]["annotations"]["kt-selector"].as_str().expect("a record");
        let mut selector: Value = serde_json::from_str(original).expect("JSON");
        for key in ["kt-role", "kt-target"] {
            selector[key] = Value::Null;
        }
        self.kubectl(&["delete", ROUTER, "--wait=false"]);
        self.patch_service(
            &json!({"metadata": {"annotations": {"kt-selector": null}}, "spec": {"selector": selector}}),
        );
        self.kubectl(&["delete", "service/tomcat-kt-stuntman"]);
        true
    }

    /// All that makes `tomcat` a meshed service.
    fn make_mesh(&self) {
        self.make_router_pod(ROUTER_IMAGE);
        self.execute(&["setup", "tomcat", "8080:8080", "version:old"]);
        self.lead_to("router");
    }

    fn make_router_pod(&self, image: &str) {
        self.make_service("tomcat-kt-stuntman", &json!({"app": "tomcat"}));
        self.make_pod("tomcat-kt-router", "router", image, "service=tomcat");
    }

    fn make_exchange(&self) {
        self.make_pod("tomcat-kt-exchange-abcde", "shadow-exchange", "testbed/echo:local", "service=tomcat");
        self.lead_to("shadow-exchange");
    }

    fn lead_to(&self, role: &str) {
        let selector = json!({"app": null, "kt-role": role, "kt-target": "old"});
        let record = json!({"kt-selector": "{\"app\":\"tomcat\"}"});
        self.patch_service(&json!({"metadata": {"annotations": record}, "spec": {"selector": selector}}));
    }

    fn patch_service(&self, patch: &Value) {
        self.kubectl(&["patch", "service", "tomcat", "--type=merge", "-p", &patch.to_string()]);
    }

    fn make_service(&self, name: &str, selector: &Value) {
        self.apply(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, &json!({})), "spec": {
            "selector": selector, "ports": [{"name": "kt-8080", "port": 8080, "targetPort": 8080}]}}),
        );
    }

    /// A pod and, but for a router, the config map with its key; returns when it is ready.
    fn make_pod(&self, name: &str, role: &str, image: &str, config: &str) {
        let mut about = metadata(name, &json!({"kt-role": role, "kt-target": "old"}));
        about["annotations"]["kt-config"] = config.into();
        about["annotations"]["kt-ref-count"] = "1".into();
        about["annotations"]["kt-user"] = "veteran".into();
        let container = json!({
            "name": "standalone", "image": image, "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "ECHO_PAGE", "value": OLD}],
            "ports": [{"containerPort": 8080}],
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        let security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let spec = json!({
            "containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 1
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}));
        if role != "router" {
            let map = metadata(name, &json!({"kt-role": role, "kt-target": "old"}));
            let keys = json!({"authorized": "ssh-rsa AAAA", "privateKey": "none"});
            self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": map, "data": keys}));
        }
        self.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    }

    fn count(&self) -> u32 {
        let router = self.cluster.object(ROUTER).expect("the router");
        let count = router["metadata"]["annotations"]["kt-ref-count"].as_str().expect("it is counted");
        count.parse().expect("a number")
    }

    fn set_count(&self, count: u32) {
        self.kubectl(&["annotate", "--overwrite", ROUTER, &format!("kt-ref-count={count}")]);
    }

    /// What the client does to the router; it looks for nothing but ` ERR `.
    fn execute(&self, words: &[&str]) {
        let exec = [
            "kubectl",
            "--kubeconfig",
            &self.kubeconfig,
            "exec",
            "tomcat-kt-router",
            "-c",
            "standalone",
            "--",
        ];
        let ended = self.laptop.run(&[&exec[..], &["/usr/sbin/router"], words].concat());
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.text);
        assert!(!ended.text.contains(" ERR "), "{words:?}: {}", ended.text);
    }

    fn apply(&self, object: &Value) {
        self.cluster.apply(&object.to_string());
    }

    fn kubectl(&self, args: &[&str]) {
        self.cluster.kubectl(args).unwrap_or_else(|said| panic!("{args:?}: {said}"));
    }
}

/// What every object of an older client has.
fn metadata(name: &str, labels: &Value) -> Value {
    let mut labels = labels.clone();
    labels["control-by"] = "kt".into();
    json!({"name": name, "labels": labels, "annotations": {"kt-last-heart-beat": now().to_string()}})
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("the clock is right");
    i64::try_from(since.as_secs()).expect("it is not so late")
}

/// Waits until each header gets its page; what has no mark goes to the pods.
fn get_these(cluster: &Cluster, wanted: &[(&str, &str)]) {
    for (header, page) in wanted {
        wait_until(&format!("{header} gets {page:?}"), Duration::from_secs(NODES), || {
            cluster.get_with(URL, Some(header)).is_ok_and(|answer| answer.contains(page)).then_some(())
        });
    }
    let plain = cluster.get(URL).expect("an answer without a mark");
    assert!(plain.contains(DEMO), "without a mark: {plain}");
}

/// A namespace, and a plain laptop whose user works in it.
fn mesh(laptop: &Laptop, flags: &[&str]) -> Running {
    let mut mesh = laptop.ktctl(&[&["mesh", "tomcat"], flags].concat());
    mesh.wait_for("Now you can", 40);
    mesh
}
