use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::bed::*;

#[tokio::test]
async fn a_request_goes_to_the_first_route_that_wants_it_else_to_the_original() {
    for (rule, path, lines) in [
        ("header:kt-version=a", "/", "KT_Version: a\r\n"),
        ("header:v^=ab", "/", "v: abc\r\n"),
        ("header:v~=[a-c]+", "/", "v: abc\r\n"),
        ("cookie:kt=a", "/", "cookie: x=1; kt=a\r\n"),
        ("path:/api", "/api/1?x=y", ""),
        ("baggage:kt=a", "/", "baggage: x=1,kt=a\r\n"),
        ("tracestate:kt=a", "/", "tracestate: kt=a\r\n"),
    ] {
        with_bed(async |bed| {
            for address in [ORIGINAL, ANN, BOB] {
                bed.start_http1(address).await;
            }
            bed.use_routes(1, &[(ANN, rule), (BOB, "path:/")]).await;
            let (first, second) = (bed.get(path, lines).await, bed.get("/other", "").await);
            bed.use_routes(2, &[(ANN, rule)]).await;
            let none = bed.get("/other", "v: x\r\ncookie: kt=b\r\n").await;

            assert!(is_from(&first, ANN), "{rule}: {first}");
            assert!(is_from(&second, BOB), "{rule}: {second}");
            assert!(is_from(&none, ORIGINAL), "{rule}: {none}");
        })
        .await;
    }
}

#[tokio::test]
async fn each_request_of_one_connection_is_routed_by_itself_also_when_sent_in_advance() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.start_http1(ANN).await;
        bed.use_routes(1, &[(ANN, "header:v=a")]).await;
        let mut caller = bed.call().await;

        let asked = "GET /1 HTTP/1.1\r\nHost: s\r\n\r\nGET /2 HTTP/1.1\r\nHost: s\r\nv: a\r\n\r\n\
            POST /3 HTTP/1.1\r\nHost: s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            GET /4 HTTP/1.1\r\nHost: s\r\nv: a\r\nconnection: close\r\n\r\n";
        caller.write_all(asked.as_bytes()).await.expect("write");
        let mut answers = String::new();
        caller.read_to_string(&mut answers).await.expect("answers");

        let from: Vec<_> = answers.lines().filter(|line| line.starts_with("from ")).collect();
        assert_eq!(from, ["from 127.0.0.2", "from 127.0.0.3", "from 127.0.0.2", "from 127.0.0.3"]);
        assert!(answers.contains("POST /3") && answers.contains("body 3\n"), "{answers}");
    })
    .await;
}

