//! No device yet on this system; the SOCKS proxy works without one.

use std::convert::Infallible;
use std::io;

/// Can not be made here.
#[derive(Debug)]
pub struct Tun(Infallible);

impl Tun {
    /// Whether super-packets and unfinished checksums pass.
    #[must_use]
    pub fn offload(&self) -> bool {
        match self.0 {}
    }

    /// Starts reading and writing.
    ///
    /// # Errors
    /// Never called.
    pub fn packets(self) -> io::Result<Packets> {
        match self.0 {}
    }
}

/// Can not be made here.
#[derive(Debug)]
pub struct Packets(Infallible);

impl Packets {
    /// Waits for the next packet.
    ///
    /// # Errors
    /// Never called.
    pub async fn recv(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Hands a packet to the laptop.
    ///
    /// # Errors
    /// Never called.
    pub async fn send(&self, _packet: &[u8]) -> io::Result<()> {
        match self.0 {}
    }
}
