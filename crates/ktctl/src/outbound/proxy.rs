//! One port for programs that know of a proxy: SOCKS5, SOCKS4, SOCKS4a and HTTP, told apart by the
//! first byte. Names are looked up in the cluster, in all their forms.

mod http;
mod socks4;
mod socks5;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dial::{self, Dial, Refused, Target};

/// How long a program may take to say what it wants.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// Serves until dropped, which ends all flows. There are no passwords: whoever reaches the listener
/// reaches the cluster.
pub(crate) async fn serve<D: Dial>(listener: TcpListener, dial: D) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!("everybody who can reach {address} can now reach the cluster, without any password");
    }
    let mut flows = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((program, from)) => {
                    let flow = flow(program, dial.clone());
                    flows.spawn(async move {
                        if let Err(error) = flow.await {
                            tracing::debug!(%from, %error, "a program's request to the proxy has failed");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "can not accept a connection");
                    sleep(Duration::from_millis(100)).await; // a lack of descriptors passes
                }
            },
            Some(_) = flows.join_next() => {}
        }
    }
}

/// What a program wants, in the language it speaks.
enum Asked {
    Socks4(Target),
    Socks5(Target),
    Http(http::Request),
}

impl Asked {
    fn target(&self) -> &Target {
        match self {
            Asked::Socks4(target) | Asked::Socks5(target) => target,
            Asked::Http(request) => &request.target,
        }
    }

    fn yes(&self) -> &[u8] {
        match self {
            Asked::Socks4(_) => &socks4::GRANTED,
            Asked::Socks5(_) => &socks5::GRANTED,
            Asked::Http(request) => request.yes(),
        }
    }

    fn no(&self, why: &Refused) -> Vec<u8> {
        match self {
            Asked::Socks4(_) => socks4::REJECTED.to_vec(),
            Asked::Socks5(_) => socks5::failure(why).to_vec(),
            Asked::Http(request) => http::failure(&request.target, why),
        }
    }

    /// What the target has to hear first.
    fn first(&self) -> &[u8] {
        match self {
            Asked::Socks4(_) | Asked::Socks5(_) => &[],
            Asked::Http(request) => &request.first,
        }
    }
}

async fn flow(mut program: TcpStream, dial: impl Dial) -> io::Result<()> {
    program.set_nodelay(true)?;
    let Some(asked) = timeout(ASK_WITHIN, read(&mut program)).await?? else { return Ok(()) };
    match dial::connect(&dial, asked.target()).await {
        Ok(mut flow) => {
            program.write_all(asked.yes()).await?;
            flow.write_all(asked.first()).await?;
            dial::carry(flow, program).await;
            Ok(())
        }
        Err(why) => {
            tracing::debug!(to = %asked.target(), %why, "a connection is refused");
            program.write_all(&asked.no(&why)).await?;
            farewell(program).await
        }
    }
}

/// Reads what the program wants; `None` when it was told already why that can not be.
async fn read(program: &mut TcpStream) -> io::Result<Option<Asked>> {
    match program.read_u8().await? {
        4 => Ok(socks4::read(program).await?.map(Asked::Socks4)),
        5 => Ok(socks5::read(program).await?.map(Asked::Socks5)),
        first if first.is_ascii_uppercase() => Ok(http::read(first, program).await?.map(Asked::Http)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "neither SOCKS nor HTTP")),
    }
}

/// Closes so that the program gets our answer even if it is still talking.
async fn farewell(mut program: TcpStream) -> io::Result<()> {
    program.shutdown().await?;
    let mut rest = [0; 1024];
    let drained = async { while program.read(&mut rest).await.is_ok_and(|length| length > 0) {} };
    let _ = timeout(Duration::from_secs(1), drained).await;
    Ok(())
}

/// A host as programs write it: an address or a name.
fn target(host: &str, port: u16) -> Target {
    match host.parse::<IpAddr>() {
        Ok(address) => Target::Address((address, port).into()),
        Err(_) => Target::Name(host.to_owned(), port),
    }
}
