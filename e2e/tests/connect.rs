//! `connect`: what goes through the device and the proxy, what its options change, and what it
//! refuses. Names are in `connect_names.rs`, ends in `connect_end.rs`.

use std::time::Duration;

use e2e::{Cluster, DEMO, Kind, Laptop, wait_until};

/// What article 004 tells users of the proxy to do.
const PROXY_HINT: &str = ">> Please setup proxy config by: export http_proxy=socks5://127.0.0.1:2223 <<";

// covers: 3-7, 4-6, 4-9
#[test]
fn an_ordinary_user_gets_a_proxy_for_all_dialects_and_nothing_on_the_laptop_changes() {
    let (cluster, laptop) = bed("proxy");
    let before = laptop.snapshot();

    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);

    connect.wait_for(PROXY_HINT, 20);
    let changes = laptop
        .snapshot()
        .without(&["kt folders", "processes"])
        .difference(&before.without(&["kt folders", "processes"]));
    assert_eq!(changes, "== listeners\n+ tcp 127.0.0.1:2223\n");
    assert_proxied(&cluster, &laptop);
    assert_eq!(connect.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&before);
}

// Browsers ask a SOCKS5 proxy by name, for several parts of a page at once and again on connections
// that they keep.
// covers: 4-8
#[test]
fn the_parts_of_a_page_come_through_the_proxy_as_a_browser_asks_for_them() {
    let (_cluster, laptop) = bed("browser");
    let mut connect = laptop.ktctl(&["connect", "--disableTunDevice"]);
    connect.wait_for(PROXY_HINT, 20);
    let proxy = ["--socks5-hostname", "127.0.0.1:2223"];

    let page = curl(&laptop, &[&proxy[..], &["http://tomcat:8080/", "http://tomcat:8080/"]].concat());
    assert_eq!(page.text.matches(DEMO).count(), 2, "{}", page.text);
    let parts = "http://tomcat:8080/bytes?n=100000&part=[1-12]";
    let sizes = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}\n", parts];
    let loaded = curl(&laptop, &[&proxy[..], &["--parallel", "--parallel-max", "6"], &sizes].concat());

    assert_eq!(loaded.ok().lines().filter(|line| *line == "200 100000").count(), 12);
}

// covers: 4-7
#[test]
fn by_the_articles_variable_root_reaches_all_five_addresses_and_an_ordinary_user_those_of_numbers() {
    let (cluster, laptop) = bed("variable");
    let numbers = [cluster.pod_ip("tomcat"), cluster.service_ip("tomcat")];
    let namespace = cluster.namespace();
    let names =
        ["tomcat".to_owned(), format!("tomcat.{namespace}"), format!("tomcat.{namespace}.svc.cluster.local")];
    let variable = ["env", "http_proxy=socks://127.0.0.1:2223", "curl", "-sS", "-m", "10"];
    let get = |host: &String| laptop.run(&[&variable[..], &[&url(host)]].concat());

    let mut connect = laptop.connect(&[]);
    for host in numbers.iter().chain(&names) {
        assert!(get(host).ok().contains(DEMO), "{host}");
    }
    assert_eq!(connect.interrupt(15).code, 0);
    let mut connect = laptop.ktctl(&["connect", "--method", "socks"]);
    connect.wait_for(PROXY_HINT, 20);

    for host in &numbers {
        assert!(get(host).ok().contains(DEMO), "{host}");
    }
    for host in &names {
        assert!(get(host).text.contains("resolve"), "a name is looked up on the laptop: {host}");
    }
}

#[test]
fn the_proxy_works_beside_the_device() {
    let (cluster, laptop) = bed("beside");

    let _connect = laptop.connect(&["--proxyPort", "3333"]);

    for dialect in ["socks5h", "socks4a", "http"] {
        let proxy = format!("{dialect}://127.0.0.1:3333");
        assert!(
            curl(&laptop, &["-x", &proxy, &url(&cluster.service_ip("tomcat"))]).text.contains(DEMO),
            "{dialect}"
        );
    }
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
}

// covers: 3-9, 3-10, 7-7, 1-11
#[test]
fn ranges_are_added_and_taken_out_as_typed() {
    let (cluster, laptop) = bed("ranges");
    let (service, pod) = (cluster.service_ip("tomcat"), cluster.pod_ip("tomcat"));
    let excluded = format!("{service},10.96.240.0/24");

    let _connect = laptop.connect(&["--includeIps", "172.2.0.0/16", "--excludeIps", &excluded]);

    for (address, to_device) in [
        ("172.2.0.1", true),
        ("172.2.255.255", true),
        ("172.3.0.1", false),
        (service.as_str(), false),
        ("10.96.240.0", false),
        ("10.96.240.255", false),
        ("10.96.0.1", true),
        ("10.96.0.10", true),
        (pod.as_str(), true),
    ] {
        let route = laptop.run(&["ip", "route", "get", address]).ok();
        assert_eq!(route.contains("dev kt"), to_device, "{address}: {route}");
    }
}

