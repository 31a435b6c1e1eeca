//! Flags that every command takes, and old spellings of them, against the cluster.

use e2e::{Cluster, DEMO, Laptop};

// covers: 1-3
#[test]
fn help_lists_the_commands() {
    let (_cluster, laptop) = bed("help");

    let help = laptop.ktctl(&["-h"]).wait(5).ok();

    for command in ["connect", "exchange", "recover"] {
        assert!(help.contains(command), "{command} is not in: {help}");
    }
}

// covers: 3-4
#[test]
fn the_version_is_one_line() {
    let (_cluster, laptop) = bed("version");

    let version = laptop.ktctl(&["-v"]).wait(5).ok();

    assert!(version.starts_with("ktctl version ") && version.trim().lines().count() == 1, "{version}");
}

// covers: 1-7
#[test]
fn the_old_name_of_the_method_connects_and_is_called_old() {
    let (cluster, laptop) = bed("method");

    let mut connect = laptop.connect(&["--method=vpn"]);

    connect.wait_for("'--method' is deprecated", 0);
    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    assert!(laptop.get(&url).ok().contains(DEMO));
    assert_eq!(connect.interrupt(15).code, 0);
}

// covers: 1-8, 1-9
#[test]
fn the_old_names_of_the_ports_are_accepted() {
    let (cluster, laptop) = bed("oldports");

    let _connect = laptop.connect(&["--proxy", "3333", "--port", "2222"]);

    let url = format!("http://{}:8080", cluster.service_ip("tomcat"));
    let page = laptop.run(&["curl", "-sSf", "--max-time", "10", "--socks5", "127.0.0.1:3333", &url]).ok();
    assert!(page.contains(DEMO), "{page}");
}

fn bed(name: &str) -> (Cluster, Laptop) {
    let cluster = Cluster::new(name);
    let laptop = Laptop::lease(&cluster);
    (cluster, laptop)
}
