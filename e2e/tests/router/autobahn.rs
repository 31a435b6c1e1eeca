//! The cases of the Autobahn test suite, which every WebSocket library is measured by, between its
//! client and a server of other hands.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use e2e::{Speech, peer};

use crate::compared::{Cases, assert_as_good_as_nginx};
use crate::peers::{Peer, output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/autobahn.py");
/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, sizes up to 16 MiB, and cuts
/// within frames. Of compression (12, 13), which ends have among themselves, that it is agreed on.
const CASES: [&str; 11] =
    ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*", "12.1.1", "13.1.1"];
/// So many these are.
const COUNT: usize = 303;

#[test]
fn the_router_passes_the_autobahn_cases_that_nginx_passes() {
    let test = "the_router_passes_the_autobahn_cases_that_nginx_passes";
    let (Some(cases), Some(origin)) = (peer(test, "kosoku"), Peer::start(test, &["websocket"], &["origin"]))
    else {
        return;
    };

    assert_as_good_as_nginx(test, origin.address, Speech::Http1, &[], |proxy| autobahn(&cases, proxy));
}

fn autobahn(cases: &Path, server: SocketAddr) -> Cases {
    let said = output(
        Command::new("python3")
            .args([SCRIPT, &format!("ws://{server}")])
            .args(CASES)
            .env("PYTHONPATH", cases),
    );
    let cases: Cases = said.lines().filter_map(case).collect();
    assert_eq!(cases.len(), COUNT, "{said}");
    cases
}

/// A line like `1.1.1 True OK / OK`.
fn case(line: &str) -> Option<(String, Result<(), String>)> {
    let mut words = line.splitn(3, ' ');
    let (name, passed, verdicts) = (words.next()?, words.next()?, words.next()?);
    let result = match passed {
        "True" => Ok(()),
        "False" => Err(verdicts.to_owned()),
        _ => return None,
    };
    Some((name.to_owned(), result))
}
