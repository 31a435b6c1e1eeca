//! The program as a plugin of kubectl: links to it on the path, named `kubectl-VERB`.

use e2e::{DEMO, LOCAL, Laptop, Running, Snapshot};

const URL: &str = "http://tomcat:8080";

// covers: 3-1
#[test]
fn kubectl_has_the_verbs_of_ktctl() {
    let (cluster, laptop) = Laptop::with_cluster("plugins");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut exchange = kubectl(&laptop, "exchange tomcat --expose 8080");
    exchange.wait_for("will be redirected to local", 30);
    cluster.wait_for_answer(URL, LOCAL, 6);
    assert_eq!(exchange.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, 6);

    let mut mesh = kubectl(&laptop, "mesh tomcat --expose 8080");
    mesh.wait_for("Now you can access your service by header 'VERSION: 0.0.1'", 40);
    assert_eq!(mesh.interrupt(20).code, 0);

    let nothing = kubectl(&laptop, "recover tomcat").wait(20);
    assert_eq!(nothing.code, 0, "{}", nothing.text);
    Snapshot::wait_until_as(&before, 20, || cluster.snapshot());
}

// covers: 7-44
#[test]
fn plugins_take_the_flags_that_they_had() {
    let (cluster, laptop) = Laptop::with_cluster("pluginflags");
    let _local = laptop.serve(8080, LOCAL);

    let mut connect = kubectl(&laptop, "connect -m socks5 -p 2299 --dump2hosts=default,dev");
    connect.wait_for("export http_proxy=socks5://127.0.0.1:2299", 30);
    let mut provide = kubectl(&laptop, "provide mine --expose 8080");
    provide.wait_for("in cluster by name 'mine'", 30);

    cluster.wait_for_answer("http://mine:8080", LOCAL, 6);
    let through = ["curl", "-sS", "-m", "5", "--proxy", "socks5h://127.0.0.1:2299", URL];
    assert!(laptop.run(&through).ok().contains(DEMO));
    assert_eq!(provide.interrupt(20).code, 0);
    assert_eq!(connect.interrupt(20).code, 0);
}

/// Types a line that begins with `kubectl`.
fn kubectl(laptop: &Laptop, line: &str) -> Running {
    let verb = line.split(' ').next().expect("a verb");
    let script =
        r#"mkdir -p ~/plugins; ln -sf "$1" ~/plugins/kubectl-"$2"; PATH=~/plugins:$PATH exec kubectl $3"#;
    laptop.start(&["sh", "-c", script, "sh", &e2e::ktctl(), verb, line])
}