#[tokio::test]
async fn the_upstream_sees_the_host_and_who_called() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[]).await;

        let answer = bed.get("/a", "X-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 5\r\n").await;

        for line in ["host: shop", "x-forwarded-for: 1.2.3.4, 127.0.0.1", "x-forwarded-proto: http"] {
            assert!(answer.contains(&format!("\n{line}\n")), "{line}: {answer}");
        }
        assert!(!answer.contains("keep-alive"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_caller_of_http_1_0_without_a_host_is_answered() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;

        caller.write_all(b"GET /a HTTP/1.0\r\n\r\n").await.expect("write");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("answer");

        assert!(answer.starts_with("HTTP/1.0 200") && is_from(&answer, ORIGINAL), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_waits_for_leave_to_send_gets_it() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;

        let asked = "POST / HTTP/1.1\r\nHost: s\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        caller.write_all(asked.as_bytes()).await.expect("write");
        let mut leave = [0; 25];
        caller.read_exact(&mut leave).await.expect("leave");
        caller.write_all(b"hello").await.expect("body");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("answer");

        assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert!(answer.contains("body 5\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_is_relayed_both_ways() {
    with_bed(async |bed| {
        let listener = bed.listener(ANN).await;
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[(ANN, "header:v=a")]).await;
        spawn_local(async move {
            let (socket, _) = listener.accept().await.expect("accept");
            let mut socket = BufReader::new(socket);
            let mut line = String::new();
            let mut upgrade = false;
            while line != "\r\n" {
                line.clear();
                socket.read_line(&mut line).await.expect("line");
                upgrade |= line.eq_ignore_ascii_case("upgrade: websocket\r\n");
            }
            assert!(upgrade, "the upstream was not asked to upgrade");
            let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst";
            socket.write_all(agreed).await.expect("agree");
            let mut word = [0; 4];
            socket.read_exact(&mut word).await.expect("word");
            socket.write_all(&word).await.expect("echo");
        });
        let mut caller = bed.call().await;

        let asked = "GET /ws HTTP/1.1\r\nHost: s\r\nv: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        caller.write_all(asked.as_bytes()).await.expect("write");
        let answer = read_until(&mut caller, "first").await;
        caller.write_all(b"ping").await.expect("ping");
        let mut rest = String::new();
        caller.read_to_string(&mut rest).await.expect("rest");

        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(answer.to_lowercase().contains("upgrade: websocket\r\n"), "{answer}");
        assert_eq!(rest, "ping");
    })
    .await;
}

#[tokio::test]
async fn an_event_reaches_the_caller_at_once() {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;
        caller.write_all(b"GET /events HTTP/1.1\r\nHost: s\r\n\r\n").await.expect("write");
        let (mut upstream, _) = listener.accept().await.expect("accept");
        read_until(&mut upstream, "\r\n\r\n").await;

        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        upstream.write_all(head).await.expect("head");
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            upstream.write_all(format!("9\r\n{event}\r\n").as_bytes()).await.expect("event");
            read_until(&mut caller, event).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_kept_connection_is_replaced_without_the_caller_noticing() {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        // Answers one request per connection, and closes without saying so before.
        spawn_local(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                read_until(&mut socket, "\r\n\r\n").await;
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("answer");
            }
        });
        let mut caller = bed.call().await;

        for _ in 0..50 {
            caller.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.expect("write");
            let answer = read_until(&mut caller, "ok").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn failures_are_told_in_the_known_words() {
    with_bed(async |bed| {
        bed.use_routes(1, &[]).await;

        let plain = bed.get("/", "").await;
        let grpc = bed.get("/", "content-type: application/grpc\r\n").await;

        assert!(plain.starts_with("HTTP/1.1 502"), "{plain}");
        let said = "502 - KtConnect mesh connection error: the original (127.0.0.2:";
        assert!(
            plain.contains(said) && plain.ends_with(" can not be reached: connection refused"),
            "{plain}"
        );
        assert!(grpc.starts_with("HTTP/1.1 200") && grpc.contains("grpc-status: 14"), "{grpc}");
        assert!(grpc.contains(&format!("grpc-message: {said}")), "{grpc}");
    })
    .await;
}

#[tokio::test]
async fn without_an_original_the_caller_learns_whose_laptop_does_not_answer() {
    with_bed(async |bed| {
        bed.use_routes(1, &[(ANN, "header:version=a")]).await;

        let gone = bed.get("/", "version: a\r\n").await;
        let listener = bed.listener(ANN).await;
        bed.use_routes(2, &[]).await;
        bed.use_routes(3, &[(ANN, "header:version=a")]).await;
        spawn_local(async move { while listener.accept().await.is_ok() {} });
        let silent = bed.get("/", "version: a\r\n").await;

        assert!(gone.contains("connection error: neither the laptop of ann (127.0.0.3:"), "{gone}");
        assert!(gone.ends_with(" can be reached: connection refused"), "{gone}");
        assert!(silent.contains("connection error: the laptop of ann (127.0.0.3:"), "{silent}");
        assert!(silent.ends_with(" ended the connection without an answer"), "{silent}");
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_talks_nonsense_is_a_connection_error() {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        spawn_local(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                read_until(&mut socket, "\r\n\r\n").await;
                socket.write_all(b"220 mail\r\n").await.expect("answer");
            }
        });

        let answer = bed.get("/", "").await;

        assert!(answer.contains("502 - KtConnect mesh connection error: the original ("), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn connect_is_refused() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;

        caller.write_all(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("write");

        let answer = read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    })
    .await;
}

/// A body of 256 MiB each way, of which the router may hold only what sockets and buffers hold.
#[tokio::test]
async fn a_large_body_is_streamed_both_ways_and_waits_for_who_reads_it() {
    const LENGTH: usize = 256 << 20;
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;
        let head = format!("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: {LENGTH}\r\n\r\n");
        caller.write_all(head.as_bytes()).await.expect("head");
        let (mut upstream, _) = listener.accept().await.expect("accept");
        read_until(&mut upstream, "\r\n\r\n").await;

        stream(&mut caller, &mut upstream, LENGTH).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        upstream.write_all(head.as_bytes()).await.expect("head");
        read_until(&mut caller, "\r\n\r\n").await;
        stream(&mut upstream, &mut caller, LENGTH).await;
    })
    .await;
}

/// Sends while nobody reads, until no more goes; then everything arrives.
async fn stream(from: &mut TcpStream, to: &mut TcpStream, length: usize) {
    let data = vec![7; length];
    let mut sent = 0;
    let stall = std::time::Duration::from_millis(300);
    while let Ok(written) = tokio::time::timeout(stall, from.write(&data[sent..])).await {
        sent += written.expect("write");
        assert!(sent < length, "nothing holds the sender back");
    }
    let rest = async {
        from.write_all(&data[sent..]).await.expect("rest");
    };
    let mut got = vec![0; length];
    let (_, read) = tokio::join!(rest, to.read_exact(&mut got));
    read.expect("read");
    assert!(got == data, "other bytes arrived");
}

#[tokio::test]
async fn trailers_are_passed_on() {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        spawn_local(async move {
            let (mut socket, _) = listener.accept().await.expect("accept");
            read_until(&mut socket, "\r\n\r\n").await;
            let answer = b"HTTP/1.1 200 OK\r\ntrailer: sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nsum: 7\r\n\r\n";
            socket.write_all(answer).await.expect("answer");
        });
        let socket = hyper_util::rt::TokioIo::new(bed.call().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await.expect("handshake");
        spawn_local(connection);

        let request = hyper::Request::get("/").header("host", "s").header("te", "trailers");
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).expect("request");
        let answer = sender.send_request(request).await.expect("answer");
        let body = answer.into_body().collect().await.expect("body");

        assert_eq!(body.trailers().and_then(|trailers| trailers.get("sum")).expect("trailer"), "7");
        assert_eq!(body.to_bytes(), "ok");
    })
    .await;
}

/// Reads until what was read ends so.
pub(super) async fn read_until(from: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = from.read_u8().await.expect("byte");
        text.push(byte);
    }
    String::from_utf8(text).expect("text")
}
