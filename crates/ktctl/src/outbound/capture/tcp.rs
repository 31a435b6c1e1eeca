//! The far half of a connection: how it is made, refused and carried.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::connections::Ticket;
use super::door::Doors;
use super::packet::{self, Packet};
use super::reply::{self, Code};
use crate::names::{self, Answers};
use crate::outbound::dial::{self, Dial, Flow, Reason, Refused, Target};

/// How long a program sees its SYN unanswered before it is told that there is no way.
const DIAL_WITHIN: Duration = Duration::from_secs(30);
/// Between two attempts at a target that does not answer.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
/// A program whose connection was silent so long is asked whether it still lives, so often, and so
/// many times: what it said last may have been lost on the device.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 5);

/// What a program's connection leads to.
#[derive(Debug)]
pub(super) enum Half<F> {
    Flow(F),
    /// Our own name server.
    Names,
}

/// What dialling has come to.
#[derive(Debug)]
pub(super) struct Dialled<F> {
    pub(super) ticket: Ticket,
    pub(super) result: Result<Half<F>, Refused>,
}

/// Connects. A target that does not answer is tried again, as the program's kernel would.
pub(super) async fn dial<D: Dial>(dial: D, ticket: Ticket, to: SocketAddr) -> Dialled<D::Flow> {
    let target = Target::Address(to);
    let attempts = async {
        loop {
            match dial.tcp(&target).await {
                Err(why) if why.reason == Reason::TimedOut => sleep(DIAL_AGAIN).await,
                other => return other.map(Half::Flow),
            }
        }
    };
    let result = timeout(DIAL_WITHIN, attempts).await.unwrap_or_else(|_| Err(Reason::TimedOut.into()));
    Dialled { ticket, result }
}

/// The packet that tells a program why its connection is not made.
pub(super) fn refusal(syn: &[u8], doors: &Doors, why: &Refused) -> Option<Vec<u8>> {
    let Packet::Tcp(tcp) = packet::read(syn)? else { return None };
    let code = match why.reason {
        Reason::Refused => return reply::reset(&tcp),
        Reason::Forbidden => Code::Prohibited,
        _ => Code::Host,
    };
    reply::unreachable(syn, doors.at(tcp.destination.ip())?.peer, code)
}

/// Carries an accepted connection to its end.
pub(super) async fn carry<F: Flow>(half: Half<F>, program: TcpStream, names: impl Answers) {
    // Both only make things better.
    let _ = program.set_nodelay(true);
    let (idle, every, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(every).with_retries(times);
    let _ = SockRef::from(&program).set_tcp_keepalive(&keepalive);
    match half {
        Half::Flow(flow) => dial::carry(flow, program).await,
        Half::Names => names::serve_connection(program, &names).await,
    }
}

#[cfg(test)]
mod tests {
    use super::super::door::Pair;
    use super::super::packet::RST;
    use super::super::sample;
    use super::*;

    fn answer(reason: Reason) -> Vec<u8> {
        let pair = Pair { address: [127, 0, 0, 1].into(), peer: [198, 18, 0, 2].into() };
        let doors = Doors::open(pair, None).expect("doors");
        refusal(sample::SYN, &doors, &reason.into()).expect("answer")
    }

    #[tokio::test]
    async fn a_refused_connection_is_reset_and_others_are_unreachable() {
        let Some(Packet::Tcp(reset)) = packet::read(&answer(Reason::Refused)) else { panic!("no TCP") };

        assert!(reset.has(RST));
        assert_eq!(answer(Reason::Unreachable)[20..22], [3, 1]);
        assert_eq!(answer(Reason::TimedOut)[20..22], [3, 1]);
        assert_eq!(answer(Reason::Forbidden)[20..22], [3, 13]);
    }
}