// covers: 7-5
#[test]
fn without_pod_ips_no_range_of_pods_is_routed_and_services_work() {
    let (cluster, laptop) = bed("nopods");

    let _connect = laptop.connect(&["--disablePodIp"]);

    let routes = laptop.run(&["ip", "route", "get", &cluster.pod_ip("tomcat")]).ok();
    assert!(!routes.contains("dev kt"), "{routes}");
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
}

#[test]
fn what_is_made_later_gets_its_route() {
    let (cluster, laptop) = bed("later");
    let _connect = laptop.connect(&[]);

    cluster.kubectl(&["expose", "deployment", "tomcat", "--name", "later", "--port", "8080"]).unwrap();

    let address = cluster.service_ip("later");
    wait_until("the address leads to the device", Duration::from_secs(10), || {
        let route = laptop.run(&["ip", "route", "get", &address]).ok();
        route.contains("dev kt").then_some(())
    });
    cluster.wait_for_answer("http://later:8080", DEMO, 10);
    assert!(laptop.get(&url(&address)).ok().contains(DEMO));
}

// covers: 3-8
#[test]
fn the_api_server_is_never_led_into_its_own_tunnel() {
    let (cluster, laptop) = bed("api");

    let _connect = laptop.connect(&["--includeIps", "198.18.0.0/28"]);

    for (address, to_device) in [("198.18.0.1", false), ("198.18.0.2", true)] {
        let route = laptop.run(&["ip", "route", "get", address]).ok();
        assert_eq!(route.contains("dev kt"), to_device, "{address}: {route}");
    }
    assert!(laptop.run(&["kubectl", "get", "pods"]).ok().contains("tomcat-"));
    assert!(laptop.get(&url(&cluster.service_ip("tomcat"))).ok().contains(DEMO));
}

#[test]
fn a_port_on_which_nothing_listens_refuses_at_once() {
    let (cluster, laptop) = bed("refused");
    let pod = cluster.pod_ip("tomcat");
    let _connect = laptop.connect(&[]);

    let refused = curl(&laptop, &["--max-time", "3", &format!("http://{pod}:8081")]);

    assert_eq!(refused.code, 7, "{}", refused.text); // 28 would be the end of patience
    assert!(laptop.get(&url(&pod)).ok().contains(DEMO));
}

#[test]
fn a_ping_is_answered_by_who_is_there_and_by_nobody_else() {
    let (cluster, laptop) = bed("ping");
    let pod = cluster.pod_ip("tomcat");
    let nobody = cluster.unused_ip(&pod);
    let _connect = laptop.connect(&[]);

    assert_eq!(laptop.ping(&pod), "answered");
    assert_eq!(laptop.ping(&nobody), "unreachable");
    let route = laptop.run(&["ip", "route", "get", &nobody]).ok();
    assert!(route.contains("dev kt"), "it was asked in the cluster: {route}");
}

#[test]
fn downloads_and_uploads_arrive_whole() {
    let (cluster, laptop) = bed("whole");
    let address = cluster.pod_ip("tomcat");
    let _connect = laptop.connect(&[]);

    let page = format!(
        "set -o pipefail; curl -sSf --noproxy '*' 'http://{address}:8080/bytes?n=20000000' | sha256sum"
    );
    let loaded = laptop.run(&["bash", "-c", &page]).ok();
    let random = "set -o pipefail; head -c 20000000 /dev/urandom > ~/random";
    laptop.run(&["bash", "-c", random]).ok();
    let echo = laptop.run(&["perl", "-MIO::Socket::INET", "-e", ECHO, &address]).ok();
    let counted = laptop.run(&[
        "bash",
        "-c",
        &format!("curl -sSf --noproxy '*' -T ~/random http://{address}:8080/sink; rm ~/random"),
    ]);

    let expected = laptop.run(&["bash", "-c", "head -c 20000000 /dev/zero | sha256sum"]).ok();
    assert_eq!(loaded, expected);
    assert_eq!(echo.trim(), "equal");
    assert_eq!(counted.ok().trim(), "20000000");
}

#[test]
fn a_datagram_goes_to_a_pod_and_its_answer_comes_back() {
    let (cluster, laptop) = bed("udp");
    let address = format!("{}:7000", cluster.pod_ip("tomcat"));
    let _connect = laptop.connect(&[]);

    let answer = laptop.run(&["perl", "-MIO::Socket::INET", "-e", DATAGRAM, &address]).ok();

    assert!(answer.starts_with("tomcat-") && answer.trim_end().ends_with(" one datagram"), "{answer}");
}

