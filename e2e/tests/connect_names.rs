//! `connect` on each kind of laptop: addresses and names of the cluster work, and the rest of the
//! world stays as it was.

use std::time::{Duration, Instant};

use e2e::{Cluster, DEMO, Ended, Kind, Laptop, Running, skip};

/// Within which time a laptop's peculiarity must be told.
const TOLD: Duration = Duration::from_secs(15);
/// How much a busy machine may add to a time.
const PATIENCE: Duration = Duration::from_secs(1);

// `git` is found by the laptop's own search suffix.
// covers: 4-2, 4-3, 4-4, 2-1, 1-5, 1-6, 7-12
#[test]
fn on_a_plain_laptop_all_forms_of_address_work_and_the_world_stays() {
    let cluster = Cluster::new("plain");
    let laptop = Laptop::lease(&cluster);
    let before = World::of(&laptop);

    let kubeconfig = format!("/home/{}/.kube/config", laptop.user());
    let mut connect = laptop.sudo_ktctl(&["-n", cluster.namespace(), "-c", &kubeconfig, "connect"]);

    connect.wait_for("All looks good", 30);
    connect.wait_for(" start at ", 0);
    assert_forms(&cluster, &laptop);
    assert_eq!(World::of(&laptop), before);
}

#[test]
fn on_a_laptop_with_systemd_resolved_all_forms_of_address_work_and_the_world_stays() {
    let Some((cluster, laptop)) = bed("resolved", Kind::Resolved) else { return };
    let before = World::of(&laptop);

    let _connect = laptop.connect(&[]);

    assert_forms(&cluster, &laptop);
    assert_eq!(World::of(&laptop), before);
}

#[test]
fn systemd_resolved_finds_the_clusters_names_and_asks_the_office_for_others() {
    let Some((cluster, laptop)) = bed("links", Kind::Resolved) else { return };
    let query = |name: &str| laptop.run(&["resolvectl", "query", "--cache=no", name]).ok();

    let _connect = laptop.connect(&[]);

    let answer = query(&format!("tomcat.{}.svc.cluster.local", cluster.namespace()));
    assert!(answer.contains(&cluster.service_ip("tomcat")) && answer.contains("link: kt"), "{answer}");
    let answer = query("gitlab.corp.example");
    assert!(answer.contains("link: eth0"), "{answer}");
}

#[test]
fn behind_a_firewall_the_redirection_is_said_and_all_forms_of_address_work() {
    let Some((cluster, laptop)) = bed("firewall", Kind::Firewall) else { return };
    let before = World::of(&laptop);

    let mut connect = connect_in_time(&laptop, &[]);

    connect.wait_for("a firewall on this laptop drops connections", 0);
    connect.wait_for("redirection by nft", 0);
    assert_forms(&cluster, &laptop);
    assert_eq!(World::of(&laptop), before);
}

#[test]
fn with_a_strict_reverse_path_filter_all_forms_of_address_work_and_the_world_stays() {
    let Some((cluster, laptop)) = bed("rpfilter", Kind::RpFilter) else { return };
    let before = World::of(&laptop);

    let _connect = laptop.connect(&[]);

    assert_forms(&cluster, &laptop);
    assert_eq!(World::of(&laptop), before);
}

#[test]
fn with_a_vpn_over_the_clusters_range_the_overlap_is_named_with_the_advice() {
    let Some((cluster, laptop)) = bed("vpn", Kind::Vpn) else { return };

    let mut connect = connect_in_time(&laptop, &["--includeIps", "10.244.0.0/16"]);

    let said = connect.wait_for("corp0", 1);
    assert!(said.contains("WRN") && said.contains("--excludeIps"), "{said}");
    let service = format!("http://{}:8080", cluster.service_ip("tomcat"));
    for url in [service.as_str(), "http://tomcat:8080"] {
        assert!(laptop.get(url).ok().contains(DEMO), "{url}");
    }
}

#[test]
fn a_name_of_another_namespace_works_with_rights_in_ones_own_only() {
    let (cluster, other) = (Cluster::new("own"), Cluster::new("other"));
    let laptop = Laptop::lease(&cluster);

    let _connect = laptop.connect(&[]);

    let url = format!("http://tomcat.{}:8080", other.namespace());
    assert!(laptop.get(&url).ok().contains(DEMO));
}

