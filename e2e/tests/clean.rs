//! `clean`: what dead runs have left goes, in the cluster and on the laptop; what lives stays.

use std::time::Duration;

use e2e::{Cluster, DEMO, LOCAL, Laptop, Running, Snapshot, wait_until};

const URL: &str = "http://tomcat:8080";
/// As for `recover`, which does not wait for each node either, in seconds.
const AFTER_DEAD: u64 = 8;
const NOTHING: &str = "No unavailing kt resource found";

// covers: 7-32
#[test]
fn a_dry_run_lists_what_the_real_one_removes_and_the_living_stay() {
    let (cluster, laptop) = Laptop::with_cluster("clean");
    let Some(other) = Laptop::lease_another("clean", &cluster) else { return };
    cluster.kubectl(&["create", "service", "clusterip", "locked", "--tcp=80"]).unwrap();
    cluster.kubectl(&["create", "deployment", "scaled", "--image=none", "--replicas=0"]).unwrap();
    cluster.apply(MAY_SCALE);
    let _locals = [laptop.serve(8080, LOCAL), other.serve(8080, "page of the living")];
    let mut living = other.ktctl(&["preview", "living", "--expose", "8080"]);
    living.wait_for("by name 'living'", 30);
    let before = cluster.snapshot();
    let _exchange = exchange(&laptop);
    let _preview = preview(&laptop);
    die_without_trace(&laptop);
    cluster.age(&["tomcat-kt-", "dead"], 600);
    let lock = format!("kt-lock={}", now() - 181);
    cluster.kubectl(&["annotate", "service", "locked", &lock]).unwrap();
    scale_shadow(&cluster, now() - 600);
    let left = cluster.snapshot();

    let dry = laptop.ktctl(&["clean", "--dryRun"]).wait(20);
    cluster.snapshot().assert_as(&left);
    let real = other.ktctl(&["clean"]).wait(30);

    assert_eq!((dry.code, real.code), (0, 0), "{}\n{}", dry.text, real.text);
    assert_eq!(items(&dry.text), items(&real.text), "{}\n{}", dry.text, real.text);
    for headline in [
        "Find 1 exchanged service to recover:",
        "Find 1 exchanged deployments to recover:",
        "Find 1 locked services to recover:",
        "Find 3 unavailing pods to delete:",
        "Find 2 unavailing service to delete:",
        "Find 2 unavailing config maps to delete:",
    ] {
        assert!(dry.text.contains(headline), "{headline} {}", dry.text);
    }
    assert!(items(&dry.text).contains(&"scaled -> 2".to_owned()), "{}", dry.text);
    assert!(
        real.text.contains("Deleting 3 unavailing kt pods") && real.text.contains("Done"),
        "{}",
        real.text
    );
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    cluster.wait_for_answer("http://living:8080", "page of the living", 3);
    let replicas = cluster.object("deployment/scaled").expect("it is there")["spec"]["replicas"].clone();
    assert_eq!(replicas, 2);
    cluster.kubectl(&["scale", "deployment", "scaled", "--replicas=0"]).unwrap();
    Snapshot::wait_until_as(&before.without(&["Deployment/scaled"]), 15, || {
        cluster.snapshot().without(&["Deployment/scaled"])
    });
    let again = laptop.ktctl(&["clean"]).wait(20);
    assert_eq!(again.code, 0, "{}", again.text);
    assert!(again.text.contains(NOTHING), "{}", again.text);
}

