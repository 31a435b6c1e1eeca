//! Each change of the laptop is made and undone by a real helper, in a network of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use common::{
    HOSTS, RESOLV_CONF, device, hosts, ip, paths, redirect, resolver, routes, run, snapshot, spawn,
};
use ipnet::IpNet;
use kt_host::device::HEADER;
use kt_host::helper::{Error, FailureKind};
use kt_host::redirect::original_destination;
use kt_host::routes::Machine;
use kt_host::{Change, Made};

/// Not a test: the helper of the tests in this file.
#[test]
#[ignore = "run by the other tests, as their helper"]
fn helper_process() {
    assert_eq!(kt_host::helper::serve(), ExitCode::SUCCESS);
}

#[test]
fn device_and_routes_come_and_go_without_a_trace() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = snapshot();

    let helper = spawn(&paths(folder.path()));
    let report = run(async {
        let mut helper = helper.connect().await.unwrap();
        let Made::Device(Some(_tun)) = helper.make(device()).await.unwrap() else { panic!("no device") };
        let Made::Routes(made) = helper.make(routes(&["10.96.0.0/16", "10.244.0.0/24"])).await.unwrap()
        else {
            panic!("no routes")
        };
        assert_eq!(made.added.len(), 2);
        assert_eq!(made.skipped, []);
        assert!(ip("route").contains("10.96.0.0/16 dev kt0 proto static scope link src 198.18.0.1"));
        assert!(ip("addr show kt0").contains("inet 198.18.0.1 peer 198.18.0.2/30"));
        helper.finish().await.unwrap()
    });

    assert_eq!(snapshot(), before);
    assert!(!folder.path().join("kt-connect").exists());
    let what: Vec<&str> = report.iter().map(|undone| undone.what.as_str()).collect();
    assert_eq!(what, ["2 routes to kt0", "device kt0"]);
    assert!(report.iter().all(|undone| undone.failure.is_none()));
}

#[test]
fn a_second_wish_for_routes_changes_only_the_difference() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ip("tuntap add other mode tun");
    ip("link set other up");
    ip("route add 10.7.0.0/16 dev other");
    let helper = spawn(&paths(folder.path()));

    let made = run(async {
        let mut helper = helper.connect().await.unwrap();
        let _device = helper.make(device()).await.unwrap();
        let _ = helper.make(routes(&["10.1.0.0/16", "10.2.0.0/16"])).await.unwrap();
        let Made::Device(None) = helper.make(device()).await.unwrap() else { panic!("a second device") };
        let Made::Routes(made) =
            helper.make(routes(&["10.2.0.0/16", "10.3.0.0/16", "10.7.0.0/16"])).await.unwrap()
        else {
            panic!("no routes")
        };
        made
    });

    assert_eq!(made.added, nets(&["10.3.0.0/16"]));
    assert_eq!(made.removed, nets(&["10.1.0.0/16"]));
    assert_eq!(made.skipped.len(), 1);
    assert_eq!(made.skipped[0].range, "10.7.0.0/16".parse().unwrap());
}

#[test]
fn packets_of_programs_are_read_from_the_device() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let helper = spawn(&paths(folder.path()));

    let packet = run(async {
        let mut helper = helper.connect().await.unwrap();
        let Made::Device(Some(tun)) = helper.make(device()).await.unwrap() else { panic!("no device") };
        let _ = helper.make(routes(&["10.96.0.0/16"])).await.unwrap();
        let packets = tun.packets().unwrap();
        UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", "10.96.0.7:5353").unwrap();
        let mut buffer = [0; 2048];
        // The kernel may speak first, of IPv6 neighbours.
        loop {
            let received = packets.recv(&mut buffer);
            let size = tokio::time::timeout(Duration::from_secs(5), received).await.unwrap().unwrap();
            if buffer[HEADER] >> 4 == 4 {
                break buffer[HEADER..size].to_vec();
            }
        }
    });

    assert_eq!(packet[12..20], [198, 18, 0, 1, 10, 96, 0, 7]);
    assert!(packet.ends_with(b"hello"));
}

