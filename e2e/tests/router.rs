//! The router of `mesh` between programs of others: what they know of HTTP/2, gRPC and WebSocket
//! must work through it, as it does through nginx. It runs on the loopback, without the test bed.

#[path = "router/autobahn.rs"]
mod autobahn;
#[path = "router/compared.rs"]
mod compared;
#[path = "router/curl.rs"]
mod curl;
#[path = "router/peers.rs"]
mod peers;
#[path = "router/tonic.rs"]
mod tonic_peers;
#[path = "router/websocket.rs"]
mod websocket;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use compared::{Cases, Exception, assert_as_good_as_nginx};
use e2e::{Speech, peer};
use peers::{KT_PEERS, Peer, output};

/// By design: what is not HTTP passes raw to the original.
const NOT_OURS: Exception =
    ("http2/3.5 Sends invalid connection preface", "it is no HTTP, so the original gets it and judges");

#[test]
fn the_router_passes_of_h2spec_what_nginx_passes() {
    let test = "the_router_passes_of_h2spec_what_nginx_passes";
    let (Some(h2spec), Some(origin)) = (peer(test, "bin/h2spec"), Peer::start(test, &["web"], &[])) else {
        return;
    };

    assert_as_good_as_nginx(test, origin.address, Speech::Http2, &[NOT_OURS], |proxy| {
        of_h2spec(&h2spec, proxy)
    });
}

/// Its report is XML with an element a line: a case says where it belongs and what it does, and has
/// others within when it was not passed.
fn of_h2spec(h2spec: &Path, server: SocketAddr) -> Cases {
    let report = std::env::temp_dir().join(format!("kt-h2spec-{}", server.port()));
    let said = output(
        Command::new(h2spec)
            .args(["-h", "127.0.0.1", "-o", "1", "-p", &server.port().to_string(), "-j"])
            .arg(&report),
    );
    let told = std::fs::read_to_string(&report).expect("a report");
    std::fs::remove_file(report).expect("the report");
    let cases: Cases = told.split("<testcase ").skip(1).map(of_report).collect();
    assert_eq!(cases.len(), 145, "{said}");
    cases
}

fn of_report(case: &str) -> (String, Result<(), String>) {
    let value = |key| case.split_once(key).and_then(|(_, rest)| rest.split('"').next()).expect("a report");
    let name = format!("{} {}", value("package=\""), value("classname=\""));
    let (_, within) = case.split_once('>').expect("an element");
    let passed = within.starts_with("</testcase>");
    (name, if passed { Ok(()) } else { Err(within.lines().take(3).collect()) })
}

#[test]
fn gos_grpc_works_through_the_router_as_through_nginx() {
    let test = "gos_grpc_works_through_the_router_as_through_nginx";
    let (Some(call), Some(origin)) = (peer(test, KT_PEERS), Peer::start(test, &["grpc"], &["origin"])) else {
        return;
    };

    assert_as_good_as_nginx(test, origin.address, Speech::Grpc, &[], |proxy| of_gos_grpc(&call, proxy));
}

fn of_gos_grpc(call: &Path, server: SocketAddr) -> Cases {
    let said = output(Command::new(call).args(["call", &server.to_string(), "none", "origin"]));
    let cases: Cases = said.lines().filter_map(of_line).collect();
    assert_eq!(cases.len(), 10, "{said}");
    cases
}

/// A line like `good: unary`, or `bad: unary: why`.
fn of_line(line: &str) -> Option<(String, Result<(), String>)> {
    if let Some(name) = line.strip_prefix("good: ") {
        return Some((name.to_owned(), Ok(())));
    }
    let (name, why) = line.strip_prefix("bad: ")?.split_once(": ")?;
    Some((name.to_owned(), Err(why.to_owned())))
}

#[test]
fn events_come_through_the_router_as_through_nginx() {
    let test = "events_come_through_the_router_as_through_nginx";
    let (Some(listen), Some(origin)) = (peer(test, KT_PEERS), Peer::start(test, &["events"], &["origin"]))
    else {
        return;
    };

    assert_as_good_as_nginx(test, origin.address, Speech::Http1, &[], |proxy| {
        let said = output(Command::new(&listen).args(["listen", &proxy.to_string(), "none", "origin"]));
        let heard = said.starts_with("good: ");
        Cases::from([("each before the next".to_owned(), if heard { Ok(()) } else { Err(said) })])
    });
}

/// Any port of the loopback.
fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
