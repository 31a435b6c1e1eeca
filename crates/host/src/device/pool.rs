//! Addresses and a name for the device that nothing on the laptop uses.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Benchmarking (RFC 2544), then carrier-grade NAT (RFC 6598): neither a company nor a cluster
/// should use them inside, but some do, so each candidate is compared with what is there.
const POOLS: [(Ipv4Addr, u8); 2] = [(Ipv4Addr::new(198, 18, 0, 0), 15), (Ipv4Addr::new(100, 64, 0, 0), 10)];

/// Room for the device's own address and its peer.
const LINK_PREFIX: u8 = 30;

/// Unique local addresses (RFC 4193) of ours, and the length of a link's prefix in them.
const POOL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd6b, 0x7463, 0x746c, 0, 0, 0, 0, 0), 112);
/// The same as [`LINK_PREFIX`].
pub const LINK_PREFIX_V6: u8 = 126;

/// The laptop's own address and the peer's of a link (prefix length 30) which collides with nothing.
///
/// `routes` should hold the machine's routes and the ranges that are about to be routed; default
/// routes among them are passed over. None only when both pools are used up.
#[must_use]
pub fn free_pool(addresses: &[IpNet], routes: &[IpNet]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let taken: Vec<Ipv4Net> =
        addresses.iter().chain(routes.iter().filter(|route| route.prefix_len() > 0)).filter_map(v4).collect();
    let links =
        POOLS.iter().filter_map(|(start, length)| free_link(Ipv4Net::new(*start, *length).ok()?, &taken));
    links.map(ends).next()
}

/// The same of the other family, prefix length [`LINK_PREFIX_V6`].
#[must_use]
pub fn free_pool_v6(addresses: &[IpNet], routes: &[IpNet]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (start, length) = POOL_V6;
    let taken = |link: &Ipv6Net| {
        let link = IpNet::V6(*link);
        let near = addresses.iter().chain(routes.iter().filter(|route| route.prefix_len() > 0));
        near.into_iter().any(|net| net.contains(&link) || link.contains(net))
    };
    let mut links = Ipv6Net::new(start, length).ok()?.subnets(LINK_PREFIX_V6).ok()?;
    let first = links.find(|link| !taken(link))?.network().to_bits();
    Some((Ipv6Addr::from_bits(first + 1), Ipv6Addr::from_bits(first + 2)))
}

/// `kt0`, or the next one that no device has.
#[must_use]
pub fn free_name(devices: &[String]) -> String {
    let mut names = (0_u32..).map(|number| format!("kt{number}"));
    names.find(|name| !devices.contains(name)).unwrap_or_else(|| "kt0".to_owned())
}

fn v4(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    }
}

/// The first free link of a block. Halves that are free as a whole are not looked at one by one.
fn free_link(block: Ipv4Net, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let near: Vec<Ipv4Net> =
        taken.iter().filter(|net| block.contains(*net) || net.contains(&block)).copied().collect();
    if near.iter().any(|net| net.contains(&block)) {
        return None;
    }
    if near.is_empty() {
        return block.subnets(LINK_PREFIX).ok()?.next();
    }
    if block.prefix_len() >= LINK_PREFIX {
        return None;
    }
    let mut halves = block.subnets(block.prefix_len() + 1).ok()?;
    halves.find_map(|half| free_link(half, &near))
}

fn ends(link: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let first = u32::from(link.network());
    (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_machine_gives_the_first_link() {
        assert_eq!(free_pool(&[], &nets(&["0.0.0.0/0"])), link("198.18.0.1", "198.18.0.2"));
    }

    #[test]
    fn addresses_and_routes_of_the_machine_are_passed_by() {
        assert_eq!(
            free_pool(&nets(&["198.18.0.7/24"]), &nets(&["198.18.1.0/30", "198.18.1.5/32"])),
            link("198.18.1.9", "198.18.1.10")
        );
    }

    #[test]
    fn a_company_that_uses_one_pool_gets_the_other() {
        assert_eq!(free_pool(&[], &nets(&["198.18.0.0/15"])), link("100.64.0.1", "100.64.0.2"));
        assert_eq!(free_pool(&[], &nets(&["198.0.0.0/8", "100.64.0.0/10"])), None);
    }

    #[test]
    fn a_link_of_the_other_family_passes_by_those_that_are_there() {
        let link = |last: u16| Ipv6Addr::new(0xfd6b, 0x7463, 0x746c, 0, 0, 0, 0, last);

        assert_eq!(free_pool_v6(&[], &nets(&["::/0"])), Some((link(1), link(2))));
        let another = nets(&["fd6b:7463:746c::1/126"]);
        assert_eq!(free_pool_v6(&another, &[]), Some((link(5), link(6))));
        assert_eq!(free_pool_v6(&[], &nets(&["fd00::/8"])), None);
    }

    #[test]
    fn the_device_gets_the_first_free_name() {
        let devices = ["lo", "kt0", "kt2"].map(str::to_owned);

        assert_eq!(free_name(&devices), "kt1");
    }

    fn link(own: &str, peer: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
        Some((own.parse().unwrap(), peer.parse().unwrap()))
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }
}
