use std::net::SocketAddr;

use super::super::dial::Reason;
use super::super::dial::fake::Fake;
use super::*;

/// A service that reads all, and answers with what it was told, and only then.
async fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.expect("caller");
            tokio::spawn(async move {
                let mut told = Vec::new();
                caller.read_to_end(&mut told).await.expect("read");
                caller.write_all(&[b"told: ", told.as_slice()].concat()).await.expect("write");
            });
        }
    });
    address
}

fn name(host: &str, port: u16) -> Target {
    Target::Name(host.into(), port)
}

/// A connection to a proxy before a cluster.
async fn proxy() -> TcpStream {
    let service = service().await;
    let dial = Fake::with([
        (name("tomcat", 80), Ok(service)),
        (Target::Address("10.96.0.10:80".parse().expect("address")), Ok(service)),
        (Target::Address("[fd00::1]:80".parse().expect("address")), Ok(service)),
        (name("closed", 80), Err(Reason::Refused)),
        (name("slow", 80), Err(Reason::TimedOut)),
        (name("secret", 80), Err(Reason::Forbidden)),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(serve(listener, dial));
    TcpStream::connect(address).await.expect("connect")
}

/// Says something, expects an answer of just these bytes.
async fn talk(program: &mut TcpStream, say: &[u8], hear: &[u8]) {
    program.write_all(say).await.expect("write");
    let mut heard = vec![0; hear.len()];
    program.read_exact(&mut heard).await.expect("answer");
    assert_eq!(heard, hear);
}

/// Talks with the service through a half-close.
async fn is_through(mut program: TcpStream) {
    program.write_all(b"hello").await.expect("write");
    program.shutdown().await.expect("half-close");
    assert_eq!(rest(program).await, "told: hello");
}

async fn rest(mut program: TcpStream) -> String {
    let mut rest = String::new();
    program.read_to_string(&mut rest).await.expect("read");
    rest
}

fn socks5(host: &str) -> Vec<u8> {
    [&[5, 1, 0, 3, host.len() as u8], host.as_bytes(), &[0, 80]].concat()
}

#[tokio::test]
async fn socks5_takes_names_and_both_kinds_of_address() {
    let v4 = [5, 1, 0, 1, 10, 96, 0, 10, 0, 80].to_vec();
    let v6 = [&[5, 1, 0, 4, 0xfd][..], &[0; 14], &[1, 0, 80]].concat();
    for request in [socks5("tomcat"), socks5("10.96.0.10"), v4, v6] {
        let mut program = proxy().await;

        talk(&mut program, &[5, 2, 2, 0], &[5, 0]).await;
        talk(&mut program, &request, &socks5::GRANTED).await;

        is_through(program).await;
    }
}

#[tokio::test]
async fn socks5_tells_why_there_is_no_connection() {
    let udp = [5, 3, 0, 1, 10, 96, 0, 10, 0, 80].to_vec();
    let strange = [5, 1, 0, 9].to_vec();
    for (request, code) in [
        (socks5("closed"), 5),
        (socks5("nobody"), 4),
        (socks5("secret"), 2),
        (socks5("slow"), 6),
        (udp, 7),
        (strange, 8),
    ] {
        let mut program = proxy().await;

        talk(&mut program, &[5, 1, 0], &[5, 0]).await;
        talk(&mut program, &request, &[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await;

        assert_eq!(rest(program).await, "");
    }
}

#[tokio::test]
async fn socks5_without_a_method_of_ours_is_refused() {
    let mut program = proxy().await;

    talk(&mut program, &[5, 1, 2], &[5, 0xff]).await;

    assert_eq!(rest(program).await, "");
}

#[tokio::test]
async fn socks4_takes_addresses_and_4a_names() {
    let by_name = [&[4, 1, 0, 80, 0, 0, 0, 1][..], b"me\0tomcat\0"].concat();
    for request in [[4, 1, 0, 80, 10, 96, 0, 10, 0].to_vec(), by_name] {
        let mut program = proxy().await;

        talk(&mut program, &request, &socks4::GRANTED).await;

        is_through(program).await;
    }
}

#[tokio::test]
async fn socks4_rejects_what_can_not_be() {
    let refused = [&[4, 1, 0, 80, 0, 0, 0, 1][..], b"\0closed\0"].concat();
    let bind = [&[4, 2, 0, 80, 0, 0, 0, 1][..], b"\0tomcat\0"].concat();
    for request in [refused, bind] {
        let mut program = proxy().await;

        talk(&mut program, &request, &socks4::REJECTED).await;

        assert_eq!(rest(program).await, "");
    }
}

#[tokio::test]
async fn http_connect_makes_a_tunnel() {
    let mut program = proxy().await;

    let yes = b"HTTP/1.1 200 Connection established\r\n\r\n";
    talk(&mut program, b"CONNECT tomcat:80 HTTP/1.1\r\nHost: tomcat:80\r\n\r\n", yes).await;

    is_through(program).await;
}

#[tokio::test]
async fn http_requests_reach_their_host() {
    let mut program = proxy().await;

    program.write_all(b"GET http://tomcat/a HTTP/1.1\r\nAccept: x\r\n\r\n").await.expect("write");
    program.shutdown().await.expect("half-close");

    let told = "told: GET /a HTTP/1.1\r\nHost: tomcat\r\nAccept: x\r\nConnection: close\r\n\r\n";
    assert_eq!(rest(program).await, told);
}

#[tokio::test]
async fn http_tells_why_there_is_no_connection() {
    for (host, status) in [("closed", 502), ("nobody", 502), ("secret", 403), ("slow", 504)] {
        let mut program = proxy().await;

        let request = format!("GET http://{host}/ HTTP/1.1\r\n\r\n");
        program.write_all(request.as_bytes()).await.expect("write");

        let answer = rest(program).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(&format!("ktctl can not connect to {host}:80: ")), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_proxy_request_gets_an_answer_or_its_end() {
    let mut browser = proxy().await;
    browser.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:2223\r\n\r\n").await.expect("write");
    assert!(rest(browser).await.starts_with("HTTP/1.1 400 "));

    let mut endless = proxy().await;
    let _ = endless.write_all(&[b'A'; 70_000]).await;
    let mut start = [0; 12];
    endless.read_exact(&mut start).await.expect("answer");
    assert_eq!(&start, b"HTTP/1.1 431");

    let mut stranger = proxy().await;
    stranger.write_all(b"\x16").await.expect("write");
    assert_eq!(rest(stranger).await, "");
}
