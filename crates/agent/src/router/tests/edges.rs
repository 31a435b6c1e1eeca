//! HTTP/1 where it is seldom: answers that break off, come early or have no length, and callers who
//! are old or leave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::bed::*;
use super::http1::read_until;

/// Sends a request and gives the caller, and the upstream where it has arrived as a whole.
async fn asked(bed: &Bed, request: &str) -> (TcpStream, TcpStream, TcpListener) {
    let listener = bed.listener(ORIGINAL).await;
    bed.use_routes(1, &[]).await;
    let mut caller = bed.call().await;
    caller.write_all(request.as_bytes()).await.expect("write");
    let (mut upstream, _) = listener.accept().await.expect("accept");
    read_until(&mut upstream, "\r\n\r\n").await;
    (caller, upstream, listener)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: s\r\n\r\n";

async fn read_all(from: &mut TcpStream) -> (Vec<u8>, std::io::Result<usize>) {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(5), from.read_to_end(&mut all)).await.expect("an end");
    (all, read)
}

#[tokio::test]
async fn a_caller_of_http_1_0_gets_the_content_of_chunks() {
    with_bed(async |bed| {
        let (mut caller, mut upstream, _listener) = asked(&bed, "GET / HTTP/1.0\r\n\r\n").await;

        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nsum: 1\r\n\r\n";
        for byte in answer {
            upstream.write_all(&[*byte]).await.expect("answer");
            tokio::task::yield_now().await;
        }

        let (all, _) = read_all(&mut caller).await;
        let text = String::from_utf8(all).expect("text");
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("\r\n\r\nabcde"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_the_connection() {
    with_bed(async |bed| {
        let (mut caller, mut upstream, _listener) = asked(&bed, GET).await;

        upstream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").await.expect("answer");
        drop(upstream);

        let (all, read) = read_all(&mut caller).await;
        assert!(read.is_ok() && all.ends_with(b"connection: close\r\n\r\nall of it"), "{all:?}");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_answer_for_the_caller() {
    for head in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        with_bed(async |bed| {
            let (mut caller, mut upstream, _listener) = asked(&bed, GET).await;

            upstream
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nab").as_bytes())
                .await
                .expect("answer");
            read_until(&mut caller, "5\r\nab").await;
            drop(upstream);

            let (_, read) = read_all(&mut caller).await;
            assert_eq!(read.expect_err(head).kind(), std::io::ErrorKind::ConnectionReset);
        })
        .await;
    }
}

#[tokio::test]
async fn chunks_of_an_answer_that_are_none_break_it_off() {
    with_bed(async |bed| {
        let (mut caller, mut upstream, _listener) = asked(&bed, GET).await;

        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            .await
            .expect("answer");
        read_until(&mut caller, "2\r\nab\r\n").await;
        upstream.write_all(b"zz\r\n").await.expect("answer");

        assert!(read_all(&mut caller).await.1.is_err());
    })
    .await;
}

#[tokio::test]
async fn hints_before_the_answer_reach_the_caller_at_once() {
    with_bed(async |bed| {
        let (mut caller, mut upstream, _listener) = asked(&bed, GET).await;

        upstream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
            .await
            .expect("hints");
        let hints = read_until(&mut caller, "\r\n\r\n").await;
        upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("answer");
        let answer = read_until(&mut caller, "\r\n\r\n").await;

        assert_eq!(hints, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
        assert_eq!(answer, "HTTP/1.1 204 No Content\r\n\r\n");
    })
    .await;
}

#[tokio::test]
async fn the_length_of_what_was_only_asked_about_is_told_and_nothing_follows() {
    with_bed(async |bed| {
        let (mut caller, mut upstream, _listener) = asked(&bed, "HEAD / HTTP/1.1\r\nHost: s\r\n\r\n").await;

        for request in ["", "HEAD /2 HTTP/1.1\r\nHost: s\r\n\r\n"] {
            if !request.is_empty() {
                caller.write_all(request.as_bytes()).await.expect("write");
                read_until(&mut upstream, "\r\n\r\n").await;
            }
            upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").await.expect("answer");
            let answer = read_until(&mut caller, "\r\n\r\n").await;
            assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_before_the_request_is_whole_arrives_and_the_connection_goes_on() {
    with_bed(async |bed| {
        let request = "POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 4\r\n\r\n";
        let (mut caller, mut upstream, _listener) = asked(&bed, request).await;

        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("answer");
        read_until(&mut caller, "ok").await;
        caller.write_all(b"late").await.expect("body");
        read_until(&mut upstream, "late").await;
        caller.write_all(GET.as_bytes()).await.expect("write");
        read_until(&mut upstream, "\r\n\r\n").await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo").await.expect("answer");

        read_until(&mut caller, "two").await;
    })
    .await;
}

#[tokio::test]
async fn the_upstream_learns_that_the_caller_has_left() {
    with_bed(async |bed| {
        let (caller, mut upstream, _listener) = asked(&bed, GET).await;

        drop(caller);

        assert_eq!(read_all(&mut upstream).await.0, b"");
    })
    .await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;

        caller.write_all(b"GET / HTTP/1.1\r\nHost: s\r\nX: ").await.expect("write");
        caller.write_all(&vec![b'x'; 70 << 10]).await.expect("write");
        let (all, _) = read_all(&mut caller).await;

        assert!(all.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&all));
    })
    .await;
}
