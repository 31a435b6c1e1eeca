//! `preview`: a service that did not exist leads to the laptop, and is gone afterwards.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Cluster, LOCAL, Laptop, Process, Running, Snapshot, skip, wait_until};

const URL: &str = "http://mine:8080";
const READY: &str = "Now you can access your local service in cluster by name 'mine'";
/// How long after the ready text a caller may still be refused, in seconds: each node learns of
/// the service by itself.
const NODES: u64 = 6;

// covers: 3-21
#[test]
fn a_new_service_leads_to_the_laptop_and_every_way_to_end_it_leaves_no_trace() {
    let (cluster, laptop) = Laptop::with_cluster("preview");
    let _local = laptop.serve(8080, LOCAL);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());

    for signal in ["INT", "TERM", "HUP", "pid file removed"] {
        let mut preview = preview(&laptop, &["--expose", "8080"]);
        cluster.wait_for_answer(URL, LOCAL, NODES);
        let kinds: Vec<String> = made(&cluster, &in_cluster).iter().map(|name| kind(name)).collect();
        assert_eq!(kinds, ["ConfigMap", "Pod", "Service"]);
        match signal {
            "pid file removed" => drop(laptop.run(&["bash", "-c", "rm ~/.kt/pid/preview-*.pid"]).ok()),
            signal => preview.signal(signal),
        }
        let ended = preview.wait(15);
        assert_eq!(ended.code, 0, "{signal}: {}", ended.text);
        assert!(ended.text.contains("Cleaning service mine"), "{signal}: {}", ended.text);
        laptop.snapshot().assert_as(&on_laptop);
        Snapshot::wait_until_as(&in_cluster, 10, || cluster.snapshot());
    }
}

