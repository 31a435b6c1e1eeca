//! curl through the router, with each version of HTTP.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use e2e::Speech;

use crate::compared::{Cases, assert_as_good_as_nginx};
use crate::peers::{Peer, output};

const BIG: usize = 3 << 20;

/// What curl is told besides the address, whether with a body, and the versions of HTTP that the
/// origin and curl see.
struct Call {
    name: &'static str,
    words: &'static [&'static str],
    body: bool,
    versions: (&'static str, &'static str),
}

const fn call(
    name: &'static str,
    words: &'static [&'static str],
    body: bool,
    versions: (&'static str, &'static str),
) -> Call {
    Call { name, words, body, versions }
}

const CHUNKED: &[&str] = &["-H", "Transfer-Encoding: chunked"];
const HTTP1: [Call; 5] = [
    call("a page", &[], false, ("HTTP/1.1", "1.1")),
    call("a page by HTTP/1.0", &["--http1.0"], false, ("HTTP/1.1", "1")),
    call("a body", &[], true, ("HTTP/1.1", "1.1")),
    call("a body in chunks", CHUNKED, true, ("HTTP/1.1", "1.1")),
    // It is not offered, and every client goes on without.
    call("an upgrade to HTTP/2", &["--http2"], false, ("HTTP/1.1", "1.1")),
];
const PRIOR: &[&str] = &["--http2-prior-knowledge"];
/// nginx asks the origin by HTTP/1.
const HTTP2: [Call; 4] = [
    call("a page", PRIOR, false, ("HTTP/", "2")),
    call("a body", PRIOR, true, ("HTTP/", "2")),
    call("a page by HTTP/2 all the way", PRIOR, false, ("HTTP/2.0", "2")),
    call("a body by HTTP/2 all the way", PRIOR, true, ("HTTP/2.0", "2")),
];

#[test]
fn curls_http_1_works_through_the_router_as_through_nginx() {
    compare("curls_http_1_works_through_the_router_as_through_nginx", Speech::Http1, &HTTP1);
}

#[test]
fn curls_http_2_works_through_the_router_as_through_nginx() {
    compare("curls_http_2_works_through_the_router_as_through_nginx", Speech::Http2, &HTTP2);
}

fn compare(test: &str, speech: Speech, calls: &[Call]) {
    let Some(peer) = Peer::start(test, &["web"], &[]) else { return };
    let body = std::env::temp_dir().join(format!("kt-router-body-{}", peer.address.port()));
    fs::write(&body, vec![b'x'; BIG]).expect("a file");

    assert_as_good_as_nginx(test, peer.address, speech, &[], |proxy| run(calls, proxy, &body));

    fs::remove_file(body).expect("the file");
}

fn run(calls: &[Call], proxy: SocketAddr, body: &Path) -> Cases {
    let data = format!("@{}", body.display());
    calls.iter().map(|call| (call.name.to_owned(), one(call, proxy, &data))).collect()
}

fn one(call: &Call, proxy: SocketAddr, data: &str) -> Result<(), String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-w", "%{http_version}\n"]).args(call.words);
    if call.body {
        curl.args(["--data-binary", data]);
    }
    let said = output(curl.arg(format!("http://{proxy}/a?b")));
    let (method, bytes) = if call.body { ("POST", BIG) } else { ("GET", 0) };
    let (origin, caller) = call.versions;
    let wanted = format!(" {method} /a?b for {proxy}, {bytes} bytes\n{caller}\n");
    if said.starts_with(origin) && said.ends_with(&wanted) { Ok(()) } else { Err(said) }
}
