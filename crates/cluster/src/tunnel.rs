//! Carriers: a plain byte stream to a port of a pod, through the API server's port-forward.
//!
//! Two dialects lead there, SPDY/3.1 and WebSocket; roles and proxies in between decide which of
//! them works. kube's client does the upgrade (`upgrade`), the rest is ours: one `pump` for both,
//! with the `spdy` or `websocket` framing. No task and no channel: whoever polls does the work.
//!
//! The same ways lead to what a command in a pod says ([`Cluster::execute`]).

mod pump;
mod spdy;
mod upgrade;
mod way;
mod websocket;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::pump::Pump;
use self::spdy::Spdy;
pub(crate) use self::upgrade::base64;
use self::way::Way;
use self::websocket::WebSocket;
use crate::Cluster;
use crate::api::{ApiError, Right};

/// How port-forward is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SPDY/3.1 by `POST`: needs the verb `create` on `pods/portforward`.
    Spdy,
    /// WebSocket by `GET`: needs the verb `get`.
    WebSocket,
}

impl Dialect {
    fn other(self) -> Dialect {
        match self {
            Dialect::Spdy => Dialect::WebSocket,
            Dialect::WebSocket => Dialect::Spdy,
        }
    }
}

/// Why there is no way to a pod's port.
///
/// That nothing listens on the port (yet) is known only afterwards: the first read then fails with
/// [`io::ErrorKind::ConnectionRefused`], see [`nothing_listens`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pod does not exist (any more).
    #[error("pod {pod} does not exist any more")]
    PodGone {
        /// Its name.
        pod: String,
    },
    /// The pod exists, but can not be reached yet (or any more).
    #[error("pod {pod} can not be reached: {message}")]
    NotReady {
        /// Its name.
        pod: String,
        /// The node's words.
        message: String,
    },
    /// The user lacks the right.
    #[error("no right to {right}, which reaching pod {pod} needs")]
    Forbidden {
        /// Name of the pod.
        pod: String,
        /// What would have to be granted.
        right: Right,
    },
    /// The API server, or something before it, does not speak the dialect.
    #[error("the way to pod {pod} was refused: {message}")]
    Refused {
        /// Name of the pod.
        pod: String,
        /// The answer.
        message: String,
    },
    /// It took too long.
    #[error("the way to pod {pod} was not ready within {seconds} s")]
    TimedOut {
        /// Name of the pod.
        pod: String,
        /// The limit.
        seconds: u64,
    },
    /// The command has failed, or what it says broke off.
    #[error("the command in pod {pod} failed: {message}")]
    Command {
        /// Name of the pod.
        pod: String,
        /// The node's words.
        message: String,
    },
    /// The API server could not be asked.
    #[error("opening a way to pod {pod}")]
    Api {
        /// Name of the pod.
        pod: String,
        /// What came instead of an answer.
        source: ApiError,
    },
}

/// The dialect that worked last; the first choice of the next port-forward of this run.
#[derive(Debug, Default)]
pub(crate) struct Preference(AtomicU8);

impl Preference {
    fn first(&self) -> Dialect {
        match self.0.load(Ordering::Relaxed) {
            0 => Dialect::Spdy,
            _ => Dialect::WebSocket,
        }
    }

    fn remember(&self, dialect: Dialect) {
        self.0.store(u8::from(dialect == Dialect::WebSocket), Ordering::Relaxed);
    }
}

impl Cluster {
    /// Opens a byte stream to `port` of `pod` (of its loopback).
    ///
    /// Takes the dialect that worked last, else SPDY, and the other one when the first is refused.
    /// Cancel safety: may be dropped at any time; the connection goes with it.
    pub async fn port_forward(&self, pod: &str, port: u16) -> Result<Forward, Error> {
        self.within_limit(pod, self.open_by_any(pod, &Way::Port(port))).await
    }

    /// The same in one dialect only.
    pub async fn port_forward_by(&self, dialect: Dialect, pod: &str, port: u16) -> Result<Forward, Error> {
        self.within_limit(pod, self.open_by(dialect, pod, &Way::Port(port))).await
    }

