use std::time::Duration;

use super::*;
use crate::shadow::ShadowPort;

fn pod(containers: Value, ephemeral: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "echo-1", "uid": "u"},
        "spec": {"containers": containers, "ephemeralContainers": ephemeral},
        "status": {"hostIP": "198.18.0.1", "hostIPs": [{"ip": "198.18.0.1"}, {"ip": "fd00::1"}]},
    }))
    .unwrap()
}

fn wanted() -> Wanted {
    Wanted {
        image: "shadow:1".into(),
        force_update: false,
        user: "ann".into(),
        host: "desk".into(),
        ports: vec![ShadowPort { name: "kt-8080".into(), number: 8080, protocol: "TCP".into() }],
        creation_timeout: Duration::from_secs(1),
    }
}

fn added_to(pod: &Pod) -> (Added, Value) {
    let (added, patch) = patch(pod, &wanted());
    (added, patch["spec"]["ephemeralContainers"][0].clone())
}

#[test]
fn the_container_may_change_the_network_and_nothing_else() {
    let (added, container) = added_to(&pod(json!([{"name": "echo"}]), json!(null)));

    assert_eq!(
        (added.pod.as_str(), added.uid.as_str(), added.container.as_str()),
        ("echo-1", "u", "kt-exchange")
    );
    assert_eq!(container["name"], "kt-exchange");
    assert_eq!(container["args"], json!(["--port", added.port.to_string(), "--redirect"]));
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}));
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(
        container["env"],
        json!([{"name": "KT_USER", "value": "ann"}, {"name": "KT_HOST", "value": "desk"}])
    );
}

#[test]
fn a_name_that_is_taken_gets_some_letters() {
    let (added, _) = added_to(&pod(json!([{"name": "echo"}]), json!([{"name": "kt-exchange"}])));

    assert!(
        added.container.starts_with("kt-exchange-") && added.container.len() == 17,
        "{}",
        added.container
    );
}

#[test]
fn the_probes_of_the_node_are_told() {
    let told = |container: Value| {
        let (_, added) = added_to(&pod(json!([container]), json!(null)));
        added["args"].as_array().unwrap()[3..].to_vec()
    };
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    let probed = |port: u16| vec![json!("--node=198.18.0.1,fd00::1"), json!(format!("--probed={port}"))];

    let by_number = json!({"name": "e", "readinessProbe": {"httpGet": {"port": 8080}}});
    let by_name = json!({"name": "e", "ports": ports, "livenessProbe": {"tcpSocket": {"port": "http"}}});
    let at_the_end = json!({"name": "e", "lifecycle": {"preStop": {"httpGet": {"port": 8081}}}});
    let at_the_begin = json!({"name": "e", "startupProbe": {"grpc": {"port": 9000}}});
    let by_command = json!({"name": "e", "readinessProbe": {"exec": {"command": ["true"]}}});
    assert_eq!(told(by_number), probed(8080));
    assert_eq!(told(by_name), probed(8080));
    assert_eq!(told(at_the_end), probed(8081));
    assert_eq!(told(at_the_begin), probed(9000));
    assert_eq!(told(by_command), [json!(null); 0]);
}

#[test]
fn the_port_for_laptops_is_none_of_the_pods() {
    let all: Vec<Value> = (20_000..29_999).map(|port| json!({"containerPort": port})).collect();

    let (added, _) = added_to(&pod(json!([{"name": "echo", "ports": all}]), json!(null)));

    assert_eq!(added.port, 29_999);
}
