//! Names: our own name server on the laptop, which asks the cluster, the servers that were there
//! before, or both.
//!
//! [`mode`] is what users choose, [`order`] decides who is asked, [`server`] asks and answers,
//! [`cache`] remembers. The cluster's half is `agent/shadow/names`, which completes short names.

mod cache;
mod message;
pub(crate) mod mode;
pub(crate) mod order;
mod renamed;
#[cfg(test)]
mod sample;
pub(crate) mod server;
mod upstream;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A program that keeps a connection open without asking anything is disconnected.
const SILENT: Duration = Duration::from_secs(30);
/// Questions that are under way at once on sockets of ours; others are dropped.
const QUESTIONS: usize = 512;

/// Answers questions of the DNS.
pub(crate) trait Answers: Clone + Send + Sync + 'static {
    /// The answer to a query, both as whole messages; `None` when none is due. An answer that does
    /// not go over TCP is as small as the one who asks wants it. Cancel safe.
    fn answer(&self, query: &[u8], over_tcp: bool) -> impl Future<Output = Option<Vec<u8>>> + Send;
}

/// Answers what comes in over one connection, a question after the other, until its end.
pub(crate) async fn serve_connection(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    names: &impl Answers,
) {
    while let Ok(Ok(query)) = timeout(SILENT, read_message(&mut connection)).await {
        let Some(answer) = names.answer(&query, true).await else { return };
        if write_message(&mut connection, &answer).await.is_err() {
            return;
        }
    }
}

/// Answers what comes in over sockets: for a laptop without the device. Bind them to loopback only.
/// Serves until dropped.
#[cfg_attr(not(test), expect(dead_code, reason = "for back ends without a device"))]
pub(crate) async fn serve_sockets(udp: UdpSocket, tcp: TcpListener, names: impl Answers) -> io::Result<()> {
    let udp = Arc::new(udp);
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_535];
    loop {
        tokio::select! {
            received = udp.recv_from(&mut buffer) => match received {
                Ok((length, from)) if tasks.len() < QUESTIONS => {
                    let (udp, names, query) = (udp.clone(), names.clone(), buffer[..length].to_vec());
                    tasks.spawn(async move {
                        if let Some(answer) = names.answer(&query, false).await {
                            let _ = udp.send_to(&answer, from).await; // as lost as on any network
                        }
                    });
                }
                // An error is about an answer that somebody no longer waits for.
                _ => {}
            },
            accepted = tcp.accept() => match accepted {
                Ok((connection, _)) => {
                    let names = names.clone();
                    tasks.spawn(async move { serve_connection(connection, &names).await });
                }
                Err(_) => sleep(Duration::from_millis(100)).await, // a lack of descriptors passes
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Reads a message with its length before it. Not cancel safe.
async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; from.read_u16().await?.into()];
    from.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it. Not cancel safe.
async fn write_message(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}