// covers: 1-10
#[test]
fn without_dns_the_name_server_stays_and_addresses_work() {
    let cluster = Cluster::new("nodns");
    let laptop = Laptop::lease(&cluster);
    let before = laptop.snapshot();

    let _connect = laptop.connect(&["--dnsMode", "none"]);

    let during = laptop.snapshot();
    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        assert_eq!(during.part(file), before.part(file));
    }
    assert!(laptop.get(&format!("http://{}:8080", cluster.service_ip("tomcat"))).ok().contains(DEMO));
    assert_ne!(laptop.get("http://tomcat:8080").code, 0);
}

#[test]
fn odd_answers_of_the_office_come_as_without_connect() {
    for kind in [Kind::Plain, Kind::Resolved] {
        let Some((_cluster, laptop)) = bed(&format!("odd{kind:?}").to_lowercase(), kind) else { return };
        let before = odd_names(&laptop);
        let silence = silence(&laptop);

        let _connect = laptop.connect(&[]);

        assert_eq!(odd_names(&laptop), before, "{kind:?}");
        let during = self::silence(&laptop);
        assert_eq!(during.0, silence.0, "{kind:?}: what is never answered");
        assert!(during.1 <= silence.1 + PATIENCE, "{kind:?}: {:?} instead of {:?}", during.1, silence.1);
    }
}

#[test]
fn names_are_found_again_when_a_program_has_rewritten_resolv_conf() {
    let Some((cluster, laptop)) = bed("rewritten", Kind::Plain) else { return };
    let before = laptop.root(&["cat", "/etc/resolv.conf"]).ok();
    let mut connect = laptop.connect(&[]);
    let url = format!("http://tomcat.{}:8080", cluster.namespace());

    // A DHCP client writes anew what it knows, and something that it has learned.
    let rewritten = format!("{before}\noptions timeout:3\n");
    laptop.root(&["sh", "-c", &format!("printf '%s' '{rewritten}' > /etc/resolv.conf")]).ok();

    connect.wait_for("another program has rewritten /etc/resolv.conf, the name server is put back", 10);
    connect.wait_for("names of the cluster are found again", 5);
    assert!(laptop.get(&url).ok().contains(DEMO));
    assert!(laptop.run(&["getent", "ahostsv4", "gitlab.corp.example"]).ok().contains("STREAM"));
    assert_eq!(connect.interrupt(15).code, 0);
    assert_eq!(
        laptop.root(&["cat", "/etc/resolv.conf"]).ok(),
        rewritten.trim_end(),
        "as the program wrote it"
    );
    laptop.root(&["sh", "-c", &format!("printf '%s\\n' '{before}' > /etc/resolv.conf")]).ok();
}

// covers: 7-13
#[test]
fn headless_services_and_their_pods_are_found_by_name() {
    let Some((cluster, laptop)) = bed("headless", Kind::Plain) else { return };
    cluster.apply(include_str!("../fixtures/stateful.yaml"));
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]).expect("db is ready");

    let _connect = laptop.connect(&[]);

    let full = format!("db-1.db.{}.svc.{}", cluster.namespace(), e2e::domain());
    for name in ["db", "db-0.db", &full] {
        let page = laptop.get(&format!("http://{name}:8080/")).ok();
        assert!(page.contains("\"hostname\": \"db-"), "{name}: {page}");
    }
    assert!(laptop.get("http://db-0.db:8080/").ok().contains("\"hostname\": \"db-0\""));
}

// covers: 7-11
#[test]
fn a_service_with_a_new_address_is_found_again_soon() {
    let Some((cluster, laptop)) = bed("newip", Kind::Plain) else { return };
    let _connect = laptop.connect(&["--dnsCacheTtl", "1"]);
    assert!(laptop.get("http://tomcat:8080").ok().contains(DEMO));
    let old = cluster.service_ip("tomcat");

    let ports = "[{\"port\":8080,\"targetPort\":8080}]";
    cluster.kubectl(&["delete", "service", "tomcat"]).expect("deleted");
    cluster.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: tomcat}}, spec: {{selector: {{app: tomcat}}, ports: {ports}}}}}"
    ));

    assert_ne!(cluster.service_ip("tomcat"), old);
    e2e::wait_until("the new address answers", Duration::from_secs(15), || {
        let page = laptop.run(&["curl", "-sSf", "-m", "2", "http://tomcat:8080"]);
        page.text.contains(DEMO).then_some(())
    });
}

