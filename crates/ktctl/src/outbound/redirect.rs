//! Flows that the packet filter leads to a listener on loopback: the way without the device.
//!
//! The kernel has accepted a connection before we hear of it, so a refusal is a reset after the
//! handshake. One back end, `capture`, can do better.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::dial::{self, Dial, Target};

/// Serves until dropped, which ends all flows. `original` tells where a connection was meant to go
/// (`kt_host::redirect::original_destination`).
pub(crate) async fn serve<D: Dial>(
    listener: TcpListener,
    dial: D,
    original: impl Fn(&TcpStream) -> io::Result<SocketAddr>,
) -> io::Result<()> {
    let own = listener.local_addr()?;
    let mut flows = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((program, from)) => match original(&program) {
                    Ok(to) if to != own => drop(flows.spawn(flow(program, to, dial.clone()))),
                    _ => {
                        tracing::debug!(%from, "somebody called the listener directly");
                        dial::reset(program);
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "can not accept a connection");
                    sleep(Duration::from_millis(100)).await; // a lack of descriptors passes
                }
            },
            Some(_) = flows.join_next() => {}
        }
    }
}

async fn flow(program: TcpStream, to: SocketAddr, dial: impl Dial) {
    let _ = program.set_nodelay(true); // only makes things better
    match dial::connect(&dial, &Target::Address(to)).await {
        Ok(flow) => dial::carry(flow, program).await,
        Err(why) => {
            tracing::debug!(%to, %why, "a connection is refused");
            dial::reset(program);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::dial::fake::Fake;
    use super::*;

    /// A redirecting listener before a cluster with one target.
    async fn redirected(target: &str, original: SocketAddr) -> TcpStream {
        let echo = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let there = echo.local_addr().expect("address");
        tokio::spawn(async move {
            let (mut caller, _) = echo.accept().await.expect("caller");
            let (mut read, mut write) = caller.split();
            tokio::io::copy(&mut read, &mut write).await.expect("echo");
        });
        let dial = Fake::with([(Target::Address(target.parse().expect("address")), Ok(there))]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let here = listener.local_addr().expect("address");
        tokio::spawn(serve(listener, dial, move |_| Ok(original)));
        TcpStream::connect(here).await.expect("connect")
    }

    #[tokio::test]
    async fn a_redirected_connection_reaches_where_it_was_meant_to_go() {
        let mut program = redirected("10.96.0.10:80", "10.96.0.10:80".parse().expect("address")).await;

        program.write_all(b"hello").await.expect("write");
        program.shutdown().await.expect("half-close");
        let mut answer = String::new();
        program.read_to_string(&mut answer).await.expect("read");

        assert_eq!(answer, "hello");
    }

    #[tokio::test]
    async fn a_refused_connection_is_reset() {
        let mut program = redirected("10.96.0.10:80", "10.96.0.10:81".parse().expect("address")).await;

        let error = program.read_u8().await.expect_err("reset");

        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
