//! `exchange --mode ephemeral`: callers are led to the laptop inside of the pods, which stay as they
//! are but for a container that has ended.

use std::sync::OnceLock;
use std::time::Duration;

use e2e::{
    Cluster, DEMO, LOCAL, Laptop, Process, Running, assert_nothing_lost, load_program_as, skip, wait_until,
    wait_until_they_hear,
};

const URL: &str = "http://tomcat:8080";
const IMAGE: &str = "kt-connect-shadow:ephemeral";
const READY: &str = "Now all request to service 'tomcat' will be redirected to local";

// covers: 7-20
#[test]
fn callers_of_all_pods_come_here_and_reach_the_pods_again_with_none_lost() {
    let Some((cluster, laptop)) = bed("inside") else { return };
    scale(&cluster, 2);
    let before = cluster.snapshot();
    let _local = laptop.serve(8080, LOCAL);
    let callers = ["node1", "node2"].map(|node| cluster.callers_on(node, URL));
    wait_until_they_hear(&callers, DEMO);

    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);

    for pod in pods(&cluster) {
        assert!(answer(&cluster, &pod).contains(LOCAL), "pod {pod}");
        assert!(leads_away(&cluster, &pod), "pod {pod}");
    }
    wait_until_they_hear(&callers, LOCAL);
    scale(&cluster, 3);
    let third =
        pods(&cluster).into_iter().find(|pod| !exchange.text().contains(&format!("of pod {pod} come")));
    if let Some(third) = third {
        exchange.wait_for(&format!("Callers of pod {third} come here"), 15);
    }
    for pod in pods(&cluster) {
        assert!(answer(&cluster, &pod).contains(LOCAL), "pod {pod} after scaling");
    }
    let ended = exchange.interrupt(20);
    wait_until_they_hear(&callers, DEMO);

    assert_eq!(ended.code, 0, "{}", ended.text);
    let all = pods(&cluster);
    assert_eq!(all.len(), 3);
    for pod in &all {
        assert_eq!(states(&cluster, pod), ["kt-exchange 0"]);
        assert_eq!(cluster.packet_filter(pod), "");
        assert!(answer(&cluster, pod).contains(DEMO), "pod {pod} at the end");
    }
    assert!(ended.text.contains("The finished containers stay listed in pods "), "{}", ended.text);
    assert_nothing_lost(&callers);
    let service = |all: &e2e::Snapshot| all.part("Service/tomcat").map(<[String]>::to_vec);
    assert_eq!(service(&cluster.snapshot()), service(&before));
}

// covers: 7-20
#[test]
fn of_a_pod_that_is_named_only_its_own_callers_come_here() {
    let Some((cluster, laptop)) = bed("insideone") else { return };
    scale(&cluster, 2);
    let _local = laptop.serve(9000, LOCAL);
    let all = pods(&cluster);
    let ready = format!("Now all request to pod '{}' will be redirected to local", all[0]);

    let mut exchange = exchange(&laptop, &[&format!("pod/{}", all[0]), "--expose", "9000:8080"], &ready);

    assert!(answer(&cluster, &all[0]).contains(LOCAL));
    assert!(answer(&cluster, &all[1]).contains(DEMO));
    assert_eq!(states(&cluster, &all[1]), [""; 0]);
    let ended = exchange.interrupt(20);
    assert_eq!(ended.code, 0, "{}", ended.text);
    let said = format!("The finished container stays listed in pod {} until the pod is replaced", all[0]);
    assert!(ended.text.contains(&said), "{}", ended.text);
    assert!(answer(&cluster, &all[0]).contains(DEMO));
}

