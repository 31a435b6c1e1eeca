//! `exchange --mode scale`: the pods go, the laptop answers, and afterwards there are as many pods as
//! before.

#[path = "scale/end.rs"]
mod end;
#[path = "scale/ports.rs"]
mod ports;

use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Process, Running, Snapshot, wait_until};

const URL: &str = "http://tomcat:8080";
const READY: &str = "Now all request to deployment 'tomcat' will be redirected to local";
/// How long each node may take to learn who stands behind a service, in seconds.
const NODES: u64 = 6;
/// The name of a headless service is remembered by who has asked for it, in seconds.
const RESOLVED: u64 = 35;
/// As after any clean-up behind a dead run, which does not wait for the pods either, in seconds.
const AFTER_DEAD: u64 = 20;

// covers: 1-17, 1-18
// And 1-16, but for the option --useShadowDeployment in its line.
#[test]
fn the_pods_go_the_laptop_answers_and_afterwards_there_are_as_many_pods_as_before() {
    let (cluster, laptop) = bed("scale");
    front(&cluster);
    scale(&cluster, 2);
    let before = cluster.snapshot().without(&["objects"]);
    let _local = laptop.serve(8080, LOCAL);

    let mut exchange = exchange(&laptop, &["deployment/tomcat", "--expose", "8080"]);

    let said = exchange.text();
    assert!(said.contains("Scaling deployment tomcat from 2 to 0"), "{said}");
    assert!(said.contains("from 2 to 0 replicas") && said.contains("never do this in production"), "{said}");
    assert_eq!(replicas(&cluster), (0, 0));
    let shadows = shadows(&cluster);
    assert!(shadows.len() == 1 && shadows[0].starts_with("tomcat-kt-exchange-"), "{shadows:?}");
    assert_eq!(config(&cluster, &shadows[0]), "app=tomcat,replicas=2");
    cluster.wait_for_answer(URL, LOCAL, NODES);
    cluster.wait_for_answer("http://front", LOCAL, NODES); // service port 80, target port 8080
    assert!(cluster.object("deployment/tomcat").is_some_and(|read| lock(&read).is_none()));
    let sets = cluster.kubectl(&["get", "replicasets", "-o", "yaml"]).expect("replica sets");
    assert!(!sets.contains("kt-lock"), "a copy of the lock stays: {sets}");
    let ended = exchange.interrupt(60);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("All pods of deployment 'tomcat' are ready"), "{}", ended.text);
    assert_eq!(replicas(&cluster), (2, 2));
    assert_eq!(self::shadows(&cluster), [""; 0]);
    cluster.wait_for_answer(URL, DEMO, 5);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot().without(&["objects"]));
}

/// What Istio calls a subset is the same: the service's pods with one more label.
#[test]
fn whoever_tells_the_pods_by_other_labels_of_theirs_finds_the_laptop_too() {
    let (cluster, laptop) = bed("scaleworn");
    let labels = r#"{"spec": {"template": {"metadata": {"labels": {"version": "v1", "tier": "web"}}}}}"#;
    cluster.kubectl(&["patch", "deployment", "tomcat", "-p", labels]).expect("patched");
    cluster.wait_ready("tomcat");
    cluster.kubectl(&["create", "service", "clusterip", "subset", "--tcp=8080"]).expect("another service");
    let selector = r#"{"spec": {"selector": {"app": "tomcat", "version": "v1"}}}"#;
    cluster.kubectl(&["patch", "service", "subset", "--type=merge", "-p", selector]).expect("patched");
    let _local = laptop.serve(8080, LOCAL);

    let line = ["tomcat", "--expose", "8080", "--withLabel", "tier=mine"];
    let mut exchange = exchange(&laptop, &line);

    cluster.wait_for_answer("http://subset:8080", LOCAL, NODES);
    let wearing = ["get", "pods", "-l", "kt-role=shadow-exchange,tier=mine,version=v1", "-o", "name"];
    assert!(!cluster.kubectl(&wearing).expect("pods").is_empty(), "the user's own label stays");
    assert_eq!(exchange.interrupt(60).code, 0);
    cluster.wait_for_answer("http://subset:8080", DEMO, NODES);
}