    /// Runs a command in a container, and returns what it has said on stderr. Needs a right on
    /// `pods/exec`, which our own pods never ask for. A command that fails is an error.
    ///
    /// Cancel safety: dropped half-way, the command may have run or not.
    pub async fn execute(&self, pod: &str, container: &str, words: &[&str]) -> Result<String, Error> {
        let way = Way::Command { container, words };
        let broken = |error: io::Error| Error::Command { pod: pod.to_owned(), message: error.to_string() };
        let said = async {
            let mut stream = self.open_by_any(pod, &way).await?;
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.map_err(broken)?;
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        self.within_limit(pod, said).await
    }

    async fn within_limit<T>(
        &self,
        pod: &str,
        opening: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.settings().port_forward;
        let timed_out = Error::TimedOut { pod: pod.to_owned(), seconds: limit.as_secs() };
        tokio::time::timeout(limit, opening).await.unwrap_or(Err(timed_out))
    }

    async fn open_by_any(&self, pod: &str, way: &Way<'_>) -> Result<Forward, Error> {
        let first = self.dialect().first();
        match self.open_by(first, pod, way).await {
            Err(refusal @ (Error::Forbidden { .. } | Error::Refused { .. })) => {
                tracing::debug!(%refusal, dialect = ?first, "trying the other dialect");
                let other = self.open_by(first.other(), pod, way).await;
                other.inspect(|_| self.dialect().remember(first.other())).map_err(|_| refusal)
            }
            result => result,
        }
    }

    async fn open_by(&self, dialect: Dialect, pod: &str, way: &Way<'_>) -> Result<Forward, Error> {
        let upgraded = upgrade::upgrade(self, dialect, pod, way).await?;
        let mut forward = Forward::new(dialect, upgraded, way);
        let broken = |error: io::Error| Error::Api {
            pod: pod.to_owned(),
            source: ApiError::Unreachable(error.to_string()),
        };
        forward.flush().await.map_err(broken)?;
        Ok(forward)
    }
}

/// Did a read from a [`Forward`] fail because nothing listens on the port in the pod (yet)?
pub fn nothing_listens(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// A byte stream to a port of a pod.
///
/// Both directions are independent and may be polled by two tasks through [`tokio::io::split`].
/// What is written goes out at once where the connection takes it; the rest, and answers to pings,
/// with the next write, flush or read. What the node says against the stream is the error of a
/// read. Shutting it down ends the stream (port-forward knows no half-close).
pub struct Forward {
    carrier: Carrier,
}

enum Carrier {
    Spdy(Box<Pump<Spdy, TokioIo<Upgraded>>>),
    WebSocket(Box<Pump<WebSocket, TokioIo<Upgraded>>>),
}

impl Forward {
    fn new(dialect: Dialect, upgraded: Upgraded, way: &Way<'_>) -> Forward {
        let io = TokioIo::new(upgraded);
        let carrier = match dialect {
            Dialect::Spdy => Carrier::Spdy(Box::new(Pump::new(Spdy::new(way), io))),
            Dialect::WebSocket => Carrier::WebSocket(Box::new(Pump::new(WebSocket::new(way), io))),
        };
        Forward { carrier }
    }

    /// The dialect in use.
    pub fn dialect(&self) -> Dialect {
        match self.carrier {
            Carrier::Spdy(_) => Dialect::Spdy,
            Carrier::WebSocket(_) => Dialect::WebSocket,
        }
    }
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}

impl AsyncRead for Forward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Spdy(pump) => Pin::new(pump).poll_read(cx, to),
            Carrier::WebSocket(pump) => Pin::new(pump).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Forward {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.carrier {
            Carrier::Spdy(pump) => Pin::new(pump).poll_write(cx, data),
            Carrier::WebSocket(pump) => Pin::new(pump).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Spdy(pump) => Pin::new(pump).poll_flush(cx),
            Carrier::WebSocket(pump) => Pin::new(pump).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Spdy(pump) => Pin::new(pump).poll_shutdown(cx),
            Carrier::WebSocket(pump) => Pin::new(pump).poll_shutdown(cx),
        }
    }
}
