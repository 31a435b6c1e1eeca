//! The cluster's names: short forms are tried as a pod would try them, and the answer carries the
//! name that was asked for.

mod candidates;
mod query;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kt_wire::{Incoming, Reason, Refused, Stream, Target};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use candidates::candidates;
use query::{Answer, judge, renamed, restored};

/// How long one name server may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Queries of one laptop which are asked at once; more wait.
const AT_ONCE: usize = 64;
/// What an answer over UDP holds at most: what we say in EDNS, or what a server sends anyway.
const UDP_MOST: usize = 4096;

/// Asks the name servers of the pod.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// Reads the pod's `/etc/resolv.conf`.
    pub(crate) fn from_system() -> Resolver {
        Resolver::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Resolver {
        let mut resolver = Resolver { servers: Vec::new(), search: Vec::new() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search") => resolver.search = words.map(|word| word.trim_matches('.').into()).collect(),
                _ => {}
            }
        }
        resolver
    }

    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    pub(crate) fn search(&self) -> &[String] {
        &self.search
    }

    /// The addresses of a target; a name is looked up in all its forms.
    pub(crate) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Refused> {
        let (name, port) = match target {
            Target::Address(address) => return Ok(vec![*address]),
            Target::Name(name, port) => (name, *port),
        };
        if let Ok(address) = name.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (v4, v6) = tokio::join!(self.look_up(name, TYPE::A), self.look_up(name, TYPE::AAAA));
        let failure =
            || Refused { reason: Reason::Unreachable, text: format!("the cluster's DNS failed for {name}") };
        let found: Vec<IpAddr> = match (v4, v6) {
            (Ok(v4), Ok(v6)) => v4.into_iter().chain(v6).collect(),
            (Ok(some), Err(_)) | (Err(_), Ok(some)) => some,
            (Err(_), Err(_)) => return Err(failure()),
        };
        match found.is_empty() {
            true => Err(Refused {
                reason: Reason::NoSuchName,
                text: format!("no such name in the cluster: {name}"),
            }),
            false => Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect()),
        }
    }

    async fn look_up(&self, name: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
        let invalid = |error: simple_dns::SimpleDnsError| {
            io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
        };
        let mut packet = Packet::new_query(1);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name.trim_end_matches('.')).map_err(invalid)?;
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        let answer = self.answer(&packet.build_bytes_vec().map_err(invalid)?).await;
        let answer = answer.ok_or(io::ErrorKind::TimedOut)?;
        let packet = Packet::parse(&answer).map_err(invalid)?;
        Ok(packet.answers.iter().filter_map(|record| address(&record.rdata)).collect())
    }

    /// Answers a query, given and returned as bytes; `None` when there is no query to answer.
    pub(crate) async fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let packet = Packet::parse(query).ok()?;
        let question = packet.questions.first()?;
        let asked = question.qname.to_string();
        let mut best = Answer::Failed;
        for candidate in candidates(&asked, &self.search) {
            let as_asked = candidate == asked;
            let bytes = match as_asked {
                true => query.to_vec(),
                false => renamed(&packet, &candidate)?,
            };
            let Some(answer) = self.ask(&bytes).await else { continue };
            let answer = match as_asked {
                true => answer,
                false => restored(&answer, &candidate, &packet).unwrap_or(answer),
            };
            let judged = judge(answer);
            if matches!(judged, Answer::Found(_)) {
                best = judged;
                break;
            }
            best = best.better_of(judged);
        }
        best.into_bytes().or_else(|| failure(&packet))
    }

    /// Asks the servers in turn.
    async fn ask(&self, query: &[u8]) -> Option<Vec<u8>> {
        for server in &self.servers {
            if let Ok(Ok(answer)) = timeout(ANSWER_WITHIN, ask_one(*server, query)).await {
                return Some(answer);
            }
        }
        None
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    }
}

/// What is said when no server answered.
fn failure(query: &Packet) -> Option<Vec<u8>> {
    let mut answer = Packet::new_reply(query.id());
    answer.questions = query.questions.clone();
    *answer.rcode_mut() = RCODE::ServerFailure;
    answer.build_bytes_vec().ok()
}

/// Asks by UDP, and once more by TCP when the answer was cut.
async fn ask_one(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; UDP_MOST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if length < 12 || answer[..2] != query[..2] {
            continue;
        }
        let truncated = answer[2] & 0b10 != 0;
        return match truncated {
            true => ask_by_tcp(server, query).await,
            false => Ok(answer[..length].to_vec()),
        };
    }
}

async fn ask_by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(server).await?;
    write_message(&mut connection, query).await?;
    read_message(&mut connection).await
}

async fn write_message(to: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes(), message].concat()).await
}

async fn read_message(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; from.read_u16().await?.into()];
    from.read_exact(&mut message).await?;
    Ok(message)
}

/// Answers the queries of a laptop, in any order.
pub(crate) async fn serve(resolver: &Resolver, asked: Incoming) {
    let (mut reader, writer) = tokio::io::split(asked.accept());
    let writer = Rc::new(Mutex::new(writer));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let resolver = Rc::new(resolver.clone());
    let mut answers = JoinSet::new();
    while let Ok(query) = read_message(&mut reader).await {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        let (resolver, writer) = (resolver.clone(), writer.clone());
        answers.spawn_local(async move {
            answer_one(&resolver, &query, &writer).await;
            drop(turn);
        });
        while answers.try_join_next().is_some() {}
    }
    while answers.join_next().await.is_some() {}
}

async fn answer_one(resolver: &Resolver, query: &[u8], writer: &Mutex<tokio::io::WriteHalf<Stream>>) {
    if let Some(answer) = resolver.answer(query).await {
        // The laptop is gone when this fails, and the reader will find out.
        let _ = write_message(&mut *writer.lock().await, &answer).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_search_list_come_from_resolv_conf() {
        let resolver = Resolver::parse(
            "search dev.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
        );

        assert_eq!(resolver.servers, ["10.96.0.10:53".parse().expect("address")]);
        assert_eq!(resolver.search, ["dev.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
    }
}