// covers: 7-18
#[test]
fn the_laptop_answers_until_the_pods_are_ready_and_one_more_interrupt_ends_the_wait() {
    let (cluster, laptop) = bed("scalewait");
    never_ready(&cluster);
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["svc/tomcat", "--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    exchange.signal("INT");
    exchange.wait_for("Wait for deployment tomcat recover ... (at most 120 s", 10);
    assert_eq!(replicas(&cluster).0, 1);
    std::thread::sleep(Duration::from_secs(3)); // the wait goes on
    assert!(exchange.is_running());
    assert!(cluster.get(URL).is_ok_and(|page| page.contains(LOCAL)));
    let ended = exchange.interrupt(20);

    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("not waiting any longer"), "{}", ended.text);
    assert_eq!(shadows(&cluster), [""; 0]);
}

#[test]
fn the_wait_for_the_pods_has_an_end_of_its_own() {
    let (cluster, laptop) = bed("scaletime");
    never_ready(&cluster);
    let mut exchange =
        exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking", "--recoverWaitTime", "3"]);
    let asked = Instant::now();

    let ended = exchange.interrupt(30);

    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("are ready after 3 s"), "{}", ended.text);
    assert!(asked.elapsed() > Duration::from_secs(3));
    assert_eq!(replicas(&cluster).0, 1);
}

#[test]
fn a_second_exchange_a_mesh_and_a_deployment_without_pods_are_refused() {
    let (cluster, first) = bed("scaletwo");
    let Some(second) = Laptop::lease_another("scaletwo", &cluster) else { return };
    let line = ["exchange", "tomcat", "--mode", "scale", "--expose", "8080", "--skipPortChecking"];
    let mut exchange = exchange(&first, &["tomcat", "--expose", "8080", "--skipPortChecking"]);

    let refused = second.ktctl(&line).wait(20);

    assert_eq!(refused.code, 1, "{}", refused.text);
    let wanted = format!("is already exchanging by another user ({})", first.user());
    assert!(refused.text.contains(&wanted), "{}", refused.text);
    assert_eq!(replicas(&cluster), (0, 0), "the refused one has undone what is not its own");
    let meshed = second.ktctl(&["mesh", "tomcat", "--expose", "8080", "--skipPortChecking"]).wait(20);
    assert_eq!(meshed.code, 1, "{}", meshed.text);
    let wanted = format!("another user ({}) is exchanging service 'tomcat', cannot apply mesh", first.user());
    assert!(meshed.text.contains(&wanted), "{}", meshed.text);
    assert_eq!(exchange.interrupt(60).code, 0);
    scale(&cluster, 0);
    let before = cluster.snapshot();
    let empty = second.ktctl(&line).wait(20);
    assert_eq!(empty.code, 1, "{}", empty.text);
    assert!(empty.text.contains("has no replicas already"), "{}", empty.text);
    cluster.snapshot().assert_as(&before);
}

#[test]
fn a_missing_right_is_named_before_anything_is_changed() {
    let (cluster, laptop) = bed("scaleright");
    cluster.kubectl(&["delete", "rolebinding", "scale"]).unwrap();
    let before = cluster.snapshot();

    let line = ["exchange", "tomcat", "--mode", "scale", "--expose", "8080", "--skipPortChecking"];
    let ended = laptop.ktctl(&line).wait(20);

    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("the right to patch deployments/scale.apps"), "{}", ended.text);
    assert!(ended.text.contains("docs/rbac/exchange-scale.yaml"), "{}", ended.text);
    cluster.snapshot().assert_as(&before);
}

