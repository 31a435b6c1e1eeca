//! `--envFile`: the local program gets the environment of the one that it stands in for.

use e2e::{Cluster, LOCAL, Laptop, Running};

const FILE: &str = "app.env";

#[test]
fn the_local_program_gets_what_may_be_read_and_the_rest_is_named() {
    let (cluster, laptop) = bed("env");
    let _local = laptop.serve(8080, LOCAL);
    cluster.apply(include_str!("../../docs/rbac/exchange-scale.yaml"));
    let bind = ["create", "rolebinding", "scale", "--role=ktctl-exchange-scale", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let lines: [&[&str]; 4] = [
        &["exchange", "tomcat", "--expose", "8080"],
        &["mesh", "tomcat", "--expose", "8080"],
        &["mesh", "tomcat", "--expose", "8080", "--mode", "manual"],
        &["exchange", "tomcat", "--expose", "8080", "--mode", "scale"],
    ];
    for line in lines {
        let pod = cluster.pod_ip("tomcat");
        let mut run = start(&laptop, line);

        let said = run.text();
        assert!(said.contains("missing are PASSWORD (key password of secret db"), "{said}");
        assert!(said.contains("the right to get secrets in namespace"), "{said}");
        assert_eq!(laptop.run(&["stat", "-c", "%a %U", FILE]).ok().trim(), format!("600 {}", laptop.user()));
        let heard = sourced(&laptop, r#"echo "$MODE|$GREETING|$URL|$IP|$PASSWORD|""#);
        assert_eq!(heard, format!("dev|it's a $dollar; and more|http://dev.example/|{pod}||"), "{line:?}");
        let text = laptop.run(&["cat", FILE]).ok();
        assert!(text.contains("# PASSWORD is not known, key password of secret db"), "{text}");
        assert_eq!(run.interrupt(60).code, 0, "{line:?}");
        assert_ne!(laptop.run(&["stat", FILE]).code, 0, "the file stays: {line:?}");
    }
}

#[test]
fn secrets_are_read_where_that_is_granted() {
    let (cluster, laptop) = bed("envsecret");
    let grant = ["create", "role", "secrets", "--verb=get", "--resource=secrets", "--resource-name=db"];
    cluster.kubectl(&grant).expect("make the role");
    let bind = ["create", "rolebinding", "secrets", "--role=secrets", "--user=developer"];
    cluster.kubectl(&bind).expect("bind the role");
    let _local = laptop.serve(8080, LOCAL);

    let mut run = start(&laptop, &["exchange", "tomcat", "--expose", "8080"]);

    assert!(!run.text().contains("can be read, missing"), "{}", run.text());
    assert_eq!(sourced(&laptop, r#"echo "$PASSWORD""#), "s3cr'et");
    assert_eq!(run.interrupt(20).code, 0);
}

#[test]
fn a_file_of_the_user_is_not_touched_and_one_of_a_dead_run_goes_with_the_next_start() {
    let (cluster, laptop) = bed("envfile");
    let _local = laptop.serve(8080, LOCAL);
    let before = cluster.snapshot();
    laptop.run(&["bash", "-c", "echo MINE=1 > app.env"]).ok();
    let line = ["exchange", "tomcat", "--expose", "8080", "--envFile", FILE];

    let refused = laptop.ktctl(&line).wait(20);

    assert_eq!(refused.code, 1, "{}", refused.text);
    assert!(refused.text.contains("was not made by ktctl"), "{}", refused.text);
    assert_eq!(laptop.run(&["cat", FILE]).ok().trim(), "MINE=1");
    cluster.snapshot().assert_as(&before);
    laptop.run(&["rm", FILE]).ok();
    let _killed = start(&laptop, &["exchange", "tomcat", "--expose", "8080"]);
    for process in laptop.processes("ktctl") {
        laptop.kill9(&process);
    }
    assert!(laptop.run(&["cat", FILE]).ok().contains("MODE=dev"));
    let mut next = laptop.ktctl(&["connect", "--disableTunDevice"]);
    next.wait_for("All looks good", 40);
    assert_ne!(laptop.run(&["stat", FILE]).code, 0, "the file of the dead run stays");
    assert_eq!(next.interrupt(20).code, 0);
}

fn start(laptop: &Laptop, line: &[&str]) -> Running {
    let mut run = laptop.ktctl(&[line, &["--envFile", FILE]].concat());
    run.wait_for("Environment of container tomcat written to app.env", 30);
    run.wait_for("Now ", 40);
    run
}

/// What a shell that has read the file says to a command.
fn sourced(laptop: &Laptop, command: &str) -> String {
    laptop.run(&["bash", "-c", &format!("set -a; . ./{FILE}; {command}")]).ok().trim().to_owned()
}

/// A namespace whose sample has an environment of every kind, and a plain laptop.
fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let map = ["create", "configmap", "app", "--from-literal=MODE=dev", "--from-literal=OTHER=x"];
    cluster.kubectl(&map).expect("config map");
    cluster
        .kubectl(&["create", "secret", "generic", "db", "--from-literal=password=s3cr'et"])
        .expect("secret");
    cluster
        .kubectl(&["patch", "deployment", "tomcat", "-p", ENVIRONMENT])
        .expect("give the sample an environment");
    cluster.wait_ready("tomcat");
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}

const ENVIRONMENT: &str = r#"{"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null},
    "template": {"spec": {"containers": [{"name": "tomcat",
    "envFrom": [{"configMapRef": {"name": "app"}}, {"configMapRef": {"name": "nobody", "optional": true}}],
    "env": [
        {"name": "GREETING", "value": "it's a $dollar; and more"},
        {"name": "URL", "value": "http://$(MODE).example/"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    ]}]}}}}"#;