#[test]
fn after_a_kill_the_pods_answer_and_the_next_exchange_uses_the_container_again() {
    let Some((cluster, laptop)) = bed("insidekill") else { return };
    let _local = laptop.serve(8080, LOCAL);
    let _killed = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    let pod = &pods(&cluster)[0];
    assert!(answer(&cluster, pod).contains(LOCAL));

    laptop.kill9(&main_process(&laptop));

    cluster.wait_for_answer(URL, DEMO, 20);
    wait_until("nobody is led away", Duration::from_secs(20), || (!leads_away(&cluster, pod)).then_some(()));
    let recover = laptop.ktctl(&["recover", "tomcat"]).wait(20);
    assert_eq!(recover.code, 0, "{}", recover.text);
    let told = format!("The pods of service tomcat have containers of an exchange by {}", laptop.user());
    assert!(recover.text.contains(&told), "{}", recover.text);
    let seen = laptop.ktctl(&["birdseye"]).wait(20).ok();
    assert!(seen.contains(&format!("tomcat - exchanged by [{}]", laptop.user())), "{seen}");
    let mut next = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    assert!(next.text().contains("is used again"), "{}", next.text());
    assert!(answer(&cluster, pod).contains(LOCAL));
    assert_eq!(next.interrupt(20).code, 0);
    assert_eq!(states(&cluster, pod), ["kt-exchange 0"]);
    let mut third = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    assert_eq!(third.interrupt(20).code, 0);
    let all = states(&cluster, pod);
    assert!(all.len() == 2 && all[1].starts_with("kt-exchange-") && all[1].ends_with(" 0"), "{all:?}");
}

#[test]
fn callers_are_refused_while_no_program_listens_here() {
    let Some((cluster, laptop)) = bed("insidedead") else { return };
    let local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    assert!(cluster.get(URL).is_ok_and(|page| page.contains(LOCAL)));

    drop(local);

    let refused = || cluster.get(URL).err().is_some_and(|said| said.contains("connection refused"));
    wait_until("callers are refused", Duration::from_secs(10), || refused().then_some(()));
    exchange.wait_for("callers are refused until there is one", 5);
    let ready = "jsonpath={.status.readyReplicas} {.spec.replicas}";
    std::thread::sleep(Duration::from_secs(4)); // for three probes
    assert_eq!(cluster.kubectl(&["get", "deployment", "tomcat", "-o", ready]).expect("read"), "1 1");
    let _local = laptop.serve(8080, LOCAL);
    cluster.wait_for_answer(URL, LOCAL, 10);
    assert_eq!(exchange.interrupt(20).code, 0);
    cluster.wait_for_answer(URL, DEMO, 1);
}

#[test]
fn a_container_that_is_killed_leaves_no_rule_and_another_one_follows() {
    let Some((cluster, laptop)) = bed("insidelost") else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    let pod = &pods(&cluster)[0];

    cluster.kill_in(pod, "shadow");

    exchange.wait_for("has ended with code 137", 10);
    wait_until("callers come here again", Duration::from_secs(15), || {
        (exchange.text().matches(&format!("Callers of pod {pod} come here")).count() == 2).then_some(())
    });
    assert!(answer(&cluster, pod).contains(LOCAL));
    assert_eq!(exchange.interrupt(20).code, 0);
    let all = states(&cluster, pod);
    assert!(all.len() == 2 && all[0] == "kt-exchange 137" && all[1].ends_with(" 0"), "{all:?}");
    assert_eq!(cluster.packet_filter(pod), "");
}

#[test]
fn an_end_without_the_api_server_says_that_the_containers_end_by_themselves() {
    let Some((cluster, laptop)) = bed("insidecut") else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);

    laptop.link(&["--down"]);
    let ended = exchange.interrupt(30);
    laptop.link(&["--up"]);

    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(
        ended.text.contains("has not ended yet: without this laptop it leads nobody away"),
        "{}",
        ended.text
    );
    cluster.wait_for_answer(URL, DEMO, 20);
}

#[test]
fn a_laptop_that_was_away_gets_its_callers_again() {
    let Some((cluster, laptop)) = bed("insideaway") else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["tomcat", "--expose", "8080"], READY);
    let pod = &pods(&cluster)[0];

    laptop.link(&["--down"]);
    let given_back = (0..40).any(|_| {
        std::thread::sleep(Duration::from_secs(1));
        !leads_away(&cluster, pod)
    });
    let page = answer(&cluster, pod);
    laptop.link(&["--up"]); // before anything may fail

    assert!(given_back && page.contains(DEMO), "{page}");
    exchange.wait_for("connection restored", 30);
    cluster.wait_for_answer(URL, LOCAL, 5);
    assert_eq!(exchange.interrupt(20).code, 0);
    assert_eq!(states(&cluster, pod), ["kt-exchange 0"]);
}

