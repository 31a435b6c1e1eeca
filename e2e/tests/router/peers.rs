//! Programs of `e2e/peers`, as `scripts/setup.sh peers` builds them into the user's cache.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::{cache, skip, unused_port, wait_until};

/// One of them that serves; dropped, it is ended.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
}

/// Where a program is; nothing, and the test is skipped, when it was not built.
pub(crate) fn program(test: &str, name: &str) -> Option<PathBuf> {
    let path = cache().join("ktctl/bin").join(name);
    if !path.exists() {
        skip(test, &format!("{name} is not built (scripts/setup.sh peers)"));
        return None;
    }
    Some(path)
}

impl Peer {
    /// Starts one with these words before and after the address where it is to serve.
    pub(crate) fn start(test: &str, before: &[&str], after: &[&str]) -> Option<Self> {
        let address = (Ipv4Addr::LOCALHOST, unused_port().expect("a port")).into();
        let mut command = Command::new(program(test, "kt-peers")?);
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