#[test]
fn a_second_connect_is_refused_and_names_the_first() {
    let (cluster, laptop) = bed("second");
    let mut first = laptop.connect(&[]);
    let started = first.wait_for(" start at ", 0);
    let pid = started.split(" start at ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();

    let second = laptop.sudo_ktctl(&["connect"]).wait(10);

    assert_eq!(second.code, 1, "{}", second.text);
    assert!(second.text.contains("Exit: ") && second.text.contains(&pid), "{}", second.text);
    assert!(laptop.get(&url(&cluster.service_ip("tomcat"))).ok().contains(DEMO));
}

// covers: 7-45
#[test]
fn a_taken_proxy_port_is_named_with_the_way_out_and_nothing_is_left() {
    let (cluster, laptop) = bed("taken");
    let _other = laptop.serve(2223, "somebody else");
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());

    let connect = laptop.sudo_ktctl(&["connect"]).wait(15);

    assert_eq!(connect.code, 1, "{}", connect.text);
    for text in ["Exit: ", "127.0.0.1:2223", "--proxyPort"] {
        assert!(connect.text.contains(text), "{}", connect.text);
    }
    laptop.snapshot().assert_as(&on_laptop);
    cluster.snapshot().assert_as(&in_cluster);
}

#[test]
fn an_ordinary_user_is_told_both_ways_out() {
    let (cluster, laptop) = bed("rootless");
    let (on_laptop, in_cluster) = (laptop.snapshot(), cluster.snapshot());

    let connect = laptop.ktctl(&["connect"]).wait(10);

    assert_eq!(connect.code, 1, "{}", connect.text);
    for text in ["Exit: ", "root", "sudo ktctl connect", "--disableTunDevice"] {
        assert!(connect.text.contains(text), "{}", connect.text);
    }
    laptop.snapshot().assert_as(&on_laptop);
    cluster.snapshot().assert_as(&in_cluster);
}

/// Sends the file `random` to the echo service, ends the sending half, and compares what comes
/// back until the other half ends.
const ECHO: &str = r#"
    my $flow = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => 7000, Timeout => 5) or die "connect: $@";
    my $greeting = <$flow>;
    open my $file, "<", "$ENV{HOME}/random" or die "open: $!";
    my $sent = do { local $/; <$file> };
    if (fork == 0) { print $flow $sent; $flow->flush; shutdown $flow, 1; exit }
    my $back = do { local $/; <$flow> };
    print $back eq $sent ? "equal" : "different: " . length($back) . " bytes came back";
"#;

/// Sends a datagram up to three times, as they may get lost, and prints the answer.
const DATAGRAM: &str = r#"
    my $socket = IO::Socket::INET->new(PeerAddr => $ARGV[0], Proto => "udp") or die "socket: $@";
    for (1 .. 3) {
        send $socket, "one datagram", 0;
        vec(my $ready = "", fileno $socket, 1) = 1;
        next unless select $ready, undef, undef, 2;
        recv $socket, my $answer, 2000, 0;
        print $answer;
        exit;
    }
    die "no answer";
"#;

/// A namespace, and a plain laptop whose user works in it.
fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let laptop = Laptop::lease_kind(&cluster, Kind::Plain).expect("the test bed has a plain laptop");
    (cluster, laptop)
}

fn url(host: &str) -> String {
    format!("http://{host}:8080")
}

fn curl(laptop: &Laptop, args: &[&str]) -> e2e::Ended {
    laptop.run(&[&["curl", "-sS", "--max-time", "10"], args].concat())
}

/// Programs reach pods, services and names in each way that a proxy can be asked.
fn assert_proxied(cluster: &Cluster, laptop: &Laptop) {
    let (pod, service) = (url(&cluster.pod_ip("tomcat")), url(&cluster.service_ip("tomcat")));
    let name = "http://tomcat:8080".to_owned();
    let full = url(&format!("tomcat.{}.svc.cluster.local", cluster.namespace()));
    let (addresses, all) = ([&pod, &service], [&pod, &service, &name, &full]);
    for (ask, urls) in [
        (&["--socks5"][..], &addresses[..]),
        (&["--socks4"], &addresses),
        (&["--socks5-hostname"], &all),
        (&["--socks4a"], &all),
        (&["-x"], &all),
        (&["-p", "-x"], &all),
    ] {
        for url in urls {
            let answer = curl(laptop, &[ask, &["127.0.0.1:2223", url.as_str()]].concat());
            assert!(answer.text.contains(DEMO), "{ask:?} {url}: code {}: {}", answer.code, answer.text);
        }
    }
    let variable = laptop.run(&[
        "env",
        "http_proxy=socks://127.0.0.1:2223",
        "curl",
        "-sS",
        "--max-time",
        "10",
        &service,
    ]);
    assert!(variable.text.contains(DEMO), "{}", variable.text);
}
