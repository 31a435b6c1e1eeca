//! `birdseye`: who does what to which service.

use std::time::Duration;

use e2e::{Cluster, LOCAL, Laptop, wait_until};

/// A router and two versions as any client leaves them for `a`, and a version by hand for `b`.
const MESHES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: a, annotations: {kt-selector: '{"app": "a"}'}}
spec: {selector: {kt-role: router, kt-target: abc}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: a-kt-stuntman, labels: {control-by: kt}}
spec: {selector: {app: a}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: b}, ports: [{port: 80}]}
"#;

// covers: 7-37
#[test]
fn each_state_of_a_service_is_told_with_its_users() {
    let (cluster, laptop) = Laptop::with_cluster("birdseye");
    let user = laptop.user().to_owned();
    let _local = laptop.serve(8080, LOCAL);
    cluster.apply(MESHES);
    pod(&cluster, "a-kt-router", "", "kt-role: router, kt-target: abc");
    pod(&cluster, "a-kt-mesh-v1", "alice", "kt-role: shadow-mesh, kt-target: one");
    pod(&cluster, "a-kt-mesh-v2", "bob", "kt-role: shadow-mesh, kt-target: two");
    pod(&cluster, "b-kt-mesh-v1", "carol", "kt-role: shadow-mesh, app: b, version: v1");
    cluster.kubectl(&["create", "service", "clusterip", "zebra", "--tcp=80"]).unwrap();
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    let mut preview = laptop.ktctl(&["preview", "another", "--expose", "8080"]);
    preview.wait_for("by name 'another'", 30);

    let by_status = lines(&laptop, &[]);
    let by_name = lines(&laptop, &["--sortBy", "name", "--hideNaturalService"]);

    let head = format!("---- Service in namespace {} ----", cluster.namespace());
    let exchanged = format!("> tomcat - exchanged by [{user}]");
    let previewed = format!("> another - previewing by [{user}]");
    let (auto, manual) = ("> a - meshed (auto) by [alice], [bob]", "> b - meshed (manual) by [carol]");
    assert_eq!(by_status, [&head, &exchanged, auto, manual, "> zebra - normal", &previewed]);
    assert_eq!(by_name, [&head, auto, &previewed, manual, &exchanged]);
    let wrong = laptop.ktctl(&["birdseye", "--sortBy", "size"]).wait(10);
    assert_eq!(wrong.code, 2, "{}", wrong.text);
    assert!(wrong.text.contains("invalid sort method: size"), "{}", wrong.text);
}

// covers: 1-22
#[test]
fn who_is_connected_is_listed_and_gone_after_the_end() {
    let (cluster, laptop) = Laptop::with_cluster("connector");
    let nobody = lines(&laptop, &["--showConnector"]);
    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice", "--proxyPort", "3456"]);
    connect.wait_for("All looks good", 30);

    let connected = lines(&laptop, &["--showConnector"]);
    assert_eq!(connect.interrupt(15).code, 0);
    let after = lines(&laptop, &["--showConnector"]);

    let head = format!("---- Service in namespace {} ----", cluster.namespace());
    let users = "---- User connecting to cluster ----";
    let user = format!("> {} (last active 0 min ago)", laptop.user());
    let plain = [&head, "> tomcat - normal", users];
    assert_eq!(nobody, [&plain[..], &["0 users in total"]].concat());
    assert_eq!(connected, [&plain[..], &[&user, "1 users in total"]].concat());
    assert_eq!(after, nobody);
}

#[test]
fn programs_get_json_and_changes_are_shown_while_it_goes_on() {
    let (cluster, laptop) = Laptop::with_cluster("watch");
    let Some(other) = Laptop::lease_another("watch", &cluster) else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut watch = other.start(&[&e2e::ktctl(), "birdseye", "--watch"]);
    watch.wait_for("> tomcat - normal", 15);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);

    let exchanged = format!("> tomcat - exchanged by [{}]", laptop.user());
    watch.wait_for(&exchanged, 10);
    let json = stdout(&other, "-o json");
    assert_eq!(exchange.interrupt(15).code, 0);

    wait_until("the end is shown, too", Duration::from_secs(10), || {
        watch.text().trim_end().ends_with("> tomcat - normal").then_some(())
    });
    assert_eq!(watch.interrupt(5).code, 0);
    let seen: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let service = &seen["services"][0];
    assert_eq!((&service["name"], &service["state"]), (&"tomcat".into(), &"exchanged".into()));
    assert_eq!(service["users"][0], laptop.user());
    let run = &service["runs"][0];
    assert_eq!((&run["user"], &run["host"]), (&laptop.user().into(), &laptop.name().into()));
    assert_eq!((&run["mode"], &run["ports"]), (&"selector".into(), &"8080".into()));
}

#[test]
fn without_deployments_and_pods_it_tells_what_it_can() {
    let (cluster, laptop) = Laptop::with_cluster("blind");
    let role = "role/ktctl-all-commands-mini";
    let rule = |resources: &str| {
        let rules = format!(r#"{{"apiGroups": [""], "resources": [{resources}], "verbs": ["list"]}}"#);
        let patch = format!(r#"{{"rules": [{rules}]}}"#);
        cluster.kubectl(&["patch", role, "--type=merge", "-p", &patch]).expect("change the role");
    };

    rule(r#""services""#);
    let told = wait_until("the rights are gone", Duration::from_secs(10), || {
        let told = laptop.ktctl(&["birdseye"]).wait(15);
        told.text.contains("right to list pods").then_some(told)
    });
    rule(r#""pods""#);
    let refused = wait_until("the other right is gone", Duration::from_secs(10), || {
        let refused = laptop.ktctl(&["birdseye"]).wait(15);
        (refused.code != 0).then_some(refused)
    });

    assert_eq!(told.code, 0, "{}", told.text);
    assert!(told.text.contains("> tomcat - normal"), "{}", told.text);
    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("list services"), "{}", refused.text);
}

/// What stands on standard output alone.
fn lines(laptop: &Laptop, args: &[&str]) -> Vec<String> {
    stdout(laptop, &args.join(" ")).lines().map(String::from).collect()
}

fn stdout(laptop: &Laptop, args: &str) -> String {
    let line = format!("{} birdseye {args} 2>/dev/null", e2e::ktctl());
    laptop.run(&["bash", "-c", &line]).ok()
}

/// A helper pod of another client.
fn pod(cluster: &Cluster, name: &str, user: &str, labels: &str) {
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{control-by: kt, {labels}}}, annotations: {{kt-user: "{user}"}}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: standalone
    image: testbed/echo:local
    imagePullPolicy: Never
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"#
    ));
}
