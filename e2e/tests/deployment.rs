//! `--useShadowDeployment` and `run`: the shadow is a Deployment, which goes with the command.

use std::time::Duration;

use e2e::{Cluster, DEMO, LOCAL, Laptop, Process, Snapshot, wait_until};
use serde_json::Value;

const URL: &str = "http://tomcat:8080";
/// How long each node may take to learn who stands behind a service, in seconds.
const NODES: u64 = 6;
const EXCHANGED: &str = "will be redirected to local";

/// Command lines, what they say when they are ready, and the role of their shadow.
const COMMANDS: [(&[&str], &str, &str); 6] = [
    (&["connect", "--disableTunDevice"], "All looks good", "shadow-connect"),
    (&["exchange", "tomcat", "--expose", "8080"], EXCHANGED, "shadow-exchange"),
    (&["exchange", "tomcat", "--expose", "8080", "--mode", "scale"], EXCHANGED, "shadow-exchange"),
    (&["mesh", "tomcat", "--expose", "8080"], "by header 'VERSION", "shadow-mesh"),
    (&["mesh", "tomcat", "--expose", "8080", "--mode", "manual"], "Istio rule", "shadow-mesh"),
    (&["preview", "mine", "--expose", "8080"], "by name 'mine'", "shadow-preview"),
];

// covers: 7-14
#[test]
fn every_command_wraps_its_shadow_in_a_deployment_and_removes_it() {
    let (cluster, laptop) = bed("wrapped");
    let _local = laptop.serve(8080, LOCAL);
    let before = pictured(&cluster);

    for (line, ready, role) in COMMANDS {
        let mut run = laptop.ktctl(&[&["--useShadowDeployment"], line].concat());
        run.wait_for(ready, 60);

        let shadows = shadows(&cluster);
        let [shadow] = &shadows[..] else { panic!("{line:?}: {shadows:?}") };
        assert_eq!(shadow["metadata"]["labels"]["kt-role"], role, "{line:?}");
        assert_eq!(shadow["status"]["readyReplicas"], 1, "{line:?}");
        assert_eq!(run.interrupt(60).code, 0, "{line:?}: {}", run.text());
        cluster.wait_for_answer(URL, DEMO, 10);
        Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
    }
}

#[test]
fn a_pod_that_is_lost_is_made_anew_by_its_deployment() {
    for (line, ready, url) in [
        (&["exchange", "tomcat", "--expose", "8080"][..], EXCHANGED, URL),
        (&["preview", "mine", "--expose", "8080"][..], "by name 'mine'", "http://mine:8080"),
    ] {
        let (cluster, laptop) = bed(&format!("again{}", line[0]));
        let _local = laptop.serve(8080, LOCAL);
        let before = pictured(&cluster);
        let mut run = laptop.ktctl(&[&["--useShadowDeployment"], line].concat());
        run.wait_for(ready, 60);
        let deployment = name(&shadows(&cluster)[0]);

        cluster.kubectl(&["delete", "pod", "-l", "kt-target", "--wait=false"]).expect("delete the pod");

        run.wait_for("connection restored", 40);
        cluster.wait_for_answer(url, LOCAL, NODES);
        let shadows = shadows(&cluster);
        assert_eq!(shadows.iter().map(name).collect::<Vec<_>>(), [deployment]);
        assert_eq!(run.interrupt(30).code, 0);
        Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
    }
}

// covers: 1-16
#[test]
fn by_scale_the_deployment_has_no_pods_and_one_of_its_name_stands_in() {
    let (cluster, laptop) = bed("lookscale");
    let _local = laptop.serve(8088, LOCAL);
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": {"selector": {"app": "tomcat"},
            "ports": [{"port": 80, "targetPort": 8080}]}}"#,
    );
    cluster.wait_for_answer("http://front", DEMO, 15);
    let line = [
        "--useShadowDeployment",
        "exchange",
        "deployment/tomcat",
        "--mode",
        "scale",
        "--expose",
        "8088:8080",
    ];

    let mut exchange = laptop.ktctl(&line);
    exchange.wait_for(EXCHANGED, 60);

    cluster.wait_for_answer("http://front", LOCAL, NODES);
    let listed = cluster.kubectl(&["get", "deployments"]).expect("deployments");
    let row = |start: &str| listed.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(row("tomcat ").is_some_and(|row| row.contains("0/0")), "{listed}");
    assert!(row("tomcat-kt-exchange-").is_some_and(|row| row.contains("1/1")), "{listed}");
    assert_eq!(exchange.interrupt(60).code, 0);
    let deployment = cluster.object("deployment/tomcat").expect("the deployment");
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    assert!(shadows(&cluster).is_empty());
    cluster.wait_for_answer("http://front", DEMO, NODES);
}

