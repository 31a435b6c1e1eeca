//! Names of services and of their ports that leave little room for ours.

use std::time::Duration;

use e2e::{DEMO, LOCAL, Laptop, Snapshot, wait_until};

#[test]
fn who_meshes_a_service_with_a_very_long_name_is_named_and_recovered() {
    let (cluster, laptop) = Laptop::with_cluster("longname");
    let name = "a".repeat(60);
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{selector: {{app: tomcat}}, ports: [{{port: 8080}}]}}}}"
    );
    cluster.apply(&service);
    let url = format!("http://{name}:8080");
    cluster.wait_for_answer(&url, DEMO, 15);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut mesh = laptop.ktctl(&["mesh", &name, "--expose", "8080", "--versionMark", "mine"]);
    mesh.wait_for("by header 'VERSION: mine'", 40);
    wait_until("the marked call comes here", Duration::from_secs(10), || {
        cluster.get_with(&url, Some("VERSION: mine")).is_ok_and(|page| page.contains(LOCAL)).then_some(())
    });

    let seen = laptop.ktctl(&["birdseye"]).wait(20).ok();
    let refused = laptop.ktctl(&["exchange", &name, "--expose", "8080"]).wait(20);
    let runs = laptop.processes("ktctl");
    assert_eq!(runs.len(), 1, "{runs:?}");
    laptop.kill9(&runs[0]);
    let recovered = laptop.ktctl(&["recover", &name]).wait(30);

    let user = laptop.user();
    assert!(seen.contains(&format!("> {name} - meshed (auto) by [{user}]")), "{seen}");
    assert!(refused.text.contains(&format!("ask {user} to end it")), "{}", refused.text);
    assert_eq!(recovered.code, 0, "{}", recovered.text);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

/// Two containers, each with a port called `dns`, which one of them serves.
const ALIKE: &str = r#"{"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null},
    "template": {"spec": {"containers": [
    {"name": "tomcat", "ports": [{"name": "dns", "containerPort": 7000}]},
    {"name": "more", "image": "testbed/echo:local", "imagePullPolicy": "Never",
     "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
     "env": [{"name": "LISTEN_HTTP", "value": "127.0.0.1:8082"}, {"name": "LISTEN_RAW", "value": "127.0.0.1:7002"}],
     "ports": [{"name": "dns", "containerPort": 7000, "protocol": "UDP"}]}]}}}}"#;

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: dns}, spec: {selector: {app: tomcat}, ports: [\
    {name: tcp, port: 53, targetPort: dns}, {name: udp, port: 53, protocol: UDP, targetPort: dns}]}}";

#[test]
fn a_service_whose_target_ports_have_one_name_is_exchanged_and_meshed() {
    let (cluster, laptop) = Laptop::with_cluster("alike");
    cluster.kubectl(&["patch", "deployment", "tomcat", "-p", ALIKE]).expect("patch");
    cluster.wait_ready("tomcat");
    cluster.apply(SERVICE);
    for network in ["tcp", "udp"] {
        cluster.wait_for_line(network, "dns:53", "tomcat-", 15);
    }
    let _local = laptop.serve_lines(7000);

    for (line, ready, who) in [
        ("exchange dns --expose 7000:53,7000:53/udp", "will be redirected to local", laptop.name()),
        ("mesh dns --expose 7000:53", "Now you can access", "tomcat-"),
    ] {
        let mut run = laptop.ktctl(&line.split(' ').collect::<Vec<_>>());
        run.wait_for(ready, 40);

        let said = run.text();
        assert!(said.contains("port 53/UDP of service dns has a target port called 'dns'"), "{said}");
        cluster.wait_for_line("tcp", "dns:53", who, 10);
        assert_eq!(run.interrupt(20).code, 0, "{line}");
        for network in ["tcp", "udp"] {
            cluster.wait_for_line(network, "dns:53", "tomcat-", 10);
        }
    }
}