#[test]
fn names_come_and_go_byte_for_byte() {
    if !common::enter_new_network() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths = paths(folder.path());
    let helper = spawn(&paths);

    run(async {
        let mut helper = helper.connect().await.unwrap();
        let _ = helper.make(resolver()).await.unwrap();
        let _ = helper.make(hosts()).await.unwrap();
        assert!(fs::read_to_string(&paths.resolv_conf).unwrap().contains("nameserver 198.18.0.2"));
        assert!(fs::read_to_string(&paths.hosts).unwrap().contains("10.96.0.7 tomcat"));
        let _ = helper.finish().await.unwrap();
    });

    assert_eq!(fs::read_to_string(&paths.resolv_conf).unwrap(), RESOLV_CONF);
    assert_eq!(fs::read_to_string(&paths.hosts).unwrap(), HOSTS);
}

#[test]
fn redirected_calls_reach_the_listener_and_tell_where_they_meant_to_go() {
    if !common::enter_new_network() || !has_nft() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let before = snapshot();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let api_server = TcpListener::bind("127.0.0.9:6443").unwrap();
    ip("addr add 10.96.0.1/32 dev lo");
    ip("route add default dev lo");
    let helper = spawn(&paths(folder.path()));

    let (meant, text) = run(async {
        let mut helper = helper.connect().await.unwrap();
        let _ = helper.make(redirect(&["10.96.0.0/16"], &["10.96.0.1/32"], port)).await.unwrap();
        let _ =
            helper.make(redirect(&["10.96.0.0/16", "10.96.1.0/24"], &["10.96.0.1/32"], port)).await.unwrap();
        let mut call = TcpStream::connect("10.96.0.7:80").unwrap();
        call.write_all(b"hello").unwrap();
        drop(call);
        let (mut accepted, _) = listener.accept().unwrap();
        let mut text = String::new();
        accepted.read_to_string(&mut text).unwrap();
        let refused = TcpStream::connect_timeout(&"10.96.0.1:6443".parse().unwrap(), Duration::from_secs(2));
        assert!(refused.is_err(), "a call to the API server was redirected");
        let meant = original_destination(&accepted).unwrap();
        let _ = helper.finish().await.unwrap();
        (meant, text)
    });

    drop(api_server);
    ip("addr del 10.96.0.1/32 dev lo");
    ip("route del default dev lo");
    assert_eq!(meant, SocketAddr::from(([10, 96, 0, 7], 80)));
    assert_eq!(text, "hello");
    assert_eq!(snapshot(), before);
}

#[test]
fn the_helper_does_nothing_that_it_was_not_built_for() {
    if !common::enter_new_network() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let helper = spawn(&paths(folder.path()));

    run(async {
        let mut helper = helper.connect().await.unwrap();
        let lo = Change::Routes { device: "lo".to_owned(), ranges: vec![] };
        for change in [lo, routes(&["0.0.0.0/0"])] {
            let refused = helper.make(change).await;
            assert!(matches!(refused, Err(Error::Failed { kind: FailureKind::Invalid, .. })));
        }
        let nowhere = helper.make(routes(&["10.0.0.0/8"])).await;
        assert!(matches!(nowhere, Err(Error::Failed { kind: FailureKind::Other, .. })));
    });
}

#[test]
fn a_device_of_somebody_else_is_neither_taken_nor_removed() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ip("tuntap add kt0 mode tun");
    let helper = spawn(&paths(folder.path()));

    run(async {
        let mut helper = helper.connect().await.unwrap();
        assert!(matches!(helper.make(device()).await, Err(Error::Failed { .. })));
        let _ = helper.finish().await.unwrap();
    });

    assert!(ip("link").contains("kt0"));
}

#[test]
fn the_machine_is_read_as_it_is() {
    if !common::enter_new_network() || !common::has_tun() {
        return;
    }
    ip("tuntap add eth9 mode tun");
    ip("addr add 192.168.1.7/24 dev eth9");
    ip("link set eth9 up");
    ip("route add default via 192.168.1.1");
    ip("route add 10.8.0.0/16 dev eth9 table 52");

    let machine = run(Machine::read(vec![])).unwrap();

    assert_eq!(machine.gateways(), ["192.168.1.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(machine.devices.contains(&"eth9".to_owned()));
    assert!(machine.addresses.iter().any(|own| own.device == "eth9" && own.net == net("192.168.1.7/24")));
    assert!(
        machine.routes.iter().any(|route| route.device == "eth9" && route.range == net("192.168.1.0/24"))
    );
    assert!(machine.routes.iter().any(|route| route.range == net("10.8.0.0/16")));
    assert!(!machine.routes.iter().any(|route| route.range == net("127.0.0.0/8")));
}

fn has_nft() -> bool {
    let there = std::process::Command::new("nft").arg("--version").output().is_ok();
    if !there {
        println!("skipped: needs the program nft");
    }
    there
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}
