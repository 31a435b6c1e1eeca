//! Ways to the API server: through the company's proxy, behind a path prefix, and slow ones; and one
//! that refuses for a while.

use e2e::{Cluster, DEMO, Kind, LOCAL, Laptop, Policy, Running, Snapshot};

/// The office's proxy, which knows `CONNECT`.
const PROXY: &str = "http://198.18.0.250:3128";
/// The API server by the name that its certificate has, too.
const SERVER: &str = "https://api.corp.example:6443";
/// Ranges around the API server and the proxy, which must not get into the tunnel themselves.
const AROUND: &str = "198.18.0.0/29,198.18.0.248/29";

#[test]
fn a_slow_way_to_the_api_server_makes_a_start_slow_and_nothing_else() {
    let (cluster, laptop) = Laptop::with_cluster("slowway");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let slow = laptop.slow_link(&["--delay", "300ms"]);

    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 60);

    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    assert_eq!(exchange.interrupt(60).code, 0);
    drop(slow);
    Snapshot::wait_until_as(&before, 15, || cluster.snapshot());
}

#[test]
fn a_service_that_could_not_be_redirected_again_is_when_the_cluster_lets_us() {
    let (cluster, laptop) = Laptop::with_cluster("refused");
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 30);
    let patch = |options: &[&str], role: &str| {
        let text = format!(
            r#"{{"spec": {{"selector": {{"app": "tomcat", "kt-role": {role}, "kt-target": null}}}}}}"#
        );
        let line = ["patch", "service", "tomcat", "--type=merge", "-p", &text];
        cluster.kubectl(&[&line, options].concat()).map(drop)
    };
    let rule = "request.userInfo.username != 'developer' || !('kt-role' in object.spec.selector)";
    let asked = || patch(&["--as", "developer", "--dry-run=server"], r#""else""#);
    let refusing = Policy::on(&cluster, ("UPDATE", "services"), rule, "not on Fridays", asked);

    patch(&[], "null").expect("apply the service anew");
    exchange.wait_for("not on Fridays", 30);
    drop(refusing);

    exchange.wait_for("service tomcat is redirected again", 40);
    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    assert_eq!(exchange.interrupt(15).code, 0);
    cluster.wait_for_answer("http://tomcat:8080", DEMO, 6);
}

// covers: 7-42
#[test]
fn connect_goes_through_the_proxy_that_the_kubeconfig_names() {
    let (cluster, laptop) = bed("proxyurl");
    let server = format!("s#server:.*#server: {SERVER}\\n    proxy-url: {PROXY}#");
    let config = kubeconfig(&laptop, &server);

    let mut connect = laptop.connect(&["-c", &config, "--includeIps", AROUND]);

    assert_connected_by_proxy(&cluster, &laptop);
    assert_eq!(connect.interrupt(15).code, 0);
}

// covers: 7-42
#[test]
fn connect_goes_through_the_proxy_that_the_environment_names() {
    let (cluster, laptop) = bed("proxyenv");
    let config = kubeconfig(&laptop, &format!("s#server:.*#server: {SERVER}#"));

    let proxy = format!("HTTPS_PROXY={PROXY}");
    let ktctl = e2e::ktctl();
    let sudo = ["env", &proxy, "sudo", "-E", &ktctl, "-c", &config, "connect", "--includeIps", AROUND];
    let mut connect = laptop.start(&sudo);
    connect.wait_for("All looks good", 30);

    assert_connected_by_proxy(&cluster, &laptop);
    assert_eq!(connect.interrupt(15).code, 0);
}

// Like `https://rancher/k8s/clusters/c-1`; what stands there is kubectl's reverse proxy.
// covers: 7-42
#[test]
fn connect_and_exchange_work_behind_a_path_prefix() {
    let (cluster, laptop) = bed("prefix");
    let _reverse = reverse_proxy(&laptop);
    let config = kubeconfig(&laptop, "s#server:.*#server: http://127.0.0.1:8901/k8s/clusters/c-1#");
    let _local = laptop.serve(8080, LOCAL);

    let mut connect = laptop.connect(&["-c", &config]);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
    assert_eq!(peers(&laptop, "6443", "ktctl"), 0, "ktctl itself never goes past the prefix");
    let mut exchange = laptop.ktctl(&["-c", &config, "exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("Now all request to", 30);

    cluster.wait_for_answer("http://tomcat:8080", LOCAL, 6);
    assert_eq!(exchange.interrupt(30).code, 0);
    assert_eq!(connect.interrupt(15).code, 0);
    assert!(cluster.get("http://tomcat:8080").expect("an answer").contains(DEMO));
}

fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let laptop = Laptop::lease_kind(&cluster, Kind::Plain).expect("the test bed has a plain laptop");
    (cluster, laptop)
}

/// A copy of the user's kubeconfig in his home, changed by `sed`.
fn kubeconfig(laptop: &Laptop, sed: &str) -> String {
    let path = format!("/home/{}/api.conf", laptop.user());
    laptop.run(&["bash", "-c", &format!("sed '{sed}' ~/.kube/config >{path}")]).ok();
    path
}

/// Names and addresses work, every connection to the API server is one to the proxy, and neither
/// of both is led into the tunnel.
fn assert_connected_by_proxy(cluster: &Cluster, laptop: &Laptop) {
    for host in ["tomcat", &cluster.pod_ip("tomcat")] {
        assert!(laptop.get(&format!("http://{host}:8080")).ok().contains(DEMO), "{host}");
    }
    assert_eq!(peers(laptop, "6443", "ktctl"), 0, "nothing goes past the proxy");
    assert!(peers(laptop, "3128", "ktctl") > 0, "the proxy is used");
    for (address, to_device) in
        [("198.18.0.1", false), ("198.18.0.2", true), ("198.18.0.250", false), ("198.18.0.251", true)]
    {
        let route = laptop.run(&["ip", "route", "get", address]).ok();
        assert_eq!(route.contains("dev kt"), to_device, "{address}: {route}");
    }
}

/// How many connections to this port a program has.
fn peers(laptop: &Laptop, port: &str, program: &str) -> usize {
    let port = format!(":{port}");
    let sockets = laptop.root(&["ss", "-Htnp", "state", "established", "dport", "=", &port]).ok();
    sockets.lines().filter(|line| line.contains(program)).count()
}

fn reverse_proxy(laptop: &Laptop) -> Running {
    let prefix = "--api-prefix=/k8s/clusters/c-1";
    let mut reverse = laptop.start(&["kubectl", "proxy", "--port=8901", prefix]);
    reverse.wait_for("Starting to serve", 10);
    reverse
}
