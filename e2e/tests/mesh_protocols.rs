//! What is not a plain page, on the whole way of `mesh`: a caller on a node, the router, the shadow,
//! and the laptop's own program.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Cluster, Laptop, Running, cache, for_laptops, load_image, peer, wait_until, with_libraries};

/// How long after the ready text a caller may still take the old way.
const NODES: Duration = Duration::from_secs(6);
/// Programs of `e2e/peers` with their ports: who serves, who calls, and what he says when all went well.
const PEERS: [(&str, u16, &str); 3] =
    [("grpc", 9000, "call"), ("websocket", 9001, "talk"), ("events", 9002, "listen")];

#[test]
fn grpc_websockets_and_events_with_the_mark_come_to_the_laptop_and_all_others_to_the_originals() {
    let test = "grpc_websockets_and_events_with_the_mark_come_to_the_laptop_and_all_others_to_the_originals";
    let Some(program) = peer(test, "bin/kt-peers") else { return };
    let (cluster, laptop) = Laptop::with_cluster("speech");
    load_image("kt-e2e/peers:local", &[&format!("{}:/kt-peers", program.display())], &["/kt-peers"]);
    let containers = PEERS.map(|(kind, port, _)| {
        container(kind, "kt-e2e/peers:local", &[kind, &format!(":{port}"), "original"])
    });
    serve(&cluster, "peers", &containers, &PEERS.map(|(_, port, _)| port));
    let on_laptop = for_laptops(&program);
    let _locals = PEERS.map(|(kind, port, _)| {
        let local = laptop.start(&[&on_laptop, kind, &format!("127.0.0.1:{port}"), "laptop"]);
        laptop.run(&[
            "curl",
            "-s",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "0",
            "-m",
            "1",
            "-o",
            "/dev/null",
            &format!("127.0.0.1:{port}"),
        ]);
        local
    });
    let service = cluster.service_ip("peers");

    let _mesh = mesh(&laptop, &["peers", "--expose", "9000,9001,9002", "--versionMark", "mine"]);

    for (_, port, deed) in PEERS {
        let address = format!("{service}:{port}");
        for (mark, name) in [("mine", "laptop"), ("other", "original")] {
            let mut said = String::new();
            wait_until(&format!("{deed} of {mark} reaches the {name}"), NODES, || {
                let ended = cluster.start_on("node1", &[&on_laptop, deed, &address, mark, name]).wait(60);
                said = ended.text;
                (said.contains("good: ") && !said.contains("bad: ") && ended.code == 0).then_some(())
            });
            let cases = if deed == "call" { 10 } else { 1 };
            assert_eq!(said.matches("good: ").count(), cases, "{said}");
        }
    }
}

#[test]
fn a_database_with_and_without_tls_works_through_a_meshed_service() {
    let test = "a_database_with_and_without_tls_works_through_a_meshed_service";
    let Some(redis) = peer(test, "redis") else { return };
    let (cluster, laptop) = Laptop::with_cluster("database");
    load_database("kt-e2e/redis:local", &redis);
    let words = [
        "--port",
        "6379",
        "--tls-port",
        "6380",
        "--tls-cert-file",
        "/cert.pem",
        "--tls-key-file",
        "/key.pem",
        "--tls-auth-clients",
        "no",
        "--save",
        "",
        "--protected-mode",
        "no",
    ];
    serve(&cluster, "database", &[container("redis", "kt-e2e/redis:local", &words)], &[6379, 6380]);
    let _locals = [laptop.serve(6379, "the laptop"), laptop.serve(6380, "the laptop")];
    let service = cluster.service_ip("database");

    let _mesh = mesh(&laptop, &["database", "--expose", "6379,6380", "--versionMark", "mine"]);

    wait_until("the laptop is behind the database's port", NODES, || {
        let marked = cluster.get_with("http://database:6379", Some("VERSION: mine"));
        marked.is_ok_and(|page| page.contains("the laptop")).then_some(())
    });
    let client = |words: &[&str]| {
        let libraries = format!("LD_LIBRARY_PATH={}", redis.join("usr/lib/x86_64-linux-gnu").display());
        let program = redis.join("usr/bin/redis-cli").display().to_string();
        cluster
            .start_on("node1", &[&["env", &libraries, &program, "-h", &service], words].concat())
            .wait(20)
            .ok()
    };
    let tls = ["-p", "6380", "--tls", "--insecure"];
    let big = "x".repeat(50_000);
    assert_eq!(client(&["-p", "6379", "set", "plain", &big]), "OK");
    assert_eq!(client(&[&tls[..], &["get", "plain"]].concat()), big);
    assert_eq!(client(&[&tls[..], &["incrby", "sum", "40"]].concat()), "40");
    assert_eq!(client(&["-p", "6379", "incrby", "sum", "2"]), "42");
    assert!(client(&["-p", "6379", "info", "server"]).contains("redis_version:"));
}

/// An image with the server, its libraries, and a certificate that it made up itself.
fn load_database(image: &str, redis: &Path) {
    let scratch = cache().join(format!("ktctl/cert-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a folder");
    let (cert, key) = (scratch.join("cert.pem"), scratch.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=database",
            "-days",
            "2",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .expect("run openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = redis.join("usr/bin/redis-check-rdb"); // by its other name
    let mut files = with_libraries(&server, "/redis-server", &redis.join("usr/lib/x86_64-linux-gnu"));
    files.extend(
        [(&cert, "/cert.pem"), (&key, "/key.pem")].map(|(here, there)| format!("{}:{there}", here.display())),
    );
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    load_image(image, &files, &["/redis-server"]);
    std::fs::remove_dir_all(scratch).expect("the folder");
}

fn container(name: &str, image: &str, words: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "name": name, "image": image, "imagePullPolicy": "Never", "args": words,
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
    })
}

/// A pod with these containers behind a service with these ports; returns when each is open.
fn serve(cluster: &Cluster, name: &str, containers: &[serde_json::Value], ports: &[u16]) {
    let labels = serde_json::json!({ "app": name });
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0, "containers": containers,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    let listed: Vec<_> =
        ports.iter().map(|port| serde_json::json!({"name": format!("p{port}"), "port": port})).collect();
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": labels, "ports": listed},
    });
    cluster.apply(&format!("{pod}\n---\n{service}"));
    cluster
        .kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])
        .expect("ready");
    let address = cluster.service_ip(name);
    for port in ports {
        let open = format!("exec 3<>/dev/tcp/{address}/{port}");
        wait_until(&format!("{name}:{port} is open"), Duration::from_secs(20), || {
            (cluster.start_on("node1", &["timeout", "2", "bash", "-c", &open]).wait(10).code == 0)
                .then_some(())
        });
    }
}

fn mesh(laptop: &Laptop, words: &[&str]) -> Running {
    let mut mesh = laptop.ktctl(&[&["mesh"], words].concat());
    mesh.wait_for("Now you can", 40);
    mesh
}
