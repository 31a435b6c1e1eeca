//! What Kubernetes reports against a shadow is shown within 3 s of its report: an image that can not
//! be pulled, quotas, admission, scheduling. And refusals that have an answer are answered, and said.

use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, LOCAL, Laptop, Policy, Running};
use serde_json::{Value, json};

/// From a report to its line.
const SHOWN: Duration = Duration::from_secs(3);
/// How long Kubernetes itself may take to report.
const REPORTED: Duration = Duration::from_secs(20);

#[test]
fn an_image_that_can_not_be_pulled_is_shown_when_the_node_reports_it() {
    let (cluster, laptop) = Laptop::with_cluster("pullsoon");

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice", "--image", "127.0.0.1:9/none:1"]);

    let pulling = ["ErrImagePull", "ImagePullBackOff"];
    let report = || shadow(&cluster).filter(|pod| pulling.contains(&waits(pod)));
    assert_shown_soon(&mut connect, "can not be pulled", report);
    assert_eq!(connect.wait(10).code, 1);
}

#[test]
fn a_pod_that_fits_on_no_node_is_shown_when_the_scheduler_reports_it() {
    let (cluster, laptop) = Laptop::with_cluster("nonode");
    let flags = "connect --disableTunDevice --nodeSelector disk=nonesuch --podCreationTimeout 6";

    let mut connect = laptop.ktctl(&flags.split_whitespace().collect::<Vec<_>>());

    let report = || shadow(&cluster).filter(|pod| condition(pod, "PodScheduled").is_some());
    assert_shown_soon(&mut connect, "didn't match Pod's node affinity/selector", report);
    let ended = connect.wait(20);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("--nodeSelector"), "the advice: {}", ended.text);
}

#[test]
fn a_cluster_that_is_full_is_shown_and_waited_for() {
    let (cluster, laptop) = Laptop::with_cluster("nospace");

    let mut connect =
        laptop.ktctl(&["connect", "--disableTunDevice", "--podQuota", "900c", "--podCreationTimeout", "7"]);

    let report = || shadow(&cluster).filter(|pod| condition(pod, "PodScheduled").is_some());
    assert_shown_soon(&mut connect, "Insufficient cpu", report);
    let reminder = connect.wait_for(" s ... (Unschedulable: ", 10); // "for 5 s", or a little later
    assert!(reminder.contains(" for "), "{reminder}");
    let ended = connect.wait(15);
    assert!(ended.code == 1 && ended.text.contains("within 7 s"), "{}", ended.text);
}

#[test]
fn a_used_up_quota_is_shown_at_once() {
    let (cluster, laptop) = Laptop::with_cluster("quotasoon");
    quota(&cluster, "pods=2");

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);

    assert_refused_soon(&mut connect, "exceeded quota: mine");
}

#[test]
fn a_quota_that_keeps_a_deployment_from_its_pod_is_shown_when_it_reports_it() {
    let (cluster, laptop) = Laptop::with_cluster("quotadeploy");
    cluster.apply(include_str!("../../docs/rbac/use-shadow-deployment.yaml"));
    let bind = ["create", "rolebinding", "more", "--role=ktctl-use-shadow-deployment", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    quota(&cluster, "pods=2");

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice", "--useShadowDeployment"]);

    let report = || {
        let all = cluster.object("deployments")?;
        let deployments = all["items"].as_array()?.clone();
        deployments.into_iter().find(|deployment| condition(deployment, "ReplicaFailure").is_some())
    };
    assert_shown_soon(&mut connect, "exceeded quota: mine", report);
    assert_eq!(connect.wait(10).code, 1);
}

#[test]
fn a_quota_that_demands_limits_gets_them_and_it_is_said() {
    let (cluster, laptop) = Laptop::with_cluster("limits");
    quota(&cluster, "limits.cpu=2,limits.memory=1Gi,requests.cpu=1,requests.memory=512Mi");

    let mut connect = laptop.connect(&[]);

    connect.wait_for("A quota demands limits, using 50m and 64Mi (see --podQuota)", 0);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
    let pod = shadow(&cluster).expect("the shadow");
    for kind in ["requests", "limits"] {
        let numbers = json!({"cpu": "50m", "memory": "64Mi"});
        assert_eq!(pod["spec"]["containers"][0]["resources"][kind], numbers);
    }
    assert_eq!(connect.interrupt(15).code, 0);
}

#[test]
fn where_a_limit_range_fills_in_the_numbers_nothing_is_changed_or_said() {
    let (cluster, laptop) = Laptop::with_cluster("limitrange");
    cluster.apply(
        &json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "mine"}, "spec": {"limits": [
            {"type": "Container", "defaultRequest": {"cpu": "50m", "memory": "32Mi"}, "default": {"cpu": "500m",
            "memory": "256Mi"}}]}})
        .to_string(),
    );
    quota(&cluster, "limits.cpu=2,limits.memory=1Gi");

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
    connect.wait_for("All looks good", 30);

    assert!(!connect.text().contains("demands limits"), "{}", connect.text());
    let pod = shadow(&cluster).expect("the shadow");
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"], "256Mi");
}

