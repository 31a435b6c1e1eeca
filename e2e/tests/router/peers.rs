//! Servers of `e2e/peers` on the loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{peer, unused_port, wait_until};

pub(crate) const KT_PEERS: &str = "bin/kt-peers";

/// One that serves; dropped, it is ended.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts one with these words before and after the address where it is to serve.
    pub(crate) fn start(test: &str, before: &[&str], after: &[&str]) -> Option<Self> {
        let address = (Ipv4Addr::LOCALHOST, unused_port().expect("a port")).into();
        let mut command = Command::new(peer(test, KT_PEERS)?);
        command.args(before).arg(SocketAddr::to_string(&address)).args(after).stdin(Stdio::null());
        let peer = Self { process: command.spawn().expect("start a peer"), address };
        wait_until("a peer that serves", Duration::from_secs(10), || TcpStream::connect(address).ok());
        Some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}

/// All that a program says until it ends.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("start a program");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