#[test]
fn what_a_killed_run_of_this_laptop_left_goes_at_once_and_of_another_not() {
    let (cluster, laptop) = Laptop::with_cluster("ownclean");
    let Some(other) = Laptop::lease_another("ownclean", &cluster) else { return };
    let (on_laptop, before) = (laptop.snapshot(), cluster.snapshot());
    let local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop);
    let _preview = preview(&laptop);
    kill_all(&laptop);
    let left = cluster.snapshot();

    let others = other.ktctl(&["clean"]).wait(20);
    cluster.snapshot().assert_as(&left);
    let alone = laptop.ktctl(&["clean", "--localOnly"]).wait(20);
    cluster.snapshot().assert_as(&left);
    let dry = laptop.ktctl(&["clean", "--dryRun"]).wait(20);
    cluster.snapshot().assert_as(&left);
    let own = laptop.ktctl(&["clean"]).wait(30);

    assert!(others.text.contains(NOTHING), "{}", others.text);
    assert!(alone.text.contains("which was killed, has left things in namespace"), "{}", alone.text);
    assert_eq!((alone.code, dry.code, own.code), (0, 0, 0), "{}\n{}", dry.text, own.text);
    let all = items(&own.text);
    assert!(all.contains(&"tomcat".to_owned()) && all.contains(&"dead".to_owned()), "{}", own.text);
    assert_eq!(items(&dry.text), all, "{}\n{}", dry.text, own.text);
    cluster.wait_for_answer(URL, DEMO, AFTER_DEAD);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
    drop(local);
    laptop.snapshot().assert_as(&on_laptop);
}