// covers: 1-15, 1-14
#[test]
fn the_first_line_of_an_old_article_works_as_typed() {
    let (cluster, laptop) = bed("feiyan");
    cluster.apply(
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kk-feiyan"}, "spec": {"selector": {"app": "tomcat"},
            "ports": [{"port": 80, "targetPort": 8088}]}}"#,
    );
    let mut python = laptop.start(&["python3", "-um", "http.server", "8088"]);
    python.wait_for("Serving HTTP", 10);

    let mut exchange = laptop.ktctl(&["exchange", "kk-feiyan", "--expose", "8088"]);

    exchange.wait_for("Now all request to service 'kk-feiyan' will be redirected to local", 40);
    cluster.wait_for_answer("http://kk-feiyan", "Directory listing for /", NODES);
    assert_eq!(exchange.interrupt(20).code, 0);
}

// covers: 1-19, 1-20, 1-21
#[test]
fn run_has_its_old_look_a_deployment_of_the_services_name() {
    let (cluster, laptop) = bed("run");
    let _local = laptop.serve(8088, LOCAL);
    let before = pictured(&cluster);

    let mut run = laptop.ktctl(&["run", "localservice", "--port", "8088", "--expose"]);

    run.wait_for("Now you can access your local service in cluster by name 'localservice'", 60);
    run.wait_for("'run' is deprecated, use 'preview'", 0);
    let deployment = cluster.object("deployment/localservice").expect("the deployment of the article");
    assert_eq!(deployment["status"]["readyReplicas"], 1);
    let service = cluster.object("service/localservice").expect("the service");
    assert_eq!(service["spec"]["ports"][0]["port"], 8088);
    cluster.wait_for_answer("http://localservice:8088", LOCAL, NODES);
    assert_eq!(run.interrupt(30).code, 0);
    Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
}

#[test]
fn run_without_expose_makes_no_service() {
    let (cluster, laptop) = bed("runbare");
    let _local = laptop.serve(8088, LOCAL);
    let before = pictured(&cluster);

    let mut run = laptop.ktctl(&["run", "localservice", "--port", "8088"]);

    let ready = run.wait_for("Now you can access your local program in cluster by deployment", 60);
    let address = ready.rsplit(' ').next().expect("an address");
    cluster.wait_for_answer(&format!("http://{address}"), LOCAL, NODES);
    assert!(cluster.object("service/localservice").is_none());
    assert_eq!(run.interrupt(30).code, 0);
    Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
}

#[test]
fn run_touches_nothing_that_has_the_name_already() {
    let (cluster, laptop) = bed("runtaken");
    cluster.kubectl(&["create", "configmap", "mine", "--from-literal=a=b"]).expect("config map");
    let before = cluster.snapshot();

    for name in ["tomcat", "mine"] {
        let line = ["run", name, "--port", "8088", "--skipPortChecking"];
        let refused = laptop.ktctl(&line).wait(20);
        assert_eq!(refused.code, 1, "{name}: {}", refused.text);
        assert!(refused.text.contains("already exists"), "{name}: {}", refused.text);
    }
    let missing = laptop.ktctl(&["run", "localservice", "--expose"]).wait(10);
    assert_eq!(missing.code, 2, "{}", missing.text);
    assert!(missing.text.contains("--port is required"), "{}", missing.text);
    cluster.snapshot().assert_as(&before);
}

#[test]
fn after_a_kill_recover_by_somebody_else_removes_the_deployment() {
    for (index, mode) in ["selector", "scale"].into_iter().enumerate() {
        let (cluster, owner) = bed(&format!("deprec{index}"));
        let Some(other) = Laptop::lease_another("deprec", &cluster) else { return };
        let _local = owner.serve(8080, LOCAL);
        let before = pictured(&cluster);
        let line = ["--useShadowDeployment", "exchange", "tomcat", "--expose", "8080", "--mode", mode];
        let mut killed = owner.ktctl(&line);
        killed.wait_for(EXCHANGED, 60);
        kill(&owner);

        let recover = other.ktctl(&["recover", "tomcat"]).wait(30);

        assert_eq!(recover.code, 0, "{mode}: {}", recover.text);
        cluster.wait_for_answer(URL, DEMO, 20);
        Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
        // What the killed run has noted on its laptop is not there any more.
        assert_eq!(owner.ktctl(&["clean"]).wait(40).code, 0);
    }
}