#[test]
fn datagrams_come_here_and_go_back_to_the_pods() {
    let Some((cluster, laptop)) = bed("insideudp") else { return };
    let address = format!("{}:7000", cluster.pod_ip("tomcat"));
    let _local = laptop.serve_lines(7001);
    let pod = format!("pod/{}", pods(&cluster)[0]);
    let here = format!("{} ", laptop.name());
    cluster.wait_for_line("udp", &address, "tomcat-", 15);

    let mut exchange =
        exchange(&laptop, &[&pod, "--expose", "7001:7000/udp,7001:7000", "--skipPortChecking"], "redirected");

    for network in ["udp", "tcp"] {
        cluster.wait_for_line(network, &address, &here, 5);
    }
    assert_eq!(exchange.interrupt(20).code, 0);
    for network in ["udp", "tcp"] {
        cluster.wait_for_line(network, &address, "tomcat-", 5);
    }
}

#[test]
fn pods_that_are_replaced_are_followed() {
    let Some((cluster, laptop)) = bed("insideroll") else { return };
    let _local = laptop.serve(8080, LOCAL);
    let mut exchange = exchange(&laptop, &["deployment/tomcat", "--expose", "8080"], "redirected to local");
    let old = pods(&cluster);

    cluster.kubectl(&["rollout", "restart", "deployment/tomcat"]).expect("restart");
    cluster.wait_ready("tomcat");

    exchange.wait_for(&format!("Pod {} is gone", old[0]), 30);
    let new = pods(&cluster).into_iter().find(|pod| *pod != old[0]).expect("another pod");
    exchange.wait_for(&format!("Callers of pod {new} come here"), 15);
    assert!(answer(&cluster, &new).contains(LOCAL));
    let ended = exchange.interrupt(20);
    assert_eq!(ended.code, 0, "{}", ended.text);
    assert!(!ended.text.contains(" WRN "), "{}", ended.text);
    assert!(ended.text.contains(&format!("stays listed in pod {new} until")), "{}", ended.text);
}

/// What a pod answers that is called by its own address.
fn answer(cluster: &Cluster, pod: &str) -> String {
    let read = cluster.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]);
    let address = read.expect("the pod has an address");
    cluster.get(&format!("http://{address}:8080")).unwrap_or_else(|said| said)
}

fn leads_away(cluster: &Cluster, pod: &str) -> bool {
    let rules = cluster.packet_filter(pod);
    rules.contains("tcp dport 8080") && rules.contains("redirect to")
}

/// The sample's pods that run and stay.
fn pods(cluster: &Cluster) -> Vec<String> {
    let list = cluster.kubectl(&["get", "pods", "-l", "app=tomcat", "-o", "json"]).expect("list the pods");
    let list: serde_json::Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let all = list["items"].as_array().cloned().unwrap_or_default();
    let stays = all.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    stays.filter_map(|pod| pod["metadata"]["name"].as_str().map(String::from)).collect()
}

/// The names of our containers in a pod, and the codes with which they have ended.
fn states(cluster: &Cluster, pod: &str) -> Vec<String> {
    let path = "jsonpath={range .status.ephemeralContainerStatuses[*]}{.name} {.state.terminated.exitCode}{\"\\n\"}{end}";
    let read = cluster.kubectl(&["get", "pod", pod, "-o", path]).expect("read the pod");
    let mut states: Vec<String> = read.lines().map(String::from).collect();
    states.sort();
    states
}

fn scale(cluster: &Cluster, replicas: u8) {
    cluster.kubectl(&["scale", "deployment", "tomcat", &format!("--replicas={replicas}")]).expect("scale");
    cluster.wait_ready("tomcat");
}

fn exchange(laptop: &Laptop, args: &[&str], ready: &str) -> Running {
    let mode = ["exchange", "--mode", "ephemeral", "--image", IMAGE];
    let mut exchange = laptop.ktctl(&[&mode, args].concat());
    exchange.wait_for(ready, 60);
    exchange
}

fn main_process(laptop: &Laptop) -> Process {
    let mine = |process: &Process| process.args.contains(" exchange");
    laptop.processes("ktctl").into_iter().find(mine).expect("exchange runs")
}

/// A namespace whose user may add containers of any kind, and a plain laptop whose user works in it.
fn bed(name: &str) -> Option<(Cluster, Laptop)> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    if !*LOADED.get_or_init(|| load_program_as("shadow", IMAGE)) {
        skip(name, "there is no program for pods: run `make build`");
        return None;
    }
    let cluster = Cluster::lax(name);
    cluster.grant(include_str!("../../docs/rbac/exchange-ephemeral.yaml"));
    let laptop = Laptop::lease(&cluster);
    Some((cluster, laptop))
}
