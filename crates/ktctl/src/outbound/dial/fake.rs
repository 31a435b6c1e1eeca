//! A cluster for tests: targets are loopback sockets or refusals.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};

use super::{Datagrams, Dial, Flow, Reason, Refused, Target};

type Names = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

/// What is behind the fake link.
#[derive(Clone)]
pub(crate) struct Fake {
    tcp: Arc<HashMap<Target, Result<SocketAddr, Reason>>>,
    names: Arc<Names>,
    pub(crate) delay: Duration,
    /// What was asked for, in order.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// A cluster with these targets; others do not exist. Datagrams come back as they were sent,
    /// and addresses ending in `.1` answer an echo.
    pub(crate) fn with(targets: impl IntoIterator<Item = (Target, Result<SocketAddr, Reason>)>) -> Fake {
        Fake {
            tcp: Arc::new(targets.into_iter().collect()),
            names: Arc::new(|_| None),
            delay: Duration::ZERO,
            asked: Arc::default(),
        }
    }

    /// A cluster with names only; `None` is a link that does not answer.
    pub(crate) fn names(names: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Fake {
        Fake { names: Arc::new(names), ..Fake::with([]) }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("asked").clone()
    }

    fn note(&self, what: String) {
        self.asked.lock().expect("asked").push(what);
    }
}

impl Dial for Fake {
    type Flow = TcpStream;
    type Datagrams = Echo;

    async fn tcp(&self, to: &Target) -> Result<TcpStream, Refused> {
        self.note(format!("tcp {to}"));
        sleep(self.delay).await;
        match self.tcp.get(to) {
            Some(Ok(address)) => Ok(TcpStream::connect(address).await?),
            Some(Err(reason)) => Err((*reason).into()),
            None => Err(Reason::NoSuchName.into()),
        }
    }

    async fn udp(&self, to: &Target) -> Result<Echo, Refused> {
        self.note(format!("udp {to}"));
        if let Some(Err(reason)) = self.tcp.get(to) {
            return Err((*reason).into());
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        Ok(Echo { sender, receiver: receiver.into() })
    }

    async fn echo(&self, to: IpAddr) -> Result<(), Refused> {
        self.note(format!("echo {to}"));
        if to.to_string().ends_with(".1") { Ok(()) } else { Err(Reason::TimedOut.into()) }
    }

    async fn names(&self, query: &[u8]) -> Result<Vec<u8>, Refused> {
        self.note("names".into());
        match (self.names)(query) {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }
}

impl Flow for TcpStream {
    fn reset(self, _: &Refused) {
        super::reset(self);
    }
}

/// Gives back what it was given.
pub(crate) struct Echo {
    sender: mpsc::UnboundedSender<Bytes>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>,
}

impl Datagrams for Echo {
    fn send(&self, data: Bytes) {
        self.sender.send(data).expect("receiver");
    }

    async fn receive(&self) -> Result<Bytes, Refused> {
        self.receiver.lock().await.recv().await.ok_or(Reason::Cancelled.into())
    }
}
