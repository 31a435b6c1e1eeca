//! Datagrams: a conversation per pair of ends, and questions to our own name server.
//!
//! What does not fit at once is dropped, as on any network.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::device::Device;
use super::packet::Udp;
use super::reply::{self, Code};
use crate::names::Answers;
use crate::outbound::dial::{Datagrams, Dial, Reason, Refused, Target};

/// Datagrams of one conversation that wait for it to be opened; more are dropped.
const WAITING: usize = 64;
/// Conversations at once; datagrams of others are dropped.
const CONVERSATIONS: usize = 4096;
/// Questions to our name server that are under way at once; others are dropped.
const QUESTIONS: usize = 512;
/// A conversation that was silent so long is over.
const SILENT: Duration = Duration::from_secs(60);
/// The same for one with a name server, which is one question and its answer.
const SILENT_NAMES: Duration = Duration::from_secs(10);
/// How long opening a conversation may take.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// Numbers packets, so that the parts of one are known.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Who talks with whom.
type Pair = (SocketAddr, SocketAddr);

/// What has ended.
#[derive(Debug)]
pub(super) enum Ended {
    Conversation(Pair),
    Question,
}

/// A conversation or question on its way.
pub(super) type Task = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// All conversations.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    open: HashMap<Pair, mpsc::Sender<Bytes>>,
    questions: usize,
}

impl Conversations {
    /// Takes a datagram of a program to its conversation; a new one is returned as a task.
    pub(super) fn say<D: Dial>(&mut self, udp: Udp, data: &[u8], writer: Writer, dial: &D) -> Option<Task> {
        let pair = (udp.source, udp.destination);
        if let Some(sender) = self.open.get(&pair)
            && !sender.is_closed()
        {
            let _ = sender.try_send(Bytes::copy_from_slice(data)); // full: dropped
            return None;
        }
        if self.open.len() >= CONVERSATIONS {
            return None;
        }
        let (sender, receiver) = mpsc::channel(WAITING);
        let _ = sender.try_send(Bytes::copy_from_slice(data)); // never full: it is new
        self.open.insert(pair, sender);
        let dial = dial.clone();
        Some(Box::pin(async move {
            if let Err(why) = converse(&dial, udp, receiver, &writer).await {
                tracing::trace!(%why, to = %udp.destination, "a conversation has ended");
                match why.reason {
                    Reason::Refused => writer.refuse(udp, Code::Port),
                    Reason::Unreachable | Reason::TimedOut => writer.refuse(udp, Code::Host),
                    Reason::Forbidden => writer.refuse(udp, Code::Prohibited),
                    _ => {}
                }
            }
            Ended::Conversation(pair)
        }))
    }

    /// Asks our name server, whose answer goes back from where the question went to.
    pub(super) fn ask(
        &mut self,
        udp: Udp,
        query: &[u8],
        writer: Writer,
        names: &impl Answers,
    ) -> Option<Task> {
        if self.questions >= QUESTIONS {
            return None;
        }
        self.questions += 1;
        let (query, names) = (query.to_vec(), names.clone());
        Some(Box::pin(async move {
            if let Some(answer) = names.answer(&query, false).await {
                writer.answer(udp, &answer);
            }
            Ended::Question
        }))
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            // A new one between the same ends may have begun since.
            Ended::Conversation(pair) => {
                if self.open.get(&pair).is_some_and(mpsc::Sender::is_closed) {
                    self.open.remove(&pair);
                }
            }
            Ended::Question => self.questions -= 1,
        }
    }
}

/// Writes answers to the device.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) device: Arc<Device>,
    pub(super) mtu: usize,
    pub(super) peer: IpAddr,
}

impl Writer {
    /// Sends data back to where a datagram came from.
    fn answer(&self, to: Udp, data: &[u8]) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let packets = reply::datagram((to.destination, to.source), data, number, self.mtu);
        for packet in packets.into_iter().flatten() {
            self.device.write_packet(&packet);
        }
    }

    /// Tells a program that its datagram did not arrive.
    pub(super) fn refuse(&self, udp: Udp, code: Code) {
        let head = reply::datagram_head(udp.source, udp.destination);
        if let Some(error) = head.and_then(|head| reply::unreachable(&head, self.peer, code)) {
            self.device.write_packet(&error);
        }
    }
}

/// Talks until there is silence or the far end has ended it.
async fn converse(
    dial: &impl Dial,
    udp: Udp,
    mut said: mpsc::Receiver<Bytes>,
    writer: &Writer,
) -> Result<(), Refused> {
    let opened = timeout(OPEN_WITHIN, dial.udp(&Target::Address(udp.destination))).await;
    let datagrams = opened.map_err(|_| Refused::from(Reason::TimedOut))??;
    let silent = if udp.destination.port() == 53 { SILENT_NAMES } else { SILENT };
    loop {
        let next = async {
            tokio::select! {
                data = said.recv() => data.map(|data| Ok(Said::Here(data))),
                data = datagrams.receive() => Some(data.map(Said::There)),
            }
        };
        match timeout(silent, next).await {
            Ok(Some(said)) => match said? {
                Said::Here(data) => datagrams.send(data),
                Said::There(data) => writer.answer(udp, &data),
            },
            Ok(None) | Err(_) => return Ok(()),
        }
    }
}

/// A datagram of one side.
enum Said {
    Here(Bytes),
    There(Bytes),
}
