//! What `exchange --mode ephemeral` can not do: each is named with its cause and a way out, and no pod
//! is touched.

use e2e::{Cluster, Ended, Laptop, load_program_as, skip};

const ROLE: &str = include_str!("../../docs/rbac/exchange-ephemeral.yaml");
const SELECTOR: &str = "--mode selector";

#[test]
fn without_the_right_the_role_is_named() {
    let (cluster, laptop) = bed("noright", Cluster::lax);

    let ended = refused(&cluster, &laptop, &["tomcat", "--image", "any:1"], 1);

    assert_says(
        &ended,
        &["the right to patch pods/ephemeralcontainers", "docs/rbac/exchange-ephemeral.yaml", SELECTOR],
    );
}

#[test]
fn a_namespace_that_does_not_allow_it_is_told_in_its_words() {
    let (cluster, laptop) = bed("strict", Cluster::new);
    cluster.grant(ROLE);

    let ended = refused(&cluster, &laptop, &["tomcat", "--image", "any:1"], 1);

    let why = ["NET_ADMIN is not allowed in pod 'tomcat-", "violates PodSecurity \"restricted"];
    assert_says(&ended, &[why[0], why[1], SELECTOR]);
}

#[test]
fn an_image_is_asked_for_and_the_other_mode_is_named() {
    let (cluster, laptop) = bed("noimage", Cluster::lax);

    let ended = refused(&cluster, &laptop, &["tomcat"], 2);

    assert_says(&ended, &["needs an image", "--image", SELECTOR]);
}

#[test]
fn targets_that_are_not_there_are_named() {
    let (cluster, laptop) = bed("notarget", Cluster::lax);
    cluster.grant(ROLE);

    let pod = refused(&cluster, &laptop, &["pod/none", "--image", "any:1"], 1);
    assert_says(&pod, &["pod 'none' does not exist", "kubectl get pods"]);
    let service = refused(&cluster, &laptop, &["none", "--image", "any:1"], 1);
    assert_says(&service, &["neither a service nor a deployment 'none' exists"]);
    let mode = laptop.ktctl(&["exchange", "pod/caller", "--expose", "8080"]).wait(20);
    assert_eq!(mode.code, 2, "{}", mode.text);
    assert_says(&mode, &["'pod/caller' is a target for --mode ephemeral only"]);
    cluster.kubectl(&["scale", "deployment", "tomcat", "--replicas=0"]).expect("scale");
    cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=tomcat", "--timeout=30s"]).expect("they end");
    let nobody = refused(&cluster, &laptop, &["tomcat", "--image", "any:1"], 1);
    assert_says(&nobody, &["no pod of service 'tomcat' runs", SELECTOR]);
}

#[test]
fn a_pod_in_the_network_of_its_node_is_left_alone() {
    let (cluster, laptop) = bed("nodenet", Cluster::lax);
    cluster.grant(ROLE);
    let spec = r#"{"spec": {"hostNetwork": true, "containers": [{"name": "wide", "image": "testbed/echo:local",
        "env": [{"name": "LISTEN_HTTP", "value": "127.0.0.1:0"}, {"name": "LISTEN_RAW", "value": "127.0.0.1:0"}]}]}}"#;
    let run = ["run", "wide", "--image=testbed/echo:local", "--restart=Never", "--overrides", spec];
    cluster.kubectl(&run).expect("start a pod");
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/wide", "--timeout=60s"]).expect("it runs");

    let ended = refused(&cluster, &laptop, &["pod/wide", "--image", "any:1"], 1);

    assert_says(&ended, &["pod 'wide' uses the network of its node", SELECTOR]);
}

