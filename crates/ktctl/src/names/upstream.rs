//! Asks a name server: original bytes, but a number of our own, so that an answer can not be made up
//! by somebody who does not see the question.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UdpSocket};

use super::message::{self, Query};
use super::{read_message, write_message};

/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Asks once. Over UDP, an answer that was cut is asked for again over TCP when `whole` is wanted.
/// Waits without an end; cancel safe.
pub(super) async fn ask(
    server: SocketAddr,
    tcp: bool,
    query: &Query<'_>,
    whole: bool,
) -> io::Result<Vec<u8>> {
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
    let mut bytes = query.bytes.to_vec();
    bytes[..2].copy_from_slice(&number);
    if !tcp {
        let answer = ask_by_udp(server, &bytes, query).await?;
        if !(whole && message::is_cut(&answer)) {
            return Ok(answer);
        }
    }
    ask_by_tcp(server, &bytes, query).await
}

async fn ask_by_udp(server: SocketAddr, bytes: &[u8], query: &Query<'_>) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut answer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], bytes, query) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn ask_by_tcp(server: SocketAddr, bytes: &[u8], query: &Query<'_>) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(server).await?;
    write_message(&mut connection, bytes).await?;
    let answer = read_message(&mut connection).await?;
    match is_answer(&answer, bytes, query) {
        true => Ok(answer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn is_answer(answer: &[u8], asked: &[u8], query: &Query<'_>) -> bool {
    answer.get(..2) == asked.get(..2) && query.is_answered_by(answer)
}
