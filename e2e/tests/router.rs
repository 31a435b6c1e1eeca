//! The router of `mesh` between programs of others: what they know of HTTP/2, gRPC and WebSocket
//! must work through it. It runs on the loopback, without the test bed.

#[path = "router/peers.rs"]
mod peers;
#[path = "router/tonic.rs"]
mod tonic_peers;
#[path = "router/websocket.rs"]
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use e2e::{Proxy, skip};
use peers::{Peer, output, program};

/// It is no HTTP at all, so that the original gets it and says what it thinks of it.
const NOT_OURS: &str = "Sends invalid connection preface";

/// A router in front of an origin; nothing, and the test is skipped, when it was not built.
fn router(test: &str, origin: SocketAddr) -> Option<Proxy> {
    let router = Proxy::router(origin).expect("the router starts");
    if router.is_none() {
        skip(test, "the router is not built (make build)");
    }
    router
}

#[test]
fn the_router_passes_of_h2spec_what_nginx_passes() {
    let test = "the_router_passes_of_h2spec_what_nginx_passes";
    let (Some(h2spec), Some(peer)) = (program(test, "h2spec"), Peer::start(test, &["web"], &[])) else {
        return;
    };
    let Some(router) = router(test, peer.address) else { return };

    let ours = h2spec_misses(&h2spec, router.address);
    let beyond_us: Vec<&String> = ours.iter().filter(|what| !what.ends_with(NOT_OURS)).collect();
    assert!(beyond_us.is_empty(), "{beyond_us:#?}");
    let Some(nginx) = Proxy::nginx_http2(peer.address).expect("nginx starts") else {
        return skip(test, "nginx is missing (scripts/setup.sh peers)");
    };
    let theirs = h2spec_misses(&h2spec, nginx.address);
    println!("of h2spec's tests the router misses {}, nginx {}", ours.len(), theirs.len());
    assert!(ours.len() <= theirs.len(), "ours: {ours:#?}, nginx's: {theirs:#?}");
}

/// What of its tests a server does not pass.
fn h2spec_misses(h2spec: &Path, server: SocketAddr) -> Vec<String> {
    let port = server.port().to_string();
    let said = output(Command::new(h2spec).args(["-h", "127.0.0.1", "-o", "1", "-p", &port]));
    assert!(said.contains("145 tests"), "{said}");
    let failures = said.split_once("Failures:").map_or("", |(_, failures)| failures);
    failures.lines().filter_map(|line| line.split_once('×')).map(|(_, what)| what.trim().to_owned()).collect()
}

#[test]
fn gos_grpc_works_through_the_router_in_all_its_ways() {
    let test = "gos_grpc_works_through_the_router_in_all_its_ways";
    let (Some(call), Some(peer)) = (program(test, "kt-peers"), Peer::start(test, &["grpc"], &["origin"]))
    else {
        return;
    };
    let Some(router) = router(test, peer.address) else { return };

    let said = output(Command::new(call).args(["call", &router.address.to_string(), "none", "origin"]));

    assert!(!said.contains("peer:"), "{said}");
    for way in [
        "unary",
        "an error",
        "an unknown method",
        "a big message",
        "a stream up",
        "a stream down",
        "a stream both ways",
        "a cancelled stream",
        "a deadline",
        "many at once",
    ] {
        assert!(said.lines().any(|line| line == format!("good: {way}")), "{way} is missing: {said}");
    }
}

#[test]
fn curl_speaks_both_versions_of_http_through_the_router() {
    let test = "curl_speaks_both_versions_of_http_through_the_router";
    let Some(peer) = Peer::start(test, &["web"], &[]) else { return };
    let Some(router) = router(test, peer.address) else { return };
    let url = format!("http://{}/a?b", router.address);
    let body = std::env::temp_dir().join(format!("kt-router-body-{}", router.address.port()));
    std::fs::write(&body, vec![b'x'; 3 << 20]).expect("a file");
    let data = format!("@{}", body.display());

    let curl = |arguments: &[&str]| {
        output(
            Command::new("curl")
                .args(["-sS", "--max-time", "20", "-w", "%{http_version}\n"])
                .args(arguments)
                .arg(&url),
        )
    };
    let told = |words: &str, bytes: usize, version: &str| {
        format!("{words} /a?b for {}, {bytes} bytes\n{version}\n", router.address)
    };

    assert_eq!(curl(&["--http2-prior-knowledge"]), told("HTTP/2.0 GET", 0, "2"));
    assert_eq!(
        curl(&["--http2-prior-knowledge", "--data-binary", &data]),
        told("HTTP/2.0 POST", 3 << 20, "2")
    );
    assert_eq!(curl(&[]), told("HTTP/1.1 GET", 0, "1.1"));
    assert_eq!(curl(&["--http1.0"]), told("HTTP/1.1 GET", 0, "1"));
    assert_eq!(curl(&["--data-binary", &data]), told("HTTP/1.1 POST", 3 << 20, "1.1"));
    assert_eq!(
        curl(&["-H", "Transfer-Encoding: chunked", "--data-binary", &data]),
        told("HTTP/1.1 POST", 3 << 20, "1.1")
    );
    // An upgrade to h2c is not offered, and every client goes on without.
    assert_eq!(curl(&["--http2"]), told("HTTP/1.1 GET", 0, "1.1"));
    std::fs::remove_file(body).expect("the file");
}

/// Any port of the loopback.
fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