#[test]
fn after_a_kill_clean_and_the_next_start_remove_the_deployment() {
    let (cluster, laptop) = bed("depclean");
    let _local = laptop.serve(8080, LOCAL);
    let before = pictured(&cluster);
    let line = ["--useShadowDeployment", "exchange", "tomcat", "--expose", "8080"];

    for is_clean in [true, false] {
        let _killed = {
            let mut exchange = laptop.ktctl(&line);
            exchange.wait_for(EXCHANGED, 60);
            kill(&laptop);
            exchange
        };

        let ended = if is_clean { laptop.ktctl(&["clean"]).wait(30) } else { next_start(&laptop) };

        assert_eq!(ended.code, 0, "clean: {is_clean}: {}", ended.text);
        cluster.wait_for_answer(URL, DEMO, 20);
        Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
    }
}

#[test]
fn a_deployment_without_a_sign_of_life_goes_at_somebody_elses_clean() {
    let (cluster, owner) = bed("depstale");
    let Some(other) = Laptop::lease_another("depstale", &cluster) else { return };
    let before = pictured(&cluster);
    let _local = owner.serve(8080, LOCAL);
    let line = ["--useShadowDeployment", "exchange", "tomcat", "--expose", "8080", "--mode", "scale"];
    let _killed = {
        let mut exchange = owner.ktctl(&line);
        exchange.wait_for(EXCHANGED, 60);
        let living = other.ktctl(&["clean"]).wait(30);
        assert!(living.text.contains("No unavailing kt resource found"), "{}", living.text);
        kill(&owner);
        exchange
    };
    let shadow = format!("deployment/{}", name(&shadows(&cluster)[0]));
    let long_ago = "kt-last-heart-beat=1700000000";
    cluster.kubectl(&["annotate", "--overwrite", &shadow, long_ago]).expect("annotate");
    let maps = ["annotate", "--overwrite", "configmaps", "-l", "control-by=kt", long_ago];
    cluster.kubectl(&maps).expect("annotate");

    let clean = other.ktctl(&["clean"]).wait(30);

    assert_eq!(clean.code, 0, "{}", clean.text);
    assert!(clean.text.contains("tomcat -> 1"), "{}", clean.text);
    assert!(clean.text.contains("Deleting 1 unavailing kt deployments"), "{}", clean.text);
    Snapshot::wait_until_as(&before, 20, || pictured(&cluster));
    // What the killed run has noted on its laptop is not there any more.
    assert_eq!(owner.ktctl(&["clean"]).wait(40).code, 0);
}

#[test]
fn a_right_that_is_missing_for_the_deployment_is_named_and_nothing_stays() {
    let (cluster, laptop) = bed("depright");
    cluster.kubectl(&["delete", "rolebinding", "deployment"]).expect("unbind");
    cluster.kubectl(&["delete", "rolebinding", "scale"]).expect("unbind");
    let before = pictured(&cluster);
    let line = ["--useShadowDeployment", "exchange", "tomcat", "--expose", "8080", "--skipPortChecking"];

    let ended = laptop.ktctl(&line).wait(20);

    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("the right to create deployments.apps"), "{}", ended.text);
    assert!(ended.text.contains("docs/rbac/use-shadow-deployment.yaml"), "{}", ended.text);
    Snapshot::wait_until_as(&before, 5, || pictured(&cluster));
}

fn next_start(laptop: &Laptop) -> e2e::Ended {
    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
    connect.wait_for("All looks good", 40);
    connect.interrupt(20)
}

/// The Deployments that are shadows.
fn shadows(cluster: &Cluster) -> Vec<Value> {
    let list = cluster.kubectl(&["get", "deployments", "-l", "control-by=kt", "-o", "json"]).expect("list");
    let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    list["items"].as_array().cloned().unwrap_or_default()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// But for the names of pods: scaled back, there are others.
fn pictured(cluster: &Cluster) -> Snapshot {
    let left = ["get", "all,configmaps", "-l", "kt-role", "-o", "name"];
    wait_until("nothing of ours is left", Duration::from_secs(20), || {
        cluster.kubectl(&left).ok().filter(|left| left.trim().is_empty())
    });
    cluster.snapshot().without(&["objects"])
}

fn kill(laptop: &Laptop) {
    let runs: Vec<Process> = laptop.processes("ktctl");
    assert!(!runs.is_empty());
    for run in runs {
        laptop.kill9(&run);
    }
}

/// A namespace whose user may make deployments and scale, and a plain laptop whose user works in it.
fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    cluster.apply(include_str!("../../docs/rbac/use-shadow-deployment.yaml"));
    cluster.apply(include_str!("../../docs/rbac/exchange-scale.yaml"));
    for (name, role) in [("deployment", "ktctl-use-shadow-deployment"), ("scale", "ktctl-exchange-scale")] {
        let role = format!("--role={role}");
        cluster.kubectl(&["create", "rolebinding", name, &role, "--user=developer"]).expect("bind the role");
    }
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}
