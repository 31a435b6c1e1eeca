//! Opens flows to the cluster. The only file of this folder that knows the link.

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kt_wire::{Open, Stream};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::uplink::Uplink;
pub(crate) use kt_wire::{Reason, Refused, Target};

/// Streams for names that are kept for the next query; more are closed after their use.
const IDLE_NAME_STREAMS: usize = 8;
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Opens flows. Cloning shares what is behind it.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    /// An open connection.
    type Flow: Flow;
    /// An open conversation of datagrams.
    type Datagrams: Datagrams;

    /// Connects to a target. Returns once the far end has connected, or has told why not. Waits
    /// while the link has no carrier. Cancel safe: the far end gives up, too.
    fn tcp(&self, to: &Target) -> impl Future<Output = Result<Self::Flow, Refused>> + Send;

    /// Opens a conversation of datagrams; nothing is sent to the target yet. Cancel safe.
    fn udp(&self, to: &Target) -> impl Future<Output = Result<Self::Datagrams, Refused>> + Send;

    /// Returns once the address has answered an ICMP echo. Cancel safe.
    fn echo(&self, to: IpAddr) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Asks the cluster's DNS; short names are tried in all their forms there. Query and answer are
    /// whole messages without a length before them. Cancel safe.
    fn names(&self, query: &[u8]) -> impl Future<Output = Result<Vec<u8>, Refused>> + Send;
}

/// A connection to the cluster; shutting it down ends this direction only.
pub(crate) trait Flow: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Ends it at once; the target sees a reset.
    fn reset(self, why: &Refused);
}

/// Datagrams to one target and back.
pub(crate) trait Datagrams: Send + Sync + 'static {
    /// Sends one, or drops it when too many wait.
    fn send(&self, data: Bytes);

    /// The next one that came back; an error once none can come. Cancel safe.
    fn receive(&self) -> impl Future<Output = Result<Bytes, Refused>> + Send;
}

/// Connects to a target, with an end to the waiting: 30 s, what a program's kernel takes for five
/// attempts. Cancel safe.
pub(crate) async fn connect<D: Dial>(dial: &D, to: &Target) -> Result<D::Flow, Refused> {
    timeout(CONNECT_WITHIN, dial.tcp(to)).await.unwrap_or_else(|_| Err(Reason::TimedOut.into()))
}

/// Carries bytes between a flow and a program of this laptop until both directions have ended. A
/// half-close stays one; when one side is reset, so is the other.
pub(crate) async fn carry<F: Flow>(mut flow: F, mut program: TcpStream) {
    let ended = kt_wire::relay(&mut flow, &mut program).await;
    tracing::trace!(?ended, "a flow has ended");
    if let Some(error) = ended.error {
        reset(program);
        flow.reset(&error.into());
    }
}

/// Closes a connection so that its program sees a reset.
pub(crate) fn reset(program: TcpStream) {
    // What fails here is closed already.
    let _ = SockRef::from(&program).set_linger(Some(Duration::ZERO));
}

/// Flows as streams of a link.
#[derive(Clone, Debug)]
pub(crate) struct ByLink {
    link: Uplink,
    /// Streams of the kind `Names` on which nothing is under way.
    names: Arc<Mutex<Vec<Stream>>>,
}

impl ByLink {
    pub(crate) fn new(link: Uplink) -> ByLink {
        ByLink { link, names: Arc::default() }
    }

    fn idle_name_stream(&self) -> Option<Stream> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep_name_stream(&self, stream: Stream) {
        let mut idle = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_NAME_STREAMS {
            idle.push(stream);
        }
    }
}

impl Dial for ByLink {
    type Flow = Stream;
    type Datagrams = Stream;

    async fn tcp(&self, to: &Target) -> Result<Stream, Refused> {
        self.link.open(&Open::Tcp(to.clone())).await
    }

    async fn udp(&self, to: &Target) -> Result<Stream, Refused> {
        self.link.open(&Open::Udp(to.clone())).await
    }

    async fn echo(&self, to: IpAddr) -> Result<(), Refused> {
        self.link.open(&Open::Echo(to)).await.map(drop)
    }

    /// A stream carries one query at a time, so a slow one holds up nobody, and one that is given
    /// up takes its stream with it.
    async fn names(&self, query: &[u8]) -> Result<Vec<u8>, Refused> {
        if let Some(mut stream) = self.idle_name_stream()
            && let Ok(answer) = ask(&mut stream, query).await
        {
            self.keep_name_stream(stream);
            return Ok(answer);
        }
        let mut stream = self.link.open(&Open::Names).await?;
        let answer = ask(&mut stream, query).await?;
        self.keep_name_stream(stream);
        Ok(answer)
    }
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), query: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

impl Flow for Stream {
    fn reset(self, why: &Refused) {
        Stream::reset(self, why);
    }
}

impl Datagrams for Stream {
    fn send(&self, data: Bytes) {
        self.send_datagram(data);
    }

    async fn receive(&self) -> Result<Bytes, Refused> {
        self.receive_datagram().await
    }
}
