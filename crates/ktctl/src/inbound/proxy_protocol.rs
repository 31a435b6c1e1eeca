//! Tells a local program who calls, by a header of the PROXY protocol, version 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), before the caller's bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ppp::v2::{Builder, Command, Protocol, Version};

/// The header for a caller of a port of the shadow. The pod's own address is not known here: the
/// loopback stands for it.
pub(super) fn header(caller: SocketAddr, port: u16) -> io::Result<Vec<u8>> {
    let caller = SocketAddr::new(caller.ip().to_canonical(), caller.port());
    let called: IpAddr = match caller {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let addresses = (caller, SocketAddr::new(called, port));
    Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    #[test]
    fn the_header_has_the_callers_address_and_the_port_called() {
        let mapped = "[::ffff:10.1.2.3]:4660".parse().unwrap();

        let header = header(mapped, 8080).unwrap();

        let rest = [0x21, 0x11, 0, 12, 10, 1, 2, 3, 127, 0, 0, 1, 0x12, 0x34, 0x1f, 0x90];
        assert_eq!(header, [SIGNATURE, &rest].concat());
    }

    #[test]
    fn a_caller_over_ipv6_keeps_its_family() {
        let header = header("[fd00::7]:4660".parse().unwrap(), 8080).unwrap();

        assert_eq!(header[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!((header[16], header[31]), (0xfd, 7));
    }
}
