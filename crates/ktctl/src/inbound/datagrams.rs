//! Carries the datagrams of one peer to `127.0.0.1:<port>`, else to `[::1]`, and the answers back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use kt_wire::{Incoming, Stream};
use tokio::net::UdpSocket;
use tracing::debug;

/// The largest datagram.
const DATAGRAM: usize = 65_535;
const LOOPBACKS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Serves a peer until the shadow has forgotten it. What no program takes is lost.
pub(super) async fn deliver(caller: Incoming, peer: SocketAddr, laptop: u16) {
    debug!(%peer, laptop, "delivers a caller's datagrams");
    let mut flow = Flow { stream: caller.accept(), unanswered: None, buffer: vec![0; DATAGRAM] };
    loop {
        for loopback in LOOPBACKS {
            match flow.carry((loopback, laptop).into()).await {
                Ok(()) => return,
                Err(error) => debug!(%peer, laptop, %loopback, %error, "Local service error"),
            }
        }
        flow.unanswered = match flow.stream.receive_datagram().await {
            Ok(data) => Some(data),
            Err(_) => return,
        };
    }
}

struct Flow {
    stream: Stream,
    /// What may have to be sent to the other loopback.
    unanswered: Option<Bytes>,
    buffer: Vec<u8>,
}

impl Flow {
    /// Returns when the peer is forgotten; fails when nobody listens there.
    async fn carry(&mut self, to: SocketAddr) -> io::Result<()> {
        let socket = UdpSocket::bind((to.ip(), 0)).await?;
        socket.connect(to).await?;
        if let Some(data) = &self.unanswered {
            socket.send(data).await?;
        }
        loop {
            tokio::select! {
                answer = socket.recv(&mut self.buffer) => {
                    let length = answer?;
                    self.unanswered = None;
                    self.stream.send_datagram(Bytes::copy_from_slice(&self.buffer[..length]));
                }
                data = self.stream.receive_datagram() => match data {
                    Ok(data) => {
                        self.unanswered = Some(data.clone());
                        socket.send(&data).await?;
                    }
                    Err(_) => return Ok(()),
                },
            }
        }
    }
}
