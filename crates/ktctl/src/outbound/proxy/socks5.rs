//! SOCKS5 (RFC 1928): no password, CONNECT only.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Refused, Target, target};
use crate::outbound::dial::Reason;

/// "Succeeded."
pub(super) const GRANTED: [u8; 10] = reply(0);

/// The command to connect.
const CONNECT: u8 = 1;
/// "Command not supported."
const NO_SUCH_COMMAND: u8 = 7;
/// "Address type not supported."
const NO_SUCH_ADDRESS: u8 = 8;
/// The method without a password.
const NO_PASSWORD: u8 = 0;
/// None of the methods offered will do.
const NO_METHOD: u8 = 0xff;

const fn reply(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// What tells a program why its connection is not made.
pub(super) fn failure(why: &Refused) -> [u8; 10] {
    reply(match why.reason {
        Reason::Forbidden => 2,
        Reason::LinkLost => 3,
        Reason::Unreachable | Reason::NoSuchName => 4,
        Reason::Refused => 5,
        Reason::TimedOut => 6,
        _ => 1,
    })
}

/// Reads a request after its first byte; `None` when it was refused.
pub(super) async fn read(program: &mut TcpStream) -> io::Result<Option<Target>> {
    let mut methods = vec![0; program.read_u8().await?.into()];
    program.read_exact(&mut methods).await?;
    if !methods.contains(&NO_PASSWORD) {
        program.write_all(&[5, NO_METHOD]).await?;
        return Ok(None);
    }
    program.write_all(&[5, NO_PASSWORD]).await?;

    let mut head = [0; 4];
    program.read_exact(&mut head).await?;
    let [version, command, _, kind] = head;
    if version != 5 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let host = match kind {
        1 => Ipv4Addr::from_bits(program.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; program.read_u8().await?.into()];
            program.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?
        }
        4 => Ipv6Addr::from_bits(program.read_u128().await?).to_string(),
        _ => {
            program.write_all(&reply(NO_SUCH_ADDRESS)).await?;
            return Ok(None);
        }
    };
    let port = program.read_u16().await?;
    if command != CONNECT {
        program.write_all(&reply(NO_SUCH_COMMAND)).await?;
        return Ok(None);
    }
    Ok(Some(target(&host, port)))
}
