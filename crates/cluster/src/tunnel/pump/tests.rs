//! Both framings through the pump, over connections in memory.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::spdy::Spdy;
use super::super::way::Way;
use super::super::websocket::WebSocket;
use super::*;

#[tokio::test]
async fn spdy_data_arrives_across_frames_and_ends() {
    let (mut pump, mut server) = spdy(1024).await;

    server.write_all(&spdy_frame(3, 0, b"hello ")).await.unwrap();
    server.write_all(&spdy_frame(1, 1, b"")).await.unwrap();
    server.write_all(&[0x80, 3, 0, 2, 0, 0, 0, 6, 0, 0, 0, 3, 9, 9]).await.unwrap();
    server.write_all(&spdy_frame(3, 1, b"world")).await.unwrap();

    let mut text = String::new();
    pump.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello world");
}

#[tokio::test]
async fn words_on_the_error_stream_fail_the_read() {
    let (mut pump, mut server) = spdy(1024).await;

    let words = b"error forwarding port 1: dial tcp4 127.0.0.1:1: connect: connection refused";
    server.write_all(&spdy_frame(1, 0, words)).await.unwrap();

    let error = pump.read_u8().await.unwrap_err();
    assert!(super::super::nothing_listens(&error), "{error}");
    assert!(error.to_string().starts_with("error forwarding port 1"));
    assert_eq!(pump.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn words_after_the_end_of_the_data_are_heard() {
    let (mut pump, mut server) = spdy(1024).await;

    server.write_all(&spdy_frame(3, 1, b"")).await.unwrap();
    server.write_all(&spdy_frame(1, 1, b"connection refused")).await.unwrap();

    let error = pump.read_u8().await.unwrap_err();
    assert!(super::super::nothing_listens(&error), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_no_end() {
    let (mut pump, mut server) = spdy(1024).await;

    server.write_all(&spdy_frame(3, 0, b"half")[..10]).await.unwrap();
    drop(server);

    let mut bytes = Vec::new();
    let error = pump.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!((bytes, error.kind()), (b"ha".to_vec(), io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn the_reader_answers_pings_when_nobody_writes() {
    let (pump, mut server) = spdy(1024).await;
    let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 8];
    let (mut reader, _writer) = tokio::io::split(pump);
    let reading = tokio::spawn(async move { reader.read_u8().await });

    server.write_all(&ping).await.unwrap();

    let mut pong = [0; 12];
    server.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, ping);
    reading.abort();
}

#[tokio::test]
async fn the_websocket_skips_the_port_and_joins_fragments() {
    let (mut pump, mut server) = websocket(1024);

    for frame in [
        &[0x82, 3, 0, 0x90, 0x1f][..],
        &[0x82, 3, 1, 0x90, 0x1f],
        &[0x02, 3, 0, b'a', b'b'],
        &[0x89, 0],
        &[0x80, 2, b'c', b'd'],
        &[0x82, 0x7e, 0, 4, 0, b'e', b'f', b'g'],
        &[0x88, 2, 3, 0xe8],
    ] {
        server.write_all(frame).await.unwrap();
    }

    let mut text = String::new();
    pump.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "abcdefg");
}

#[tokio::test]
async fn both_directions_run_through_a_narrow_connection() {
    for size in [1, 1000, 300_000] {
        let (pump, server) = spdy(777).await;
        let (mut reader, mut writer) = tokio::io::split(pump);
        let (mut from, mut to) = tokio::io::split(server);
        let sent: Vec<u8> = (0..size).map(|number: u32| (number % 251) as u8).collect();

        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let echoing = async {
            while let Some((last, data)) = read_spdy(&mut from).await {
                to.write_all(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]).await.unwrap();
                to.write_all(&spdy_frame(3, u8::from(last), &data)).await.unwrap();
                if last {
                    to.write_all(&spdy_frame(1, 1, b"")).await.unwrap();
                    break;
                }
            }
            // Takes the answers to the pings.
            tokio::io::copy(&mut from, &mut tokio::io::sink()).await.unwrap();
        };
        let mut received = Vec::new();
        let reading = reader.read_to_end(&mut received);
        tokio::select! {
            ((), read) = async { tokio::join!(writing, reading) } => assert!(read.is_ok()),
            () = echoing => panic!("the connection ended first"),
        }

        assert_eq!(received, sent);
    }
}

#[tokio::test]
async fn arbitrary_bytes_never_panic() {
    let mut state = 42_u64;
    for round in 0..3000 {
        let bytes = noise(&mut state, round);
        let (mut one, mut server) = spdy(1 << 17).await;
        let (mut other, mut second) = websocket(1 << 17);
        server.write_all(&bytes).await.unwrap();
        second.write_all(&bytes).await.unwrap();
        drop((server, second));

        let mut sink = Vec::new();
        let _any_result = one.read_to_end(&mut sink).await;
        let _any_result = other.read_to_end(&mut sink).await;
    }
}

#[tokio::test]
async fn what_a_command_says_ends_with_the_reset_of_its_stream() {
    let (laptop, mut server) = duplex(1024);
    let way = Way::Command { container: "standalone", words: &["router"] };
    let mut pump = Pump::new(Spdy::new(&way), laptop);
    let said = async {
        let mut said = String::new();
        pump.read_to_string(&mut said).await.map(|_| said)
    };

    server.write_all(&spdy_frame(3, 0, b"router ERR")).await.unwrap();
    for stream in [3, 1] {
        server.write_all(&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, stream, 0, 0, 0, 5]).await.unwrap();
    }

    assert_eq!(said.await.unwrap(), "router ERR");
}

#[tokio::test]
async fn a_command_that_fails_is_told_behind_what_it_said() {
    let (laptop, mut server) = duplex(1024);
    let way = Way::Command { container: "standalone", words: &["router"] };
    let mut pump = Pump::new(WebSocket::new(&way), laptop);

    server.write_all(&[0x82, 3, 2, b'o', b'h', 0x82, 1, 1]).await.unwrap();
    server.write_all(&[0x82, 6, 3, b'c', b'o', b'd', b'e', b'1']).await.unwrap();

    let mut said = Vec::new();
    let error = pump.read_to_end(&mut said).await.unwrap_err();
    assert_eq!((said.as_slice(), error.to_string().as_str()), (&b"oh"[..], "code1"));
}

/// A pump and the server's end behind the opening words.
async fn spdy(room: usize) -> (Pump<Spdy, DuplexStream>, DuplexStream) {
    let (laptop, mut server) = duplex(room);
    let mut pump = Pump::new(Spdy::new(&Way::Port(8080)), laptop);
    let opening = pump.out.len();
    pump.flush().await.unwrap();
    server.read_exact(&mut vec![0; opening]).await.unwrap();
    (pump, server)
}

fn websocket(room: usize) -> (Pump<WebSocket, DuplexStream>, DuplexStream) {
    let (laptop, server) = duplex(room);
    (Pump::new(WebSocket::new(&Way::Port(8080)), laptop), server)
}

fn spdy_frame(stream: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::from(flags) << 24 | data.len() as u32;
    [&stream.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

/// The next data frame of the laptop; answers to pings are passed over.
async fn read_spdy(from: &mut (impl AsyncRead + Unpin)) -> Option<(bool, Vec<u8>)> {
    loop {
        let mut head = [0; 8];
        from.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]);
        let mut data = vec![0; length as usize];
        from.read_exact(&mut data).await.ok()?;
        if head[0] & 0x80 == 0 {
            return Some((head[4] & 1 == 1, data));
        }
    }
}

/// Bytes that look like frames often enough to get past the heads.
fn noise(state: &mut u64, round: usize) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    };
    let mut bytes = Vec::new();
    while bytes.len() < 20 + round % 200 {
        match next() % 6 {
            0 => bytes.extend_from_slice(&[0x80, 3, 0, (next() % 10) as u8, 0, 0, 0]),
            1 => bytes.extend_from_slice(&[0, 0, 0, (next() % 4) as u8, (next() % 2) as u8, 0, 0]),
            2 => bytes.extend_from_slice(&[0x80 | (next() % 11) as u8, (next() % 128) as u8]),
            _ => bytes.extend_from_slice(&next().to_be_bytes()[..(next() % 8) as usize]),
        }
    }
    bytes
}