#[test]
fn one_of_the_two_ways_to_scale_is_enough() {
    let (cluster, laptop) = bed("scaleways");
    for (resource, kept) in [("deployments", 0), ("deployments/scale", 1)] {
        let (verbs, others) = (r#"["get", "list", "patch"]"#, r#"["get", "list"]"#);
        let rules = format!(
            r#"{{"rules": [{{"apiGroups": ["apps"], "resources": ["{resource}"], "verbs": {verbs}}},
                {{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": {others}}}]}}"#
        );
        cluster.kubectl(&["patch", "role", "ktctl-exchange-scale", "--type=merge", "-p", &rules]).unwrap();
        wait_until("the other way is closed", Duration::from_secs(5), || may_patch(&cluster, 1 - kept).err());

        let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking"]);

        assert_eq!(replicas(&cluster), (0, 0), "by {resource}");
        let ended = exchange.interrupt(60);
        assert_eq!(ended.code, 0, "by {resource}: {}", ended.text);
        assert_eq!(replicas(&cluster), (1, 1), "by {resource}");
    }
}

/// May the user change the Deployment (0), or its scale (1)?
fn may_patch(cluster: &Cluster, way: usize) -> Result<String, String> {
    let sub = ["--subresource=", "--subresource=scale"][way];
    cluster.kubectl(&["auth", "can-i", "patch", "deployments.apps", sub, "--as=developer"])
}

#[test]
fn an_autoscaler_and_a_disruption_budget_are_named() {
    let (cluster, laptop) = bed("scalehpa");
    cluster
        .kubectl(&["autoscale", "deployment", "tomcat", "--name", "grower", "--min=1", "--max=3"])
        .unwrap();
    cluster.kubectl(&["create", "pdb", "keeper", "--selector=app=tomcat", "--min-available=1"]).unwrap();

    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking"]);

    let said = exchange.text();
    assert!(said.contains("horizontal pod autoscaler 'grower'"), "{said}");
    assert!(said.contains("pod disruption budget 'keeper'"), "{said}");
    assert_eq!(exchange.interrupt(60).code, 0);
}

#[test]
fn a_stateful_set_and_a_replica_set_are_scaled_and_get_their_pods_back() {
    let (cluster, laptop) = bed("scalesets");
    cluster.apply(include_str!("../../docs/rbac/use-shadow-deployment.yaml"));
    let bind = ["create", "rolebinding", "wrap", "--role=ktctl-use-shadow-deployment", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let _local = laptop.serve(8080, LOCAL);
    for (kind, extra) in [
        ("StatefulSet", r#""serviceName": "keeper", "podManagementPolicy": "Parallel","#),
        ("ReplicaSet", ""),
    ] {
        keeper(&cluster, kind, extra);
        let before = cluster.snapshot().without(&["objects"]);
        let replicas = || {
            let read = cluster.object(&format!("{kind}/keeper")).expect("the workload");
            (read["spec"]["replicas"].as_i64(), read["status"]["readyReplicas"].as_i64().unwrap_or(0))
        };
        let word = kind.to_lowercase();

        let mut exchange = laptop.ktctl(&["exchange", "keeper", "--mode", "scale", "--expose", "8080"]);

        exchange.wait_for(&format!("Now all request to {word} 'keeper' will be redirected to local"), 60);
        assert_eq!(replicas(), (Some(0), 0), "{kind}");
        cluster.wait_for_answer("http://keeper:8080", LOCAL, RESOLVED);
        std::thread::sleep(Duration::from_secs(2)); // its controller may look at the shadow
        let shadows = shadows(&cluster);
        assert!(config(&cluster, &shadows[0]).ends_with(&format!("app=keeper,replicas=2,kind={word}")));
        assert_eq!(exchange.interrupt(60).code, 0, "{kind}: {}", exchange.text());
        assert_eq!(replicas(), (Some(2), 2), "{kind}");
        cluster.wait_for_answer("http://keeper:8080", DEMO, RESOLVED);
        Snapshot::wait_until_as(&before, 20, || cluster.snapshot().without(&["objects"]));
        cluster.kubectl(&["delete", &word, "keeper", "--wait"]).expect("delete");
    }
}

#[test]
fn after_a_kill_a_stateful_set_is_given_back_by_the_next_start_and_by_recover() {
    let (cluster, laptop) = bed("scalests");
    keeper(&cluster, "StatefulSet", r#""serviceName": "keeper","#);
    let _local = laptop.serve(8080, LOCAL);
    for by_recover in [false, true] {
        let mut exchange = laptop.ktctl(&["exchange", "sts/keeper", "--mode", "scale", "--expose", "8080"]);
        exchange.wait_for("Now all request to statefulset 'keeper'", 60);
        kill(&laptop);

        if by_recover {
            // Without the journal it is somebody else who recovers.
            laptop.run(&["rm", "-rf", ".kt"]).ok();
            let recover = laptop.ktctl(&["recover", "keeper"]).wait(20);
            assert!(recover.text.contains("scale statefulset keeper to 2"), "{}", recover.text);
        } else {
            let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
            next.wait_for("Statefulset keeper scaled back to 2", 20);
            next.wait_for("All looks good", 30);
            assert_eq!(next.interrupt(15).code, 0);
        }

        cluster.kubectl(&["rollout", "status", "statefulset/keeper", "--timeout=60s"]).expect("pods");
        wait_until("no shadow is left", Duration::from_secs(15), || {
            shadows(&cluster).is_empty().then_some(())
        });
    }
}

#[test]
fn a_lock_that_a_dead_run_has_left_on_a_deployment_is_taken_away() {
    let (cluster, laptop) = bed("scalelock");
    let before = cluster.snapshot();
    let lock = |since: u64| {
        let lock = format!("kt-lock={since}");
        let by = "kt-lock-owner=nobody@nowhere 1";
        cluster.kubectl(&["annotate", "--overwrite", "deployment/tomcat", &lock, by]).expect("lock");
    };
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a time after 1970").as_secs()
    };

    lock(now());
    let young = laptop.ktctl(&["clean"]).wait(20);
    assert!(young.text.contains("No unavailing kt resource found"), "{}", young.text);
    let recover = laptop.ktctl(&["recover", "tomcat"]).wait(20);
    assert_eq!(recover.code, 0, "{}", recover.text);
    assert!(recover.text.contains("unlock deployment tomcat"), "{}", recover.text);
    cluster.snapshot().assert_as(&before);

    lock(now() - 200);
    let clean = laptop.ktctl(&["clean"]).wait(20);
    assert_eq!(clean.code, 0, "{}", clean.text);
    assert!(clean.text.contains("Recovering 1 locked deployments"), "{}", clean.text);
    cluster.snapshot().assert_as(&before);
}

#[test]
fn what_argo_cd_keeps_is_named_with_the_rule_for_its_replicas() {
    let (cluster, laptop) = bed("scaleargo");
    let label = ["label", "deployment", "tomcat", "argocd.argoproj.io/instance=shop"];
    cluster.kubectl(&label).expect("label");

    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080", "--skipPortChecking"]);

    let said = exchange.text();
    assert!(said.contains("deployment 'tomcat' is kept by Argo CD (application shop)"), "{said}");
    let rule = "{group: apps, kind: Deployment, name: tomcat, jsonPointers: [/spec/replicas]}";
    assert!(said.contains(rule), "{said}");
    assert_eq!(exchange.interrupt(60).code, 0);
}

/// A workload of two pods, and its headless Service, both called `keeper`.
fn keeper(cluster: &Cluster, kind: &str, extra: &str) {
    cluster.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
        {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "keeper"}},
          "spec": {{"clusterIP": "None", "selector": {{"app": "keeper"}}, "ports": [{{"port": 8080}}]}}}},
        {{"apiVersion": "apps/v1", "kind": "{kind}", "metadata": {{"name": "keeper"}}, "spec": {{{extra}
          "replicas": 2, "selector": {{"matchLabels": {{"app": "keeper"}}}}, "template": {{
            "metadata": {{"labels": {{"app": "keeper"}}}}, "spec": {{
              "terminationGracePeriodSeconds": 1,
              "securityContext": {{"runAsNonRoot": true, "seccompProfile": {{"type": "RuntimeDefault"}}}},
              "containers": [{{"name": "keeper", "image": "testbed/echo:local", "imagePullPolicy": "Never",
                "securityContext": {{"allowPrivilegeEscalation": false, "capabilities": {{"drop": ["ALL"]}}}},
                "env": [{{"name": "ECHO_PAGE", "value": "{DEMO}"}}],
                "readinessProbe": {{"httpGet": {{"path": "/status/200", "port": 8080}}, "periodSeconds": 1}},
                "ports": [{{"containerPort": 8080}}]}}]}}}}}}}}]}}"#
    ));
    cluster.wait_for_answer("http://keeper:8080", DEMO, 60);
    let ready = "jsonpath={.status.readyReplicas}";
    wait_until("both pods are ready", Duration::from_secs(60), || {
        let read = cluster.kubectl(&["get", &format!("{kind}/keeper"), "-o", ready]).ok()?;
        (read == "2").then_some(())
    });
}