#[test]
fn the_threshold_decides_who_is_dead_and_a_short_one_is_warned_of() {
    let (cluster, laptop) = Laptop::with_cluster("threshold");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let _preview = preview(&laptop);
    die_without_trace(&laptop);
    cluster.age(&["dead"], 100);

    let patient = laptop.ktctl(&["clean"]).wait(20);
    let hasty = laptop.ktctl(&["clean", "--thresholdInMinus", "1"]).wait(20);

    assert!(patient.text.contains(NOTHING) && !patient.text.contains("WRN"), "{}", patient.text);
    assert!(hasty.text.contains("WRN with --thresholdInMinus 1"), "{}", hasty.text);
    assert!(items(&hasty.text).contains(&"dead".to_owned()), "{}", hasty.text);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn a_dead_version_leaves_the_router_of_those_who_live() {
    let (cluster, laptop) = Laptop::with_cluster("deadversion");
    let Some(other) = Laptop::lease_another("deadversion", &cluster) else { return };
    let _locals = [laptop.serve(8080, LOCAL), other.serve(8080, LOCAL)];
    let [_dead, _alive] = [(&laptop, "dead"), (&other, "alive")].map(|(laptop, mark)| {
        let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", mark]);
        mesh.wait_for("Now you can", 40);
        mesh
    });
    die_without_trace(&laptop);
    cluster.age(&["tomcat-kt-mesh-dead"], 600);

    let dry = other.ktctl(&["clean", "--dryRun"]).wait(20);
    let routes = routes(&cluster);
    let real = other.ktctl(&["clean"]).wait(30);

    assert!(routes.contains("mesh-dead") && routes.contains("mesh-alive"), "untouched: {routes}");
    assert_eq!((dry.code, real.code), (0, 0), "{}\n{}", dry.text, real.text);
    assert!(dry.text.contains("Find 1 dead versions of meshed services to remove"), "{}", dry.text);
    assert!(real.text.contains("Removing 1 dead versions of meshed services"), "{}", real.text);
    assert_eq!(items(&dry.text), items(&real.text));
    let routes = self::routes(&cluster);
    assert!(!routes.contains("mesh-dead") && routes.contains("mesh-alive"), "{routes}");
    assert!(cluster.get_with(URL, Some("VERSION: alive")).expect("an answer").contains(LOCAL));
    assert!(cluster.get_with(URL, Some("VERSION: dead")).expect("an answer").contains(DEMO));
}

/// What the router of the sample service was told last.
fn routes(cluster: &Cluster) -> String {
    let router = cluster.object("pod/tomcat-kt-router").expect("a router");
    router["metadata"]["annotations"].to_string()
}

#[test]
fn what_a_right_is_missing_for_stops_nothing_else() {
    let (cluster, laptop) = Laptop::with_cluster("cleanrights");
    let _local = laptop.serve(8080, LOCAL);
    let _preview = preview(&laptop);
    die_without_trace(&laptop);
    cluster.age(&["dead"], 600);
    rights(&cluster, r#""pods", "services""#, r#""get", "list", "delete""#);

    let cleaned = laptop.ktctl(&["clean"]).wait(20);

    assert_eq!(cleaned.code, 0, "{}", cleaned.text);
    assert!(cleaned.text.contains("Deleting 1 unavailing kt pods"), "{}", cleaned.text);
    assert!(!cleaned.text.contains("config maps"), "the right is still there: {}", cleaned.text);
    assert!(cluster.object("service/dead").is_none());
}

#[test]
fn what_the_role_for_mode_scale_is_missing_for_is_named_with_its_command_and_the_rest_is_done() {
    let (cluster, laptop) = Laptop::with_cluster("cleanscale");
    let _local = laptop.serve(8080, LOCAL);
    let _preview = preview(&laptop);
    die_without_trace(&laptop);
    cluster.age(&["dead"], 600);
    let lock = format!("kt-lock={}", now() - 200);
    let by = "kt-lock-owner=nobody@nowhere 1";
    cluster.kubectl(&["annotate", "deployment/tomcat", &lock, by]).expect("lock");

    let lock_stays = laptop.ktctl(&["clean"]).wait(20);
    cluster.kubectl(&["create", "deployment", "scaled", "--image=none", "--replicas=0"]).unwrap();
    scale_shadow(&cluster, now() - 600);
    let pods_stay_away = laptop.ktctl(&["clean"]).wait(20);

    let namespace = cluster.namespace();
    assert_eq!(lock_stays.code, 0, "{}", lock_stays.text);
    let unlock = format!("kubectl -n {namespace} annotate deployment/tomcat kt-lock- kt-lock-owner-");
    assert_says(&lock_stays.text, &["it takes the right to patch deployments.apps in namespace", &unlock]);
    assert_says(&lock_stays.text, &["binds nobody", "Deleting 1 unavailing kt pods", "Done"]);
    assert!(cluster.object("service/dead").is_none());
    assert_eq!(pods_stay_away.code, 1, "{}", pods_stay_away.text);
    let scale = format!("kubectl -n {namespace} scale deployment/scaled --replicas=2");
    assert_says(&pods_stay_away.text, &["scaled -> 2 stays: it takes the right to patch", &scale]);
    assert_says(&pods_stay_away.text, &["scaled-kt-exchange-abcde stays, it knows how many pods there were"]);
    assert!(cluster.object("pod/scaled-kt-exchange-abcde").is_some());
    cluster.apply(MAY_SCALE);
    let with_the_right = laptop.ktctl(&["clean"]).wait(20);
    assert_eq!(with_the_right.code, 0, "{}", with_the_right.text);
    assert_says(&with_the_right.text, &["scaled -> 2"]);
}

fn assert_says(text: &str, all: &[&str]) {
    for part in all {
        assert!(text.contains(part), "{part:?} is not said: {text}");
    }
}

#[test]
fn a_shadow_stays_as_long_as_its_service_can_not_be_put_back() {
    let (cluster, laptop) = Laptop::with_cluster("needed");
    let _local = laptop.serve(8080, LOCAL);
    let _exchange = exchange(&laptop);
    die_without_trace(&laptop);
    cluster.age(&["tomcat-kt-"], 600);
    rights(&cluster, r#""pods", "services", "configmaps""#, r#""get", "list", "delete""#);

    let cleaned = laptop.ktctl(&["clean"]).wait(20);

    assert_eq!(cleaned.code, 1, "{}", cleaned.text);
    assert!(cleaned.text.contains("tomcat stays: "), "{}", cleaned.text);
    assert!(cleaned.text.contains("stays, callers would meet nobody"), "{}", cleaned.text);
    // After 15 s the shadow leads to the original pods.
    cluster.wait_for_answer(URL, DEMO, 20);
}

#[test]
fn locally_dead_pid_files_and_old_logs_go_and_nothing_else() {
    let (cluster, laptop) = Laptop::with_cluster("local");
    let before = laptop.snapshot();
    let local = laptop.serve(8080, LOCAL);
    let _preview = preview(&laptop);
    die_without_trace(&laptop);
    let left = cluster.snapshot();
    laptop
        .run(&[
            "bash",
            "-c",
            "mkdir -p ~/.kt/pid; echo 999999 > ~/.kt/pid/connect-999999.pid
             touch /tmp/kt-young.log; touch -d '25 hours ago' /tmp/kt-old.log",
        ])
        .ok();

    let cleaned = laptop.ktctl(&["clean", "--localOnly"]).wait(10);
    let files = laptop.run(&["bash", "-c", "ls /tmp/kt-* ~/.kt/pid 2>&1"]).text;
    laptop.run(&["bash", "-c", "rm -r /tmp/kt-young.log ~/.kt"]).ok();

    assert_eq!(cleaned.code, 0, "{}", cleaned.text);
    assert!(cleaned.text.contains("Not root user, DNS cleanup skipped"), "{}", cleaned.text);
    assert_eq!(items(&cleaned.text).len(), 2, "{}", cleaned.text);
    assert!(files.contains("kt-young.log"), "{files}");
    assert!(!files.contains("kt-old.log") && !files.contains("connect-999999.pid"), "{files}");
    cluster.snapshot().assert_as(&left);
    drop(local);
    laptop.snapshot().assert_as(&before);
}

// covers: 7-33
#[test]
fn as_root_it_puts_the_laptop_back_when_the_helper_was_killed_too() {
    let (cluster, laptop) = Laptop::with_cluster("rootclean");
    let (before, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let _connect = laptop.connect(&[]);
    let running = laptop.sudo_ktctl(&["clean", "--localOnly"]).wait(15);
    assert!(laptop.get(URL).ok().contains(DEMO), "a living connect was disturbed");
    // The helper first: it would put all back.
    let mut processes = laptop.processes("ktctl");
    processes.sort_by_key(|process| process.user != "root");
    for process in &processes {
        laptop.kill9(process);
    }
    assert_ne!(laptop.snapshot(), before, "there is nothing to put back");

    let cleaned = laptop.sudo_ktctl(&["clean", "--localOnly"]).wait(15);

    assert!(running.text.contains("DNS cleanup skipped: another connect"), "{}", running.text);
    assert_eq!(cleaned.code, 0, "{}", cleaned.text);
    assert!(cleaned.text.contains("A dead run had left"), "{}", cleaned.text);
    let kt = ["kt folders"]; // the journal, by which the cluster is cleaned below
    laptop.snapshot().without(&kt).assert_as(&before.without(&kt));
    assert_eq!(laptop.ktctl(&["clean"]).wait(20).code, 0);
    laptop.snapshot().assert_as(&before);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
}

/// The names that were listed, in the order they were.
fn items(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_once("INF  * ")).map(|(_, item)| item.to_owned()).collect()
}

fn exchange(laptop: &Laptop) -> Running {
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    exchange
}

fn preview(laptop: &Laptop) -> Running {
    let mut preview = laptop.ktctl(&["preview", "dead", "--expose", "8080"]);
    preview.wait_for("by name 'dead'", 30);
    preview
}

fn kill_all(laptop: &Laptop) {
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
}

/// As a laptop that is never switched on again.
fn die_without_trace(laptop: &Laptop) {
    kill_all(laptop);
    laptop.run(&["rm", "-rf", ".kt"]).ok();
}

/// The right that putting a Deployment back takes; the role for exchange by selector has it not.
const MAY_SCALE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: scales}
rules: [{apiGroups: [apps], resources: [deployments], verbs: [patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: scales}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: scales}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: developer}]
"#;

/// What a dead exchange by scale leaves: its shadow says how many replicas there were.
fn scale_shadow(cluster: &Cluster, beat: u64) {
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata:
  name: scaled-kt-exchange-abcde
  labels: {{control-by: kt, kt-role: shadow-exchange, app: scaled}}
  annotations: {{kt-config: "app=scaled,replicas=2", kt-last-heart-beat: "{beat}"}}
spec:
  securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: standalone
    image: testbed/echo:local
    imagePullPolicy: Never
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"#
    ));
}

/// Leaves the developer these rights only.
fn rights(cluster: &Cluster, resources: &str, verbs: &str) {
    let rules = format!(r#"{{"apiGroups": [""], "resources": [{resources}], "verbs": [{verbs}]}}"#);
    let patch = format!(r#"{{"rules": [{rules}]}}"#);
    let role = "role/ktctl-all-commands-mini";
    cluster.kubectl(&["patch", role, "--type=merge", "-p", &patch]).expect("change the role");
    wait_until("the rights are gone", Duration::from_secs(5), || {
        cluster.kubectl(&["auth", "can-i", "patch", "services", "--as=developer"]).err()
    });
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.expect("the clock is right").as_secs()
}
