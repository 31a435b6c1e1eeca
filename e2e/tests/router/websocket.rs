//! WebSocket through the router, between both sides of a well-known implementation.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use e2e::Speech;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::anywhere;
use crate::compared::{assert_as_good_as_nginx, passes};

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

fn connect(server: SocketAddr) -> WebSocket<TcpStream> {
    open(server, "/").expect("an upgrade")
}

fn open(server: SocketAddr, path: &str) -> Result<WebSocket<TcpStream>, Error> {
    let stream = TcpStream::connect(server).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    match tungstenite::client(format!("ws://{server}{path}"), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(error)) => Err(error),
        Err(HandshakeError::Interrupted(_)) => panic!("no answer in time"),
    }
}

type Case = (&'static str, fn(SocketAddr));

const CASES: [Case; 4] = [
    ("messages come back as they are", messages),
    ("a message in fragments arrives as one, also with a ping between them", fragments),
    ("both sides learn why the other closes", closes),
    ("one that is refused gets the server's answer", refused),
];

#[test]
fn tungstenites_websockets_work_through_the_router_as_through_nginx() {
    let test = "tungstenites_websockets_work_through_the_router_as_through_nginx";
    assert_as_good_as_nginx(test, serve(), Speech::Http1, &[], |proxy| {
        CASES.iter().map(|(name, case)| ((*name).to_owned(), passes(|| case(proxy)))).collect()
    });
}

fn messages(server: SocketAddr) {
    let mut socket = connect(server);
    for message in [
        Message::text("hello ü"),
        Message::text(""),
        Message::binary(vec![0, 255, 13, 10]),
        Message::text("x".repeat(BIG)),
        Message::binary((0..BIG).map(|index| index as u8).collect::<Vec<_>>()),
    ] {
        socket.send(message.clone()).expect("sent");
        let told = socket.read().expect("an answer");
        assert!(told == message, "another message of {} bytes came", told.len());
    }
}

fn fragments(server: SocketAddr) {
    let mut socket = connect(server);
    let part =
        |text: &'static str, kind, last| Message::Frame(Frame::message(text, OpCode::Data(kind), last));

    socket.send(part("one ", Data::Text, false)).expect("sent");
    socket.send(Message::Ping("between".into())).expect("sent");
    socket.send(part("two ", Data::Continue, false)).expect("sent");
    socket.send(part("three", Data::Continue, true)).expect("sent");

    assert_eq!(socket.read().expect("a pong"), Message::Pong("between".into()));
    assert_eq!(socket.read().expect("an answer"), Message::text("one two three"));
}

fn closes(server: SocketAddr) {
    let (mut socket, mut closing) = (connect(server), connect(server));
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

fn refused(server: SocketAddr) {
    let refusal = open(server, "/refused").expect_err("a refusal");

    let Error::Http(answer) = refusal else { panic!("{refusal}") };
    assert_eq!((answer.status().as_u16(), answer.body().as_deref()), (403, Some(&b"none"[..])));
}