/// The pods answer, and nothing of ours is left.
fn as_before(cluster: &Cluster) {
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    wait_until("there is one pod again, and no shadow", Duration::from_secs(15), || {
        let maps = cluster.kubectl(&["get", "configmaps", "-l", "control-by=kt", "-o", "name"]).ok()?;
        (replicas(cluster) == (1, 1) && shadows(cluster).is_empty() && maps.trim().is_empty()).then_some(())
    });
}

fn exchange(laptop: &Laptop, args: &[&str]) -> Running {
    let mut exchange = laptop.ktctl(&[&["exchange", "--mode", "scale"], args].concat());
    exchange.wait_for(READY, 60);
    exchange
}

fn kill(laptop: &Laptop) {
    let runs: Vec<Process> = laptop.processes("ktctl");
    assert!(!runs.is_empty());
    for run in runs {
        laptop.kill9(&run);
    }
}

/// How many pods the Deployment is meant to have, and how many are ready.
fn replicas(cluster: &Cluster) -> (i64, i64) {
    let read = cluster.object("deployment/tomcat").expect("the deployment");
    let number = |value: &serde_json::Value| value.as_i64().unwrap_or(0);
    (number(&read["spec"]["replicas"]), number(&read["status"]["readyReplicas"]))
}

/// Names of the shadows that are not on their way out.
fn shadows(cluster: &Cluster) -> Vec<String> {
    let list =
        cluster.kubectl(&["get", "pods", "-l", "kt-role=shadow-exchange", "-o", "json"]).expect("pods");
    let list: serde_json::Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let lives = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    lives.filter_map(|pod| pod["metadata"]["name"].as_str().map(String::from)).collect()
}

