//! With Istio: the proxy beside the caller decides where a request goes, by rules for the service that
//! its control plane tells it; shadows get a proxy, too. There is no mTLS.

#[path = "istio/certificate.rs"]
mod certificate;
#[path = "istio/mesh.rs"]
mod mesh;

use std::path::Path;
use std::time::Duration;

use e2e::{Cluster, DEMO, LOCAL, Laptop, Snapshot, wait_until};
use mesh::Mesh;

const URL: &str = "http://tomcat:8080";
const MARK: &str = "mine";
/// What the rules know the developer by, and others who are not him.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0";
const OTHERS: [Option<&str>; 3] =
    [None, Some("User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:144.0)"), Some("VERSION: mine")];
/// How often each of them asks.
const OFTEN: usize = 20;

// covers: 7-41
#[test]
fn by_rules_of_istio_one_browser_alone_comes_to_the_laptop() {
    let Some(istio) = mesh::istio() else { return };
    let (cluster, laptop) = Laptop::with_cluster("istio");
    let istio = in_a_mesh(&cluster, &istio);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let flags = ["mesh", "tomcat", "--mode", "manual", "--expose", "8080", "--versionMark", MARK];
    let mut mesh = laptop.ktctl(&flags);
    mesh.wait_for("Now you can update Istio rule by label 'version=mine'", 40);

    istio.capture("tomcat-kt-mesh-mine");
    cluster.apply(&rules());

    wait_for_the_browser(&cluster, LOCAL);
    for _ in 0..OFTEN {
        assert!(asked_by_the_browser(&cluster).contains(LOCAL));
        for other in OTHERS {
            assert!(cluster.get_with(URL, other).expect("an answer").contains(DEMO), "{other:?}");
        }
    }
    let told = cluster.get_with(&format!("{URL}/headers"), Some(&browser())).expect("an answer");
    assert!(told.contains(laptop.name()) && told.contains("X-Envoy-Attempt-Count"), "{told}");
    istio.wait_until_it_led_to("tomcat-kt-mesh-mine");

    // The rules outlive the version, and the browser's one has nobody behind it until they go.
    assert_eq!(mesh.interrupt(20).code, 0);
    for _ in 0..OFTEN {
        assert!(cluster.get(URL).expect("an answer").contains(DEMO));
    }
    let refused = cluster.get_with(URL, Some(&browser())).expect_err("nobody has this version");
    assert!(refused.contains("503"), "{refused}");
    cluster.kubectl(&["delete", "virtualservice,destinationrule", "tomcat"]).expect("deleted");
    wait_for_the_browser(&cluster, DEMO);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

// covers: 7-41
#[test]
fn scaled_by_exchange_the_laptop_answers_the_proxy_also_as_the_version_that_rules_name() {
    let Some(istio) = mesh::istio() else { return };
    let (cluster, laptop) = Laptop::with_cluster("istioscale");
    let istio = in_a_mesh(&cluster, &istio);
    cluster.grant(include_str!("../../docs/rbac/exchange-scale.yaml"));
    cluster.apply(&rules());
    let _local = laptop.serve(8080, LOCAL);

    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--mode", "scale", "--expose", "8080"]);

    exchange.wait_for("Now all request to deployment 'tomcat' will be redirected to local", 60);
    let shadow = pod_of(&cluster, "shadow-exchange");
    istio.capture(&shadow);
    cluster.wait_for_answer(URL, LOCAL, 10);
    for _ in 0..OFTEN {
        assert!(cluster.get(URL).expect("an answer").contains(LOCAL));
    }
    let told = cluster.get(&format!("{URL}/headers")).expect("an answer");
    assert!(told.contains(laptop.name()) && told.contains("X-Envoy-Attempt-Count"), "{told}");
    istio.wait_until_it_led_to(&shadow);
    assert_eq!(exchange.interrupt(60).code, 0);
    cluster.wait_for_answer(URL, DEMO, 10);
}

#[test]
fn without_rules_mesh_exchange_and_connect_do_their_work_between_proxies() {
    let Some(istio) = mesh::istio() else { return };
    let (cluster, laptop) = Laptop::with_cluster("istioplain");
    let istio = in_a_mesh(&cluster, &istio);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--versionMark", MARK]);
    mesh.wait_for("by header 'VERSION: mine'", 40);
    istio.capture("tomcat-kt-router");
    istio.capture("tomcat-kt-mesh-mine");
    for (header, page) in [(None, DEMO), (Some("VERSION: mine"), LOCAL)].repeat(OFTEN) {
        assert!(cluster.get_with(URL, header).expect("an answer").contains(page), "{header:?}");
    }
    assert_eq!(mesh.interrupt(20).code, 0);

    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("will be redirected to local", 40);
    for _ in 0..OFTEN {
        assert!(cluster.get(URL).expect("an answer").contains(LOCAL));
    }
    assert_eq!(exchange.interrupt(20).code, 0);
    assert!(cluster.get(URL).expect("an answer").contains(DEMO));

    let mut connect = laptop.connect(&[]);
    istio.capture(&pod_of(&cluster, "shadow-connect"));
    for url in [URL, &format!("http://{}:8080", cluster.pod_ip("tomcat"))] {
        assert!(laptop.get(url).ok().contains(DEMO));
    }
    assert_eq!(connect.interrupt(20).code, 0);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

/// Two pods of version v1, and a caller, each with a proxy.
fn in_a_mesh<'a>(cluster: &'a Cluster, istio: &Path) -> Mesh<'a> {
    let mesh = Mesh::of(cluster, istio);
    let v1 = r#"{"spec": {"replicas": 2, "template": {"metadata": {"labels": {"version": "v1"}}}}}"#;
    cluster.kubectl(&["patch", "deployment", "tomcat", "-p", v1]).expect("patched");
    cluster.wait_ready("tomcat");
    wait_until("no pod without a version is left", Duration::from_secs(30), || {
        let pods = cluster.kubectl(&["get", "pods", "-l", "app=tomcat,version!=v1", "-o", "name"]).ok()?;
        pods.is_empty().then_some(())
    });
    mesh
}

/// The name of the pod with this role.
fn pod_of(cluster: &Cluster, role: &str) -> String {
    let label = format!("kt-role={role}");
    let name = ["get", "pods", "-l", &label, "-o", "jsonpath={.items[*].metadata.name}"];
    cluster.kubectl(&name).expect("the pod")
}

fn rules() -> String {
    include_str!("../fixtures/istio/rules.yaml").replace("MARK", MARK).replace("BROWSER", BROWSER)
}

fn browser() -> String {
    format!("User-Agent: {BROWSER}")
}

fn asked_by_the_browser(cluster: &Cluster) -> String {
    cluster.get_with(URL, Some(&browser())).expect("an answer")
}

fn wait_for_the_browser(cluster: &Cluster, page: &str) {
    wait_until(&format!("the browser sees {page:?}"), Duration::from_secs(20), || {
        cluster.get_with(URL, Some(&browser())).is_ok_and(|seen| seen.contains(page)).then_some(())
    });
}