#[test]
fn an_image_that_can_not_be_pulled_is_told_and_only_one_pod_has_seen_it() {
    let (cluster, laptop) = bed("badimage", Cluster::lax);
    cluster.grant(ROLE);
    cluster.kubectl(&["scale", "deployment", "tomcat", "--replicas=2"]).expect("scale");
    cluster.wait_ready("tomcat");

    let line = ["exchange", "--mode", "ephemeral", "tomcat", "--expose", "8080", "--skipPortChecking"];
    let ended = laptop.ktctl(&[&line[..], &["--image", "127.0.0.1:9/none:1"]].concat()).wait(20);

    assert_eq!(ended.code, 1, "{}", ended.text);
    assert_says(
        &ended,
        &["image 127.0.0.1:9/none:1 can not be pulled", "check --image", "stays listed in pod "],
    );
    let added = "jsonpath={.items[*].spec.ephemeralContainers[*].name}";
    let added = cluster.kubectl(&["get", "pods", "-l", "app=tomcat", "-o", added]).expect("pods");
    assert_eq!(added, "kt-exchange");
}

#[test]
fn an_image_that_holds_another_program_is_named() {
    let (cluster, laptop) = bed("otherimage", Cluster::lax);
    cluster.grant(ROLE);

    let line = ["exchange", "--mode", "ephemeral", "tomcat", "--expose", "8080", "--skipPortChecking"];
    let ended = laptop.ktctl(&[&line[..], &["--image", "testbed/echo:local"]].concat()).wait(30);

    assert_eq!(ended.code, 1, "{}", ended.text);
    assert_says(
        &ended,
        &["image testbed/echo:local does not contain a matching shadow", "stays listed in pod "],
    );
}

#[test]
fn a_second_user_is_told_who_is_there_and_the_first_goes_on() {
    const IMAGE: &str = "kt-connect-shadow:second";
    if !load_program_as("shadow", IMAGE) {
        return skip("second", "there is no program for pods: run `make build`");
    }
    let (cluster, first) = bed("second", Cluster::lax);
    let Some(second) = Laptop::lease_another("second", &cluster) else { return };
    cluster.grant(ROLE);
    let line = [
        "exchange",
        "--mode",
        "ephemeral",
        "tomcat",
        "--expose",
        "8080",
        "--skipPortChecking",
        "--image",
        IMAGE,
    ];
    let mut exchange = first.ktctl(&line);
    exchange.wait_for("will be redirected to local", 60);

    let refused = refused(&cluster, &second, &["tomcat", "--image", IMAGE], 1);
    let said = format!("is already exchanging by another user ({}@", first.user());
    assert_says(&refused, &["pod 'tomcat-", &said, &format!("ask {} to end it", first.user())]);
    let twice = first.ktctl(&line).wait(20);
    assert_eq!(twice.code, 1, "{}", twice.text);
    assert_says(&twice, &["is exchanged by another ktctl of yours", "end that one first"]);

    assert!(exchange.is_running());
    assert_eq!(exchange.interrupt(20).code, 0);
    let mut next = second.ktctl(&line);
    next.wait_for("will be redirected to local", 60);
    assert_eq!(next.interrupt(20).code, 0);
}

/// The line ends with this code, and all pods are as they were.
fn refused(cluster: &Cluster, laptop: &Laptop, args: &[&str], code: i32) -> Ended {
    let line = ["exchange", "--mode", "ephemeral", "--expose", "8080", "--skipPortChecking"];
    let specs = || cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec}"]).expect("pods");
    let before = (cluster.snapshot(), specs());

    let ended = laptop.ktctl(&[&line[..], args].concat()).wait(20);

    assert_eq!(ended.code, code, "{}", ended.text);
    cluster.snapshot().assert_as(&before.0);
    assert_eq!(specs(), before.1);
    ended
}

fn assert_says(ended: &Ended, all: &[&str]) {
    for text in all {
        assert!(ended.text.contains(text), "{text:?} is not said: {}", ended.text);
    }
}

fn bed(name: &str, namespace: fn(&str) -> Cluster) -> (Cluster, Laptop) {
    let cluster = namespace(name);
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}