fn config(cluster: &Cluster, shadow: &str) -> String {
    let shadow = cluster.object(&format!("pod/{shadow}")).expect("the shadow");
    shadow["metadata"]["annotations"]["kt-config"].as_str().unwrap_or_default().to_owned()
}

fn lock(deployment: &serde_json::Value) -> Option<&str> {
    deployment["metadata"]["annotations"]["kt-lock"].as_str()
}

fn scale(cluster: &Cluster, replicas: u8) {
    cluster.kubectl(&["scale", "deployment", "tomcat", &format!("--replicas={replicas}")]).expect("scale");
    cluster.wait_ready("tomcat");
}

/// Another service of the same pods, whose port is not that of the pods.
fn front(cluster: &Cluster) {
    let ports = ["--name", "front", "--port", "80", "--target-port", "8080"];
    cluster.kubectl(&[&["expose", "deployment", "tomcat"], &ports[..]].concat()).expect("expose");
}

/// Pods that are made from now on do not get ready.
fn never_ready(cluster: &Cluster) {
    let probe = r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/readinessProbe/httpGet/path",
        "value": "/status/500"}]"#;
    cluster.kubectl(&["patch", "deployment", "tomcat", "--type=json", "-p", probe]).expect("patch");
}

/// A namespace whose user may scale, and a plain laptop whose user works in it.
fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    cluster.apply(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let bind = ["create", "rolebinding", "scale", "--role=ktctl-exchange-scale", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}
