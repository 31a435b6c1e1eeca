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
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A program that keeps a connection open without asking anything is disconnected.
const SILENT: Duration = Duration::from_secs(30);

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
