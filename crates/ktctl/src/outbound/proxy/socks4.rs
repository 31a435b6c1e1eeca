//! SOCKS4, and 4a, which sends names.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Target, target};

/// "Request granted."
pub(super) const GRANTED: [u8; 8] = [0, 90, 0, 0, 0, 0, 0, 0];
/// "Request rejected or failed."
pub(super) const REJECTED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];

/// The command to connect.
const CONNECT: u8 = 1;
/// User names and host names are not longer.
const LONGEST: usize = 255;

/// Reads a request after its first byte; `None` when it was rejected.
pub(super) async fn read(program: &mut TcpStream) -> io::Result<Option<Target>> {
    let command = program.read_u8().await?;
    let port = program.read_u16().await?;
    let address = program.read_u32().await?;
    read_text(program).await?; // the user
    // 4a: an address 0.0.0.x that can not be means that a name follows.
    let target = match address {
        1..=255 => target(&read_text(program).await?, port),
        _ => Target::Address((Ipv4Addr::from_bits(address), port).into()),
    };
    if command != CONNECT {
        program.write_all(&REJECTED).await?;
        return Ok(None);
    }
    Ok(Some(target))
}

async fn read_text(program: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        match program.read_u8().await? {
            0 => return String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into()),
            _ if text.len() == LONGEST => return Err(io::ErrorKind::InvalidData.into()),
            byte => text.push(byte),
        }
    }
}
