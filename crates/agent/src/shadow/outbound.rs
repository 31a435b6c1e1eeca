//! Laptop to cluster: connections, datagrams and echoes to what the pod can reach.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use kt_wire::{Incoming, Reason, Refused, Target, relay};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::names::Resolver;

/// How long a connection may take; longer than two retransmissions of a SYN.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an echo may take.
const ECHO_WITHIN: Duration = Duration::from_secs(4);
/// The largest datagram, UDP's and ours.
const DATAGRAM: usize = 65_535;

/// Connects to the target, and only then accepts the stream.
pub(super) async fn tcp(resolver: &Resolver, target: &Target, asked: Incoming) {
    match connect(resolver, target).await {
        Ok(connection) => drop(relay(asked.accept(), connection).await),
        Err(why) => asked.refuse(&why),
    }
}

/// Connects to a target; a name's addresses are tried one after the other.
pub(super) async fn connect(resolver: &Resolver, target: &Target) -> Result<TcpStream, Refused> {
    let mut last = Refused::from(Reason::NoSuchName);
    for address in resolver.addresses(target).await? {
        match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(connection)) => {
                connection.set_nodelay(true)?;
                return Ok(connection);
            }
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = Reason::TimedOut.into(),
        }
    }
    Err(last)
}

/// Carries datagrams until the laptop has had enough of them.
pub(super) async fn udp(resolver: &Resolver, target: &Target, asked: Incoming) {
    let socket = match udp_socket(resolver, target).await {
        Ok(socket) => socket,
        Err(why) => return asked.refuse(&why),
    };
    let stream = asked.accept();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(length) => stream.send_datagram(buffer[..length].to_vec().into()),
                Err(error) => return stream.reset(&error.into()),
            },
            data = stream.receive_datagram() => match data {
                Ok(data) => drop(socket.send(&data).await), // as lost as on any network
                Err(_) => return,
            },
        }
    }
}

/// A socket which is connected to the target.
pub(super) async fn udp_socket(resolver: &Resolver, target: &Target) -> Result<UdpSocket, Refused> {
    let addresses = resolver.addresses(target).await?;
    let address = *addresses.first().ok_or(Reason::NoSuchName)?;
    let socket = UdpSocket::bind(unspecified(address.ip())).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn unspecified(like: IpAddr) -> SocketAddr {
    match like {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Accepts the stream once the address has answered an echo.
pub(super) async fn echo(address: IpAddr, asked: Incoming) {
    match timeout(ECHO_WITHIN, ping(address)).await {
        Ok(Ok(())) => drop(asked.accept()),
        Ok(Err(error)) => asked.refuse(&error.into()),
        Err(_) => asked.refuse(&Reason::TimedOut.into()),
    }
}

/// Sends an ICMP echo and waits for the answer. The kernel gives such a socket to groups within
/// `net.ipv4.ping_group_range`, sets the identifier and sorts the answers.
async fn ping(address: IpAddr) -> io::Result<()> {
    let (domain, protocol, request) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8u8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128u8),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket.into())?;
    socket.connect((address, 0)).await?;
    let mut packet = *b"\0\0\0\0\0\0\0\x01ktctl reaches";
    packet[0] = request;
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    socket.send(&packet).await?;
    socket.recv(&mut [0; 64]).await.map(drop)
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte));
    let sum: u32 = packet.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) as u16 + (folded >> 16) as u16)
}
