//! The quick start of the fifth article, line by line as it is printed there. Its lines for kubectl
//! are its reader's; pods are not restricted there.

use e2e::{Cluster, DEMO, LOCAL, Laptop, Snapshot};

const URL: &str = "http://tomcat:8080";

// covers: 4-1, 4-10, 1-24
#[test]
fn the_quick_start_works_as_it_is_printed() {
    let (cluster, laptop) = bed("article");
    let before = cluster.snapshot();
    let machine = laptop.snapshot();

    // sudo ktctl connect
    let mut connect = laptop.sudo_ktctl(&["connect"]);
    connect.wait_for("start at", 10);
    connect.wait_for("All looks good", 30);
    for url in five_forms(&cluster) {
        assert!(laptop.get(&url).ok().contains(DEMO), "{url}");
    }

    let local = laptop.serve(8080, LOCAL);
    // ktctl exchange tomcat --expose 8080
    let mut exchange = laptop.ktctl(&["exchange", "tomcat", "--expose", "8080"]);
    exchange.wait_for("Now all request to service 'tomcat' will be redirected to local", 30);
    cluster.wait_for_answer(URL, LOCAL, 6);
    assert!(laptop.get(URL).ok().contains(LOCAL));
    assert_eq!(exchange.interrupt(30).code, 0);
    assert!(laptop.get(URL).ok().contains(DEMO));

    // ktctl mesh tomcat --expose 8080, with the mode that the article's version had
    let mut mesh = laptop.ktctl(&["mesh", "tomcat", "--expose", "8080", "--mode", "manual"]);
    mesh.wait_for("Now you can update Istio rule by label 'version=", 30);
    let answers: Vec<String> = (0..40).map(|_| laptop.get(URL).ok()).collect();
    assert!(answers.iter().any(|answer| answer.contains(DEMO)), "{answers:?}");
    assert!(answers.iter().any(|answer| answer.contains(LOCAL)), "{answers:?}");
    assert_eq!(mesh.interrupt(30).code, 0);

    // ktctl provide tomcat-preview --expose 8080
    let mut provide = laptop.ktctl(&["provide", "tomcat-preview", "--expose", "8080"]);
    provide.wait_for("Now you can access your local service in cluster by name 'tomcat-preview'", 30);
    assert!(laptop.get("http://tomcat-preview:8080").ok().contains(LOCAL));
    assert_eq!(provide.interrupt(30).code, 0);

    assert_eq!(connect.interrupt(15).code, 0);
    drop(local);
    laptop.snapshot().assert_as(&machine);
    Snapshot::wait_until_as(&before, 30, || cluster.snapshot());
}

/// Pod, service, and the three names.
fn five_forms(cluster: &Cluster) -> [String; 5] {
    let namespace = cluster.namespace();
    [
        cluster.pod_ip("tomcat"),
        cluster.service_ip("tomcat"),
        "tomcat".to_owned(),
        format!("tomcat.{namespace}"),
        format!("tomcat.{namespace}.svc.cluster.local"),
    ]
    .map(|host| format!("http://{host}:8080"))
}

/// The article's own lines make the service; another image stands for its Tomcat.
fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let laptop = Laptop::lease(&cluster);
    let open = "pod-security.kubernetes.io/enforce=privileged";
    cluster.kubectl(&["label", "--overwrite", "namespace", cluster.namespace(), open]).expect("label");
    for line in [
        "delete deployment/tomcat service/tomcat",
        "create deployment tomcat --image=testbed/echo:local --port=8080",
        "expose deployment tomcat --port=8080 --target-port=8080",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        cluster.kubectl(&words).expect(line);
    }
    cluster.kubectl(&["set", "env", "deployment/tomcat", &format!("ECHO_PAGE={DEMO}")]).expect("the page");
    cluster.kubectl(&["rollout", "status", "deployment/tomcat", "--timeout=60s"]).expect("the pods are new");
    cluster.wait_for_answer(URL, DEMO, 30);
    (cluster, laptop)
}
