//! The helper is root and its peer is not: nothing is done that was not built for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Change;
use crate::routes::special_ranges;

/// More names than any hosts file should hold; a bound, not a goal.
const MOST_ENTRIES: usize = 50_000;
/// More routes than a cluster leads to; a bound, not a goal.
const MOST_RANGES: usize = 20_000;
/// RFC 791: every host takes packets of this size.
const LEAST_MTU: u32 = 576;
const MOST_MTU: u32 = 65_535;

/// A change that no honest main process asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not one of our device names.
    #[error("device name {0:?} is not ours")]
    Device(String),
    /// An address that no device may have.
    #[error("{0} is no address for a device")]
    Address(IpAddr),
    /// Addresses which do not share the prefix, or a length out of bounds.
    #[error("prefix length {0} does not fit the addresses")]
    Prefix(u8),
    /// Out of bounds.
    #[error("packet size {0} is out of bounds")]
    Mtu(u32),
    /// The default route, loopback, link-local or multicast.
    #[error("range {0} must stay with the laptop")]
    Range(IpNet),
    /// Not a name server.
    #[error("{0} can not be a name server")]
    Server(IpAddr),
    /// Not a domain or host name.
    #[error("{0:?} is not a host name")]
    Name(String),
    /// A port that nobody listens on.
    #[error("port 0 can not be redirected to")]
    Port,
    /// A list without end.
    #[error("{0} entries are too many")]
    TooMany(usize),
}

impl Change {
    /// Says whether the change is of the kind that the helper exists for.
    ///
    /// # Errors
    /// It is not; nothing must be done then.
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Device { name, address, peer, prefix, v6, mtu } => {
                check_device(name)?;
                check_link(*address, *peer, *prefix)?;
                v6.map_or(Ok(()), check_v6)?;
                if (LEAST_MTU..=MOST_MTU).contains(mtu) { Ok(()) } else { Err(Invalid::Mtu(*mtu)) }
            }
            Self::Routes { device, ranges } => {
                check_device(device)?;
                check_ranges(ranges)
            }
            Self::Resolver { device, server, search, suffixes } => {
                device.as_deref().map_or(Ok(()), check_device)?;
                check_server(*server)?;
                search.iter().chain(suffixes).try_for_each(|name| check_name(name))
            }
            Self::Hosts { entries } => {
                check_length(entries.len(), MOST_ENTRIES)?;
                entries.iter().try_for_each(|(_, name)| check_name(name))
            }
            Self::Redirect { ranges, except, port, .. } => {
                check_ranges(ranges)?;
                check_length(except.len(), MOST_RANGES)?;
                if *port == 0 { Err(Invalid::Port) } else { Ok(()) }
            }
        }
    }
}

fn check_device(name: &str) -> Result<(), Invalid> {
    match name.strip_prefix("kt") {
        Some(number) if is_short_number(number) => Ok(()),
        _ => Err(Invalid::Device(name.to_owned())),
    }
}

fn is_short_number(text: &str) -> bool {
    (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_link(address: Ipv4Addr, peer: Ipv4Addr, prefix: u8) -> Result<(), Invalid> {
    check_address(address.into())?;
    check_address(peer.into())?;
    if address == peer {
        return Err(Invalid::Address(peer.into()));
    }
    // A /8 is the widest private range; anything wider would be a default route by another name.
    if (8..=32).contains(&prefix) { Ok(()) } else { Err(Invalid::Prefix(prefix)) }
}

/// Unique local (RFC 4193), and no more than a link.
fn check_v6((address, prefix): (Ipv6Addr, u8)) -> Result<(), Invalid> {
    if !address.is_unique_local() {
        return Err(Invalid::Address(address.into()));
    }
    if (64..=128).contains(&prefix) { Ok(()) } else { Err(Invalid::Prefix(prefix)) }
}

fn check_address(address: IpAddr) -> Result<(), Invalid> {
    let is_special = special_ranges().iter().any(|special| special.contains(&address));
    if is_special { Err(Invalid::Address(address)) } else { Ok(()) }
}

fn check_ranges(ranges: &[IpNet]) -> Result<(), Invalid> {
    check_length(ranges.len(), MOST_RANGES)?;
    match ranges.iter().find(|range| !may_be_routed(range)) {
        Some(range) => Err(Invalid::Range(*range)),
        None => Ok(()),
    }
}

fn may_be_routed(range: &IpNet) -> bool {
    let special = special_ranges().iter().any(|special| special.contains(range) || range.contains(special));
    !special && range.prefix_len() > 0
}

fn check_server(server: IpAddr) -> Result<(), Invalid> {
    if server.is_unspecified() || server.is_multicast() { Err(Invalid::Server(server)) } else { Ok(()) }
}

/// Letters, digits, `-`, `_` and dots: nothing that could start a second line or a comment.
fn check_name(name: &str) -> Result<(), Invalid> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=253).contains(&name.len()) && name.bytes().all(legal) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(Invalid::Name(name.to_owned()))
    }
}

fn check_length(length: usize, most: usize) -> Result<(), Invalid> {
    if length > most { Err(Invalid::TooMany(length)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_device_names_are_taken() {
        for name in ["kt0", "kt17"] {
            assert_eq!(routes(name, &["10.0.0.0/8"]).check(), Ok(()));
        }
        for name in ["eth0", "kt", "kt0/../x", "kt00000", "lo"] {
            assert_eq!(routes(name, &[]).check(), Err(Invalid::Device(name.to_owned())));
        }
    }

    #[test]
    fn the_default_route_and_loopback_stay_with_the_laptop() {
        for range in ["0.0.0.0/0", "127.0.0.0/8", "::/0", "224.0.0.0/24", "169.254.1.0/24", "0.0.0.0/1"] {
            assert_eq!(routes("kt0", &[range]).check(), Err(Invalid::Range(range.parse().unwrap())));
        }
    }

    #[test]
    fn a_name_can_not_smuggle_a_second_line_into_the_hosts_file() {
        let entries = vec![("10.0.0.1".parse().unwrap(), "a\n6.6.6.6 bank.example".to_owned())];

        assert!(matches!(Change::Hosts { entries }.check(), Err(Invalid::Name(_))));
    }

    #[test]
    fn a_device_takes_neither_loopback_nor_one_address_for_both_ends() {
        assert_eq!(device("198.18.0.1", "198.18.0.2").check(), Ok(()));
        assert!(device("127.0.0.1", "198.18.0.2").check().is_err());
        assert!(device("198.18.0.1", "198.18.0.1").check().is_err());
    }

    #[test]
    fn an_address_of_the_other_family_is_a_local_one() {
        for (v6, is_taken) in [("fd6b::1", true), ("2001:db8::1", false), ("::1", false), ("fe80::1", false)]
        {
            let Change::Device { name, address, peer, prefix, mtu, .. } = device("198.18.0.1", "198.18.0.2")
            else {
                panic!("no device");
            };
            let v6 = Some((v6.parse().unwrap(), 126));
            let change = Change::Device { name, address, peer, prefix, v6, mtu };
            assert_eq!(change.check().is_ok(), is_taken, "{v6:?}");
        }
    }

    fn routes(device: &str, ranges: &[&str]) -> Change {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Change::Routes { device: device.to_owned(), ranges }
    }

    fn device(address: &str, peer: &str) -> Change {
        Change::Device {
            name: "kt0".to_owned(),
            address: address.parse().unwrap(),
            peer: peer.parse().unwrap(),
            prefix: 30,
            v6: None,
            mtu: 1500,
        }
    }
}
