use kt_wire::rules::Speaks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::spawn_local;

use super::bed::*;
use super::http1::read_until;

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    for speaks in [Speaks::Raw, Speaks::Unknown] {
        with_bed(async |bed| {
            let listener = bed.listener(ORIGINAL).await;
            bed.use_set(bed.set(1, speaks, &[(ANN, "path:/")])).await;
            spawn_local(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    spawn_local(async move {
                        socket.write_all(b"220 mail\r\n").await.expect("greeting");
                        let mut line = [0; 16];
                        socket.read_exact(&mut line).await.expect("line");
                        socket.write_all(&line).await.expect("echo");
                    });
                }
            });
            let mut caller = bed.call().await;

            let greeting = read_until(&mut caller, "\n").await;
            // Too late to be routed: the server has spoken.
            caller.write_all(b"GET / HTTP/1.1\r\n").await.expect("write");
            let mut echo = String::new();
            caller.read_to_string(&mut echo).await.expect("echo");

            assert_eq!((greeting.as_str(), echo.as_str()), ("220 mail\r\n", "GET / HTTP/1.1\r\n"));
        })
        .await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_go_to_the_original_as_they_are() {
    for speaks in [Speaks::Http, Speaks::Unknown] {
        for bytes in [&b"\x16\x03\x01\x00\x05hello"[..], b"GET key\r\n", b"*1\r\n$4\r\nPING\r\n"] {
            with_bed(async |bed| {
                let listener = bed.listener(ORIGINAL).await;
                bed.use_set(bed.set(1, speaks, &[(ANN, "path:/")])).await;
                let mut caller = bed.call().await;
                caller.write_all(bytes).await.expect("write");
                caller.shutdown().await.expect("shutdown");

                let (mut upstream, _) = listener.accept().await.expect("accept");
                let mut got = Vec::new();
                upstream.read_to_end(&mut got).await.expect("read");
                upstream.write_all(b"after the half-close").await.expect("write");
                drop(upstream);
                let mut answer = String::new();
                caller.read_to_string(&mut answer).await.expect("answer");

                assert_eq!(got, bytes);
                assert_eq!(answer, "after the half-close");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_caller_that_speaks_http_after_a_silence_is_routed() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.start_http1(ANN).await;
        bed.use_routes(1, &[(ANN, "header:v=a")]).await;
        let mut caller = bed.call().await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;

        caller
            .write_all(b"GET / HTTP/1.1\r\nhost: s\r\nv: a\r\nconnection: close\r\n\r\n")
            .await
            .expect("write");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("answer");

        assert!(is_from(&answer, ANN), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_raw_caller_without_an_original_is_reset() {
    with_bed(async |bed| {
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;

        caller.write_all(b"\x16\x03\x01").await.expect("write");

        let failed = caller.read(&mut [0]).await.expect_err("reset");
        assert_eq!(failed.kind(), std::io::ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn datagrams_go_to_the_original_and_come_back() {
    with_bed(async |bed| {
        let original = UdpSocket::bind((ORIGINAL, bed.service)).await.expect("original");
        spawn_local(async move {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = original.recv_from(&mut buffer).await {
                original.send_to(&buffer[..length], from).await.expect("send");
            }
        });
        let mut set = bed.set(1, Speaks::Unknown, &[]);
        set.ports[0].protocol = kt_wire::Protocol::Udp;
        bed.router.adopt(set);
        let caller = UdpSocket::bind("127.0.0.1:0").await.expect("caller");
        caller.connect(("127.0.0.1", bed.listen)).await.expect("connect");

        let mut buffer = [0; 100];
        for text in ["one", "two"] {
            let mut length = 0;
            while length == 0 {
                let _ = caller.send(text.as_bytes()).await; // refused until the port is open
                let wait = std::time::Duration::from_millis(200);
                length = tokio::time::timeout(wait, caller.recv(&mut buffer))
                    .await
                    .map_or(0, |got| got.unwrap_or(0));
            }
            assert_eq!(&buffer[..length], text.as_bytes());
        }
    })
    .await;
}