/// A namespace and a laptop of a kind, or `None` where the test bed has none.
fn bed(name: &str, kind: Kind) -> Option<(Cluster, Laptop)> {
    let cluster = Cluster::new(name);
    let Some(laptop) = Laptop::lease_kind(&cluster, kind) else {
        skip(name, &format!("the test bed has no laptop of kind {kind:?}"));
        return None;
    };
    Some((cluster, laptop))
}

/// Connects, within the time that a failure has to be told in.
fn connect_in_time(laptop: &Laptop, args: &[&str]) -> Running {
    let since = Instant::now();
    let connect = laptop.connect(args);
    assert!(since.elapsed() < TOLD, "ready after {:?}", since.elapsed());
    connect
}

/// What becomes of names with an alias, with addresses of one family, and with more addresses than a
/// datagram takes.
fn odd_names(laptop: &Laptop) -> Vec<String> {
    let names = ["web.example.com", "v4only.example.com", "v6only.example.com", "big.example.com"];
    let found: Vec<String> = names
        .into_iter()
        .map(|name| {
            let (name, code, text) = look_up(laptop, name);
            assert_eq!(code, 0, "{name}: {text}");
            text
        })
        .collect();
    assert!(found[0].starts_with("www.example.com: "), "the alias is followed: {}", found[0]);
    assert!(!found[1].contains("::") && found[2].contains("::"), "{found:?}");
    assert_eq!(found[3].split_whitespace().count(), 1 + 120, "all addresses: {}", found[3]);
    found
}

/// What becomes of a name that is never answered, and after what time.
fn silence(laptop: &Laptop) -> (String, Duration) {
    let since = Instant::now();
    let (_, _, text) = look_up(laptop, "silent.example.com");
    (text, since.elapsed())
}

/// The forms of the quick start, and the one that Kubernetes knows besides.
fn assert_forms(cluster: &Cluster, laptop: &Laptop) {
    let namespace = cluster.namespace();
    for host in [
        cluster.pod_ip("tomcat"),
        cluster.service_ip("tomcat"),
        "tomcat".into(),
        format!("tomcat.{namespace}"),
        format!("tomcat.{namespace}.svc"),
        format!("tomcat.{namespace}.svc.cluster.local"),
    ] {
        let Ended { code, text } = laptop.get(&format!("http://{host}:8080"));
        assert!(code == 0 && text.contains(DEMO), "{host} answers with code {code}: {text}");
    }
}

/// What a laptop sees of the intranet and of the Internet.
#[derive(Debug, PartialEq, Eq)]
struct World {
    names: Vec<(&'static str, i32, String)>,
    page: String,
}

impl World {
    fn of(laptop: &Laptop) -> Self {
        let known = ["www.example.com", "gitlab.corp.example", "git.corp.example", "git"];
        let unknown = ["nonesuch.example.com", "nonesuch.corp.example"];
        let names = known.into_iter().chain(unknown).map(|name| look_up(laptop, name)).collect::<Vec<_>>();
        for (name, code, text) in &names {
            let wanted = if unknown.contains(name) { "no such name" } else { "found" };
            let is = if *code == 0 { "found" } else { text.trim() };
            assert_eq!(is, wanted, "{name}");
        }
        let page = laptop.get("http://gitlab.corp.example/status/200").ok();
        Self { names, page }
    }
}

/// Asks the resolver of the C library, as programs do, and sorts the addresses.
fn look_up(laptop: &Laptop, name: &'static str) -> (&'static str, i32, String) {
    let script = r#"
        my ($error, @found) = Socket::getaddrinfo($ARGV[0], "", { socktype => 1, flags => Socket::AI_CANONNAME });
        if ($error) { print $error == Socket::EAI_NONAME ? "no such name" : "error: $error"; exit 1 }
        print "$found[0]{canonname}: ", join " ", sort map { (Socket::getnameinfo($_->{addr}, Socket::NI_NUMERICHOST))[1] } @found;
    "#;
    let Ended { code, text } = laptop.run(&["perl", "-MSocket", "-e", script, name]);
    (name, code, text)
}