// covers: 4-13
#[test]
fn the_provide_of_an_article_is_answered_in_the_cluster_and_on_another_laptop() {
    let (cluster, laptop) = Laptop::with_cluster("provide");
    let Some(other) = Laptop::lease_another("provide", &cluster) else { return };
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);

    let mut provide = laptop.ktctl(&["provide", "tomcat-preview", "--expose", "8080"]);

    provide.wait_for("by name 'tomcat-preview'", 30);
    let said = provide.text();
    assert_eq!(said.matches("'provide' is deprecated, use 'preview'").count(), 1, "{said}");
    cluster.wait_for_answer("http://tomcat-preview:8080", LOCAL, NODES);
    let mut connect = other.connect(&[]);
    assert!(other.get("http://tomcat-preview:8080").ok().contains(LOCAL));
    assert_eq!(connect.interrupt(15).code, 0);
    assert_eq!(provide.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

// covers: 3-20
#[test]
fn the_line_of_an_article_with_an_image_works_as_typed() {
    if !load_shadow_image() {
        return skip("preview image", "there is no archive of the shadow's image: run `make images`");
    }
    let (cluster, laptop) = Laptop::with_cluster("previmg");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let namespace = format!("--namespace={}", cluster.namespace());
    let line = ["preview", "mine", "--expose", "8080", "--image=kt-connect-shadow:local", &namespace];

    let mut preview = laptop.ktctl(&line);

    preview.wait_for(READY, 30);
    cluster.wait_for_answer(URL, LOCAL, NODES);
    let path = "jsonpath={..image}";
    let images = cluster.kubectl(&["get", "pods", "-l", "kt-role=shadow-preview", "-o", path]).unwrap();
    assert!(images.contains("kt-connect-shadow:local"), "{images}");
    assert_eq!(preview.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

// covers: 7-27
#[test]
fn ports_may_differ_and_an_external_service_asks_for_a_load_balancer() {
    let (cluster, laptop) = Laptop::with_cluster("external");
    let before = cluster.snapshot();
    let _locals = [laptop.serve(8080, "page of 8080"), laptop.serve(9000, "page of 9000")];

    let mut preview = preview(&laptop, &["--expose", "8080:80,9000", "--external"]);

    cluster.wait_for_answer("http://mine:80", "page of 8080", NODES);
    cluster.wait_for_answer("http://mine:9000", "page of 9000", NODES);
    let service = cluster.object("service/mine").expect("the service is there");
    assert_eq!(service["spec"]["type"], "LoadBalancer");
    assert_eq!(service["metadata"]["labels"]["control-by"], "kt");
    let ports: Vec<String> = ["0", "1"]
        .iter()
        .map(|i| service["spec"]["ports"][i.parse::<usize>().expect("a number")]["name"].to_string())
        .collect();
    assert_eq!(ports, ["\"kt-80\"", "\"kt-9000\""]);
    assert_eq!(preview.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

#[test]
fn udp_and_tcp_of_one_port_of_a_new_service_lead_to_the_laptop() {
    let (cluster, laptop) = Laptop::with_cluster("prevudp");
    let before = cluster.snapshot();
    let _local = laptop.serve_lines(7001);
    let here = format!("{} ", laptop.name());

    let mut preview = preview(&laptop, &["--expose", "7001:53/udp,7001:53"]);

    for network in ["udp", "tcp"] {
        cluster.wait_for_line(network, "mine:53", &here, NODES);
    }
    assert_eq!(preview.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

#[test]
fn what_can_not_be_previewed_is_refused_before_anything_is_made() {
    let (cluster, laptop) = Laptop::with_cluster("refused");
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let run = |line: &[&str]| laptop.ktctl(&[&["preview"], line].concat()).wait(15);

    let silent = run(&["mine", "--expose", "8080"]);
    let local = laptop.serve(8080, LOCAL);
    let taken = run(&["tomcat", "--expose", "8080"]);
    drop(local);
    let usage = [
        run(&[]),
        run(&["mine"]),
        run(&["mine", "--expose", "53/udp,54:53/udp"]),
        run(&["My_Service", "--expose", "8080"]),
        run(&["mine", "--expose", "8080:80,9000:80"]),
    ];

    assert_eq!(silent.code, 1, "{}", silent.text);
    assert!(silent.text.contains("no application is running on port 8080"), "{}", silent.text);
    assert_eq!(taken.code, 1, "{}", taken.text);
    assert!(taken.text.contains("Exit: service 'tomcat' already exists"), "{}", taken.text);
    assert!(!taken.text.contains("Deploying"), "a shadow is made for nothing: {}", taken.text);
    for refused in usage {
        assert_eq!(refused.code, 2, "{}", refused.text);
        assert!(["Exit: ", "error: "].iter().any(|begin| refused.text.contains(begin)), "{}", refused.text);
    }
    laptop.snapshot().assert_as(&on_laptop);
    cluster.snapshot().assert_as(&in_cluster);
}

#[test]
fn the_second_preview_of_a_name_is_told_whose_it_is() {
    let (cluster, first) = Laptop::with_cluster("second");
    let Some(second) = Laptop::lease_another("second", &cluster) else { return };
    let _locals = [first.serve(8080, "page of the first"), second.serve(8080, "page of the second")];
    let _preview = preview(&first, &["--expose", "8080"]);

    let refused = second.ktctl(&["preview", "mine", "--expose", "8080"]).wait(15);

    assert_eq!(refused.code, 1, "{}", refused.text);
    let whose = format!("service 'mine' is already previewed by {}", first.user());
    assert!(refused.text.contains(&whose), "{}", refused.text);
    cluster.wait_for_answer(URL, "page of the first", NODES);
}

#[test]
fn a_deleted_shadow_is_replaced_behind_the_same_service() {
    let (cluster, laptop) = Laptop::with_cluster("evicted");
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let mut preview = preview(&laptop, &["--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);
    let address = cluster.service_ip("mine");

    cluster.kubectl(&["delete", "pod", "-l", "kt-role=shadow-preview", "--wait=false"]).unwrap();

    preview.wait_for("connection restored", 30);
    cluster.wait_for_answer(URL, LOCAL, NODES);
    assert_eq!(cluster.service_ip("mine"), address);
    assert_eq!(preview.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before, 10, || cluster.snapshot());
}

#[test]
fn it_ends_when_somebody_deletes_the_service() {
    let (cluster, laptop) = Laptop::with_cluster("unserved");
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let local = laptop.serve(8080, LOCAL);
    let mut preview = preview(&laptop, &["--expose", "8080"]);

    cluster.kubectl(&["delete", "service", "mine"]).unwrap();

    let ended = preview.wait(40);
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(ended.text.contains("somebody else has deleted service 'mine'"), "{}", ended.text);
    Snapshot::wait_until_as(&in_cluster, 10, || cluster.snapshot());
    drop(local);
    laptop.snapshot().assert_as(&on_laptop);
}

#[test]
fn after_a_kill_callers_are_reset_and_the_next_start_removes_exactly_its_things() {
    let (cluster, laptop) = Laptop::with_cluster("prevkill");
    let Some(other) = Laptop::lease_another("prevkill", &cluster) else { return };
    let _locals = [laptop.serve(8080, LOCAL), other.serve(8080, "page of the other")];
    let mut others = other.ktctl(&["preview", "others", "--expose", "8080"]);
    others.wait_for("by name 'others'", 30);
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());
    let _killed = preview(&laptop, &["--expose", "8080"]);
    cluster.wait_for_answer(URL, LOCAL, NODES);

    laptop.kill9(&main_process(&laptop));

    // For 15 s the laptop may come back, and callers wait.
    wait_until("callers are reset at once", Duration::from_secs(25), || {
        let asked = Instant::now();
        let why = cluster.get(URL).err()?;
        let told = why.contains("reset") || why.contains("refused") || why.contains("EOF");
        (told && asked.elapsed() < Duration::from_secs(3)).then_some(())
    });
    let mut next = preview(&laptop, &["--expose", "8080"]);
    assert!(next.text().contains("Cleaned up after preview"), "{}", next.text());
    assert_eq!(next.interrupt(15).code, 0);
    Snapshot::wait_until_as(&in_cluster, 15, || cluster.snapshot());
    laptop.snapshot().assert_as(&on_laptop);
    cluster.wait_for_answer("http://others:8080", "page of the other", NODES);
}

#[test]
fn a_slow_download_is_finished_at_the_end() {
    let (cluster, laptop) = Laptop::with_cluster("prevlast");
    let Some(other) = Laptop::lease_another("prevlast", &cluster) else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut preview = preview(&laptop, &["--expose", "8080"]);
    let _connect = other.connect(&[]);
    let url = format!("http://{}:8080/bytes?n=30000000", cluster.service_ip("mine"));
    let print = "%{http_code} %{size_download}";
    let line = ["curl", "-sS", "--noproxy", "*", "--limit-rate", "6M", "-o", "/dev/null", "-w", print, &url];
    let mut download = other.start(&line);
    std::thread::sleep(Duration::from_secs(1)); // it is under way

    let ended = preview.interrupt(20);

    assert_eq!(ended.code, 0, "{}", ended.text);
    let downloaded = download.wait(20);
    assert_eq!((downloaded.code, downloaded.text.as_str()), (0, "200 30000000"));
}

/// The objects that were not there before.
fn made(cluster: &Cluster, before: &Snapshot) -> Vec<String> {
    let objects = |of: &Snapshot| of.part("objects").map(<[String]>::to_vec).unwrap_or_default();
    let before = objects(before);
    objects(&cluster.snapshot()).into_iter().filter(|object| !before.contains(object)).collect()
}

fn kind(object: &str) -> String {
    object.split('/').next().unwrap_or_default().to_owned()
}

/// A namespace, and a plain laptop whose user works in it.
/// Imports what `make images` has packed on every node; `false` when it has not packed anything.
fn load_shadow_image() -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the checkout is above this crate");
    let archive = root.join("target/images/kt-connect-shadow.tar");
    if !archive.exists() {
        return false;
    }
    let loaded = Command::new(root.join("testbed/testbed")).arg("load-image").arg(archive).status();
    assert!(loaded.expect("run the test bed").success(), "import the shadow's image");
    true
}

/// Previews `mine` as the ordinary user, and returns when the cluster can call here.
fn preview(laptop: &Laptop, args: &[&str]) -> Running {
    let mut preview = laptop.ktctl(&[&["preview", "mine"], args].concat());
    preview.wait_for(READY, 30);
    preview
}

fn main_process(laptop: &Laptop) -> Process {
    let mine = |process: &Process| process.args.contains(" preview");
    laptop.processes("ktctl").into_iter().find(mine).expect("preview runs")
}
