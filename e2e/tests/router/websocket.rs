//! WebSocket through the router, between both sides of a well-known implementation.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use e2e::Proxy;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::{anywhere, router};

const BIG: usize = 1 << 20;

/// Serves one caller after the other in a thread: messages come back as they are, `close` has the
/// server close, and a path `/refused` gets no upgrade.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind(anywhere()).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for caller in listener.incoming() {
            let caller = caller.expect("a caller");
            thread::spawn(move || {
                if let Ok(socket) = tungstenite::accept_hdr(caller, agree) {
                    echo(socket);
                }
            });
        }
    });
    address
}

#[expect(clippy::result_large_err, reason = "the other side's own type")]
fn agree(asked: &Request, response: Response) -> Result<Response, ErrorResponse> {
    match asked.uri().path() {
        "/refused" => {
            let refusal = tungstenite::http::Response::builder().status(403).header("content-length", "4");
            Err(refusal.body(Some("none".to_owned())).expect("an answer"))
        }
        _ => Ok(response),
    }
}

fn echo(mut socket: WebSocket<TcpStream>) {
    while let Ok(message) = socket.read() {
        let sent = match message {
            Message::Text(text) if text.as_str() == "close" => {
                socket.close(Some(CloseFrame { code: CloseCode::Library(4002), reason: "as asked".into() }))
            }
            Message::Text(_) | Message::Binary(_) => socket.send(message),
            Message::Close(Some(_)) | Message::Ping(_) => socket.flush(), // answered by the library
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Connects through a router; nothing when the test is skipped.
fn connect(test: &str) -> Option<(Proxy, WebSocket<TcpStream>)> {
    let router = router(test, serve())?;
    let socket = open(&router, "/").expect("an upgrade");
    Some((router, socket))
}

fn open(router: &Proxy, path: &str) -> Result<WebSocket<TcpStream>, Error> {
    let stream = TcpStream::connect(router.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let url = format!("ws://{}{path}", router.address);
    match tungstenite::client(url, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(error)) => Err(error),
        Err(HandshakeError::Interrupted(_)) => panic!("no answer in time"),
    }
}

#[test]
fn messages_of_a_websocket_come_back_as_they_are() {
    let Some((_router, mut socket)) = connect("messages_of_a_websocket_come_back_as_they_are") else {
        return;
    };

    for message in [
        Message::text("hello ü"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::text("x".repeat(BIG)),
        Message::binary((0..BIG).map(|index| index as u8).collect::<Vec<_>>()),
    ] {
        socket.send(message.clone()).expect("sent");
        assert!(
            socket.read().expect("an answer") == message,
            "another message of {} bytes came",
            message.len()
        );
    }
}

#[test]
fn a_message_in_fragments_arrives_as_one_also_with_a_ping_between_them() {
    let test = "a_message_in_fragments_arrives_as_one_also_with_a_ping_between_them";
    let Some((_router, mut socket)) = connect(test) else { return };
    let part =
        |text: &'static str, kind, last| Message::Frame(Frame::message(text, OpCode::Data(kind), last));

    socket.send(part("one ", Data::Text, false)).expect("sent");
    socket.send(Message::Ping("between".into())).expect("sent");
    socket.send(part("two ", Data::Continue, false)).expect("sent");
    socket.send(part("three", Data::Continue, true)).expect("sent");

    assert_eq!(socket.read().expect("a pong"), Message::Pong("between".into()));
    assert_eq!(socket.read().expect("an answer"), Message::text("one two three"));
}

#[test]
fn both_sides_of_a_websocket_learn_why_the_other_closes() {
    let Some((router, mut socket)) = connect("both_sides_of_a_websocket_learn_why_the_other_closes") else {
        return;
    };
    let mut closing = open(&router, "/").expect("an upgrade");
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "done".into() };

    // The library gives the frame of the one who closed back to it.
    socket.close(Some(frame.clone())).expect("sent");
    let told = socket.read().expect("a close");
    closing.send(Message::text("close")).expect("sent");
    let theirs = closing.read().expect("a close");

    assert_eq!(told, Message::Close(Some(frame)));
    let wanted = CloseFrame { code: CloseCode::Library(4002), reason: "as asked".into() };
    assert_eq!(theirs, Message::Close(Some(wanted)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)), "the connection ends cleanly");
}

#[test]
fn a_websocket_that_is_refused_gets_the_servers_answer() {
    let Some((router, _socket)) = connect("a_websocket_that_is_refused_gets_the_servers_answer") else {
        return;
    };

    let refused = open(&router, "/refused").expect_err("a refusal");

    let Error::Http(answer) = refused else { panic!("{refused}") };
    assert_eq!((answer.status().as_u16(), answer.body().as_deref()), (403, Some(&b"none"[..])));
}
