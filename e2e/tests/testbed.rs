//! What the other tests stand on does what they believe.

use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, Kind, LOCAL, Laptop, Snapshot, skip};

#[test]
fn the_sample_service_answers_in_the_cluster() {
    let cluster = Cluster::new("sample");

    for url in ["http://tomcat:8080".into(), format!("http://{}:8080", cluster.service_ip("tomcat"))] {
        assert!(cluster.get(&url).unwrap().contains(DEMO));
    }
    assert!(cluster.get("http://nonesuch:8080").is_err());
}

#[test]
fn a_laptop_reaches_neither_pods_nor_services() {
    let cluster = Cluster::new("apart");
    let laptop = Laptop::lease(&cluster);

    for address in [cluster.pod_ip("tomcat"), cluster.service_ip("tomcat")] {
        let curl = laptop.run(&["curl", "-sS", "-m", "2", &format!("http://{address}:8080")]);
        assert_ne!(curl.code, 0, "{address} answers: {}", curl.text);
    }
}

#[test]
fn the_developer_has_the_rights_of_the_shipped_role_and_no_others() {
    let cluster = Cluster::new("rights");
    let laptop = Laptop::lease(&cluster);

    assert_eq!(laptop.run(&["kubectl", "auth", "can-i", "create", "pods/portforward"]).ok().trim(), "yes");
    assert!(laptop.run(&["kubectl", "get", "pods"]).ok().contains("tomcat-"));
    for refused in [&["get", "secrets"][..], &["get", "nodes"], &["get", "pods", "-n", "default"]] {
        let said = laptop.run(&[&["kubectl"], refused].concat());
        assert!(said.code == 1 && said.text.contains("forbidden"), "{refused:?}: {}", said.text);
    }
}

#[test]
fn a_snapshot_of_a_laptop_shows_a_route_until_it_is_gone() {
    let cluster = Cluster::new("routes");
    let laptop = Laptop::lease(&cluster);
    let before = laptop.snapshot();

    laptop.run_sudo(&["ip", "route", "add", "10.99.0.0/16", "dev", "eth0"]).ok();
    let changed = laptop.snapshot();
    laptop.run_sudo(&["ip", "route", "del", "10.99.0.0/16", "dev", "eth0"]).ok();

    assert!(
        changed.difference(&before).contains("+ 10.99.0.0/16 dev eth0"),
        "{}",
        changed.difference(&before)
    );
    laptop.snapshot().assert_as(&before);
}

#[test]
fn a_snapshot_shows_every_file_and_rule_that_a_run_may_leave() {
    let cluster = Cluster::new("leavings");
    let laptop = Laptop::lease(&cluster);
    let before = laptop.snapshot();

    let leave = "cp /etc/hosts /etc/hosts.old; echo 1.2.3.4 x >>/etc/hosts; mkdir -p ~root/.kt; touch ~root/.kt/pid; \
        nft add table inet left; ip rule add fwmark 7 lookup 7; sysctl -qw net.ipv4.ip_forward=1";
    let undo = "cat /etc/hosts.old >/etc/hosts; rm -r /etc/hosts.old ~root/.kt; nft delete table inet left; \
        ip rule del fwmark 7 lookup 7; sysctl -qw net.ipv4.ip_forward=0";
    laptop.run_sudo(&["sh", "-c", leave]).ok();
    let difference = laptop.snapshot().difference(&before);
    laptop.run_sudo(&["sh", "-c", undo]).ok();

    for trace in
        ["+ 1.2.3.4 x", "/etc/hosts.old", "/.kt/pid", "table inet left", "lookup 7", "ip_forward = 1"]
    {
        assert!(difference.contains(trace), "{trace} is missing in:\n{difference}");
    }
    Snapshot::wait_until_as(&before, 5, || laptop.snapshot());
}

#[test]
fn a_snapshot_of_a_namespace_shows_a_changed_selector() {
    let cluster = Cluster::new("objects");
    let before = cluster.snapshot();

    cluster.kubectl(&["set", "selector", "service/tomcat", "app=caller"]).unwrap();
    let difference = cluster.snapshot().difference(&before);
    cluster.kubectl(&["set", "selector", "service/tomcat", "app=tomcat"]).unwrap();

    assert!(difference.starts_with("== Service/tomcat\n"), "{difference}");
    cluster.snapshot().assert_as(&before);
}

#[test]
fn a_local_server_answers_on_its_laptop_only() {
    let cluster = Cluster::new("local");
    let laptop = Laptop::lease(&cluster);
    let mut server = laptop.serve(8080, LOCAL);

    assert!(laptop.get("http://127.0.0.1:8080").ok().contains(LOCAL));
    assert_eq!(server.interrupt(5).code, 128 + 2);
    assert_ne!(laptop.get("http://127.0.0.1:8080").code, 0);
}

#[test]
fn signals_and_codes_pass_through_sudo() {
    let cluster = Cluster::new("signals");
    let laptop = Laptop::lease(&cluster);
    let script = "trap 'echo got INT; exit 3' INT; echo begun; while :; do sleep 0.1; done";
    let mut program = laptop.start_sudo(&["bash", "-c", script]);
    program.wait_for("begun", 5);

    let ended = program.interrupt(5);

    assert_eq!((ended.code, ended.text.as_str()), (3, "begun\ngot INT"));
}

#[test]
fn a_process_is_found_on_its_laptop_and_killed() {
    let cluster = Cluster::new("kill");
    let laptop = Laptop::lease(&cluster);
    let mut program = laptop.start_sudo(&["sleep", "1234"]);
    let found = e2e::wait_until("sleep runs", Duration::from_secs(5), || {
        laptop.processes("sleep").into_iter().find(|p| p.args.ends_with("1234"))
    });

    laptop.kill9(&found);

    assert_eq!(found.user, "root");
    assert_eq!(program.wait(5).code, 128 + 9);
}

#[test]
fn a_laptop_has_one_test_at_a_time() {
    let cluster = Cluster::new("lease");
    let Some(laptop) = Laptop::lease_kind(&cluster, Kind::Firewall) else {
        return skip("a_laptop_has_one_test_at_a_time", "no laptop of kind firewall");
    };
    let name = laptop.name().to_owned();
    let begin = Instant::now();

    let held = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(laptop);
    });
    let next = Laptop::lease_kind(&cluster, Kind::Firewall).expect("it gets free");

    assert_eq!(next.name(), name);
    assert!(begin.elapsed() >= Duration::from_millis(500));
    held.join().unwrap();
}

#[test]
fn a_cut_link_is_cut_until_it_is_plugged_in() {
    let cluster = Cluster::new("link");
    let laptop = Laptop::lease(&cluster);
    let api = ["curl", "-sSk", "-m", "2", "https://198.18.0.1:6443/version"];

    laptop.link(&["--down"]);
    let cut = laptop.run(&api);
    laptop.link(&["--up"]);

    assert_ne!(cut.code, 0);
    e2e::wait_until("the link carries again", Duration::from_secs(15), || {
        (laptop.run(&api).code == 0).then_some(())
    });
}
