//! Requests that hide another one, sent to a router with an upstream that notes all it gets.

use http::StatusCode;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use super::super::super::tests::bed::*;
use super::bodies::cut;
use super::heads::ask;

#[test]
fn requests_that_hide_another_are_refused() {
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 4\r\n",
        " Content-Length: 4\r\n",
        "X: 1\r\n Content-Length: 4\r\n",
        "X: 1\r\n\tTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer\0-Encoding: chunked\r\n",
        "X: 1\rTransfer-Encoding: chunked\r\n",
        "Host: other\r\n",
    ] {
        let wrong =
            ask(&format!("POST / HTTP/1.1\r\nHost: s\r\n{fields}\r\n")).map(|_| ()).expect_err(fields);
        assert_eq!(wrong.0, StatusCode::BAD_REQUEST, "{fields}");
    }
    for text in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET http://u@s/ HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: s\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: s\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: s\r\n\r\n",
    ] {
        assert!(ask(text).is_err(), "{text}");
    }
}

/// Sends pieces to a router, and gives what the caller and what the upstream got.
async fn sent(pieces: Vec<Vec<u8>>, ends: &'static [&'static str]) -> (String, String) {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;
        let upstream = spawn_local(note(listener, ends));
        for piece in pieces {
            caller.write_all(&piece).await.expect("write");
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("answer");
        drop(caller);
        let mut set = bed.set(2, Default::default(), &[]);
        set.ports.clear(); // and with them the connections that are kept
        bed.router.adopt(set);
        (answer, upstream.await.expect("upstream"))
    })
    .await
}

/// Answers as soon as each of these ends has come, on one connection, and gives all it got.
async fn note(listener: TcpListener, mut ends: &[&str]) -> String {
    let Ok((mut socket, _)) = listener.accept().await else { return String::new() };
    let mut got = String::new();
    let mut part = [0; 1024];
    loop {
        while let [end, rest @ ..] = ends
            && got.contains(end)
        {
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("answer");
            ends = rest;
        }
        match socket.read(&mut part).await {
            Ok(length @ 1..) => got.push_str(&String::from_utf8_lossy(&part[..length])),
            _ => return got,
        }
    }
}

#[tokio::test]
async fn a_chunk_that_is_none_ends_both_connections() {
    let text = "POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n";

    let (answer, got) = sent(vec![text.into()], &[]).await;

    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
    assert!(!got.contains("hidden"), "{got}");
}

const TWO: &str = "POST /1 HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\n1end\r\n0\r\nsum: 1\r\n\r\n\
    PUT /2 HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\nConnection: close\r\n\r\n2end";

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_two_requests_reaches_the_upstream_as_the_same(places in prop::collection::vec(any::<usize>(), 0..8)) {
        let pieces = cut(TWO.as_bytes(), &places).into_iter().map(<[u8]>::to_vec).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");

        let (answer, got) = runtime.block_on(sent(pieces, &["sum: 1\r\n\r\n", "2end"]));

        let forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: s\r\n";
        let first = "POST /1 HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n";
        let second = "PUT /2 HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\n";
        let wanted = format!("{first}{forwarded}\r\n4;x=y\r\n1end\r\n0\r\nsum: 1\r\n\r\n{second}{forwarded}\r\n2end");
        prop_assert_eq!(got, wanted);
        prop_assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    }
}
