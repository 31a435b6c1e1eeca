//! Names of the cluster in the laptop's hosts file, and other ways of older versions to names.

use std::time::Duration;

use e2e::{Cluster, DEMO, Laptop, Snapshot, wait_until};

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: later}, \
                       spec: {selector: {app: tomcat}, ports: [{port: 8080}]}}";

// covers: 7-3, 1-12
#[test]
fn names_of_several_namespaces_are_in_the_hosts_file_and_follow_the_services() {
    let (cluster, laptop) = Laptop::with_cluster("hosts");
    let other = Cluster::new("hostsother");
    let before = laptop.snapshot();
    let (own, far) = (cluster.namespace(), other.namespace());

    let mode = format!("hosts:{own},{far}");
    let mut connect = laptop.connect(&["--dnsMode", &mode]);

    let resolv = laptop.root(&["cat", "/etc/resolv.conf"]).ok();
    assert!(!resolv.contains("KtConnect"), "{resolv}");
    let block = hosts(&laptop);
    let (ip, far_ip) = (cluster.service_ip("tomcat"), other.service_ip("tomcat"));
    for line in [
        format!("{ip} tomcat"),
        format!("{ip} tomcat.{own}"),
        format!("{ip} tomcat.{own}.svc.cluster.local"),
        format!("{far_ip} tomcat.{far}"),
    ] {
        assert!(block.lines().any(|present| present == line), "{line} is not in:\n{block}");
    }
    assert!(block.contains("# Kt Hosts Begin\n") && block.contains("# Kt Hosts End"), "{block}");
    for url in ["http://tomcat:8080".to_owned(), format!("http://tomcat.{far}:8080")] {
        assert!(laptop.get(&url).ok().contains(DEMO), "{url}");
    }

    cluster.apply(SERVICE);
    wait_until("a new service appears", Duration::from_secs(10), || {
        hosts(&laptop).contains(&format!("{} later\n", cluster.service_ip("later"))).then_some(())
    });
    cluster.kubectl(&["delete", "service", "later"]).expect("deleted");
    wait_until("a deleted one disappears", Duration::from_secs(10), || {
        (!hosts(&laptop).contains(" later\n")).then_some(())
    });

    assert_eq!(connect.interrupt(15).code, 0);
    laptop.snapshot().assert_as(&before);
}

#[test]
fn the_socks_method_of_old_articles_writes_names_and_the_proxy_for_java_and_takes_both_away() {
    let (cluster, laptop) = Laptop::with_cluster("jvmrc");
    let before = laptop.snapshot();

    let mut connect = laptop.sudo_ktctl(&["-d", "connect", "--method=socks5", "--dump2hosts", "--jvmrc=./"]);
    connect.wait_for("All looks good", 30);

    let java = laptop.run(&["cat", ".jvmrc"]).ok();
    assert_eq!(java.lines().collect::<Vec<_>>(), ["-DsocksProxyHost=127.0.0.1", "-DsocksProxyPort=2223"]);
    assert!(hosts(&laptop).contains(&format!("{} tomcat\n", cluster.service_ip("tomcat"))));
    // The name is looked up here, as programs do that know SOCKS4 only.
    let page =
        laptop.run(&["curl", "-sS", "-m", "5", "--proxy", "socks4://127.0.0.1:2223", "http://tomcat:8080"]);
    assert!(page.ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
    Snapshot::wait_until_as(&before.without(&LOGS), 5, || laptop.snapshot().without(&LOGS));
}

/// `--debug` leaves its file.
const LOGS: [&str; 1] = ["files in /tmp and /run"];

#[test]
fn without_root_the_socks_method_of_old_articles_works_by_addresses() {
    let (cluster, laptop) = Laptop::with_cluster("socks5");

    let mut connect = laptop.ktctl(&["--debug", "connect", "--method=socks5"]);

    connect.wait_for("All looks good", 30);
    connect.wait_for("are not in the hosts file", 0);
    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    let page = laptop.run(&["curl", "-sS", "-m", "5", "--proxy", "socks5://127.0.0.1:2223", &url]);
    assert!(page.ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
}

// covers: 7-2
#[test]
fn a_name_in_both_worlds_follows_the_order_of_the_name_servers() {
    let (cluster, laptop) = Laptop::with_cluster("order");
    let name = format!("tomcat.{}", cluster.namespace());
    let server = include_str!("../fixtures/names.pl");
    let _server = laptop.start(&["perl", "-e", server, &name, "192.0.2.7"]);
    let ip = cluster.service_ip("tomcat");

    for (order, first) in
        [("cluster,udp:127.0.0.1:5300", ip.as_str()), ("127.0.0.1:5300,cluster", "192.0.2.7")]
    {
        let mut connect = laptop.connect(&["--dnsMode", &format!("localDNS:{order},a:b:c:d")]);

        connect.wait_for("Skip invalid dns server a:b:c:d", 0);
        let found = laptop.run(&["getent", "ahostsv4", &name]).ok();
        assert!(found.starts_with(&format!("{first} ")), "{order}: {found}");
        assert!(laptop.get(&format!("http://{name}.svc:8080")).ok().contains(DEMO), "{order}");
        assert_eq!(connect.interrupt(15).code, 0);
    }
}

fn hosts(laptop: &Laptop) -> String {
    laptop.root(&["cat", "/etc/hosts"]).ok()
}