#[test]
fn a_policy_that_refuses_the_pod_is_shown_in_its_own_words() {
    let (cluster, laptop) = Laptop::with_cluster("policy");
    let message = "pods need the label cost-centre, see the intranet";
    let rule = "has(object.metadata.labels) && 'cost-centre' in object.metadata.labels";
    let _policy = Policy::new(&cluster, rule, message, &pod(&json!({})));

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
    assert_refused_soon(&mut connect, message);

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice", "--withLabel", "cost-centre=7"]);
    connect.wait_for("All looks good", 30);
}

#[test]
fn where_kernel_settings_are_refused_the_shadow_goes_without_and_the_loss_is_said() {
    let (cluster, laptop) = Laptop::with_cluster("sysctls");
    let settings = json!([{"name": "net.ipv4.ping_group_range", "value": "0 1"}]);
    let rule = "!has(object.spec.securityContext) || !has(object.spec.securityContext.sysctls)";
    let _policy =
        Policy::new(&cluster, rule, "no Sysctls in this namespace", &pod(&json!({"sysctls": settings})));

    let mut connect = laptop.connect(&[]);
    connect.wait_for("The cluster allows no kernel settings in pods: ping will be answered 'unreachable'", 0);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
    assert_eq!(laptop.ping(&cluster.pod_ip("tomcat")), "unreachable", "never faked");
    assert_eq!(connect.interrupt(15).code, 0);

    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "low"}, "spec": {"selector": {"app": "tomcat"},
            "ports": [{"port": 80}]}}"#,
    );
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = laptop.ktctl(&["exchange", "low", "--expose", "8080:80"]);
    exchange.wait_for("no kernel settings in pods: ports below 1024 will not work", 20);
    let ended = exchange.wait(30);
    assert!(ended.code == 1 && ended.text.contains("ports below 1024 need"), "{}", ended.text);
}

fn quota(cluster: &Cluster, hard: &str) {
    cluster.kubectl(&["create", "quota", "mine", &format!("--hard={hard}")]).expect("make a quota");
    let counts = |quota: &Value| quota["status"]["used"].as_object().is_some_and(|used| !used.is_empty());
    e2e::wait_until("the quota counts", REPORTED, || cluster.object("quota/mine").filter(counts));
}

/// The command fails with this text, within 3 s of asking for the pod.
fn assert_refused_soon(command: &mut Running, text: &str) {
    command.wait_for("Deploying shadow pod", 20);
    let asked = Instant::now();
    command.wait_for(text, 20);
    assert!(asked.elapsed() <= SHOWN, "shown after {:?}", asked.elapsed());
    let ended = command.wait(10);
    assert_eq!(ended.code, 1, "{}", ended.text);
}

/// The command says the text within 3 s of the moment when the object with the report could first be
/// seen in the cluster.
fn assert_shown_soon(command: &mut Running, text: &str, report: impl Fn() -> Option<Value>) {
    let (started, mut reported, mut shown) = (Instant::now(), None, None);
    while shown.is_none() || (reported.is_none() && command.is_running()) {
        if shown.is_none() && command.text().contains(text) {
            shown = Some(Instant::now());
        }
        if reported.is_none() && report().is_some() {
            reported = Some(Instant::now());
        }
        let late = reported.is_some_and(|at: Instant| at.elapsed() > SHOWN);
        assert!(shown.is_some() || !late, "not shown {SHOWN:?} after its report:\n{}", command.text());
        assert!(started.elapsed() < REPORTED, "neither reported nor shown:\n{}", command.text());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The shadow of `connect`.
fn shadow(cluster: &Cluster) -> Option<Value> {
    let pods = cluster.object("pods")?;
    let is_shadow = |pod: &&Value| pod["metadata"]["labels"]["kt-role"] == "shadow-connect";
    pods["items"].as_array()?.iter().find(is_shadow).cloned()
}

fn waits(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

/// A condition by which something is wrong.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let bad = if kind == "PodScheduled" { "False" } else { "True" };
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    conditions.find(|one| one["type"] == kind && one["status"] == bad)
}

/// A pod that fits PodSecurity `restricted`, with something more in its security context.
fn pod(more: &Value) -> Value {
    let mut security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    if let (Some(security), Some(more)) = (security.as_object_mut(), more.as_object()) {
        security.extend(more.clone());
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}, "spec": {"securityContext": security,
        "containers": [{"name": "try", "image": "testbed/echo:local", "securityContext":
            {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}})
}
