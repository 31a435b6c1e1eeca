//! From addresses to few blocks. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// The blocks which cover the addresses: of Services, of pods, then of both together.
///
/// Addresses whose first 16 bits agree (64 for IPv6) share a block, which is cut down to whole
/// bytes (two bytes for IPv6). The blocks of Services stand first.
pub fn blocks(services: &[IpAddr], pods: &[IpAddr]) -> Vec<IpNet> {
    let single = |addresses: &[IpAddr]| addresses.iter().copied().map(IpNet::from).collect::<Vec<_>>();
    let mut joined = grouped(&single(services));
    joined.extend(grouped(&single(pods)));
    grouped(&joined)
}

/// One block for each group of neighbours, in the order of their first members.
fn grouped(blocks: &[IpNet]) -> Vec<IpNet> {
    let mut groups: Vec<IpNet> = Vec::new();
    for block in blocks {
        match groups.iter_mut().find(|group| are_neighbours(group, block)) {
            Some(group) => *group = common(group, block),
            None => groups.push(block.trunc()),
        }
    }
    groups.iter().map(whole_bytes).collect()
}

/// How many first bits make neighbours.
fn neighbourhood(block: &IpNet) -> u8 {
    if matches!(block, IpNet::V4(_)) { 16 } else { 64 }
}

fn are_neighbours(one: &IpNet, other: &IpNet) -> bool {
    match (bits(one), bits(other)) {
        ((one_bits, 32), (other_bits, 32)) => (one_bits ^ other_bits) >> 16 == 0,
        ((one_bits, 128), (other_bits, 128)) => (one_bits ^ other_bits) >> 64 == 0,
        _ => false,
    }
}

/// The address as a number, and how many bits it has.
fn bits(block: &IpNet) -> (u128, u8) {
    match block.network() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

/// The smallest block around two blocks of one family.
fn common(one: &IpNet, other: &IpNet) -> IpNet {
    let ((one_bits, width), (other_bits, _)) = (bits(one), bits(other));
    let different = 128 - (one_bits ^ other_bits).leading_zeros();
    let agree = width - different as u8;
    let length = agree.min(one.prefix_len()).min(other.prefix_len());
    shortened(one, length)
}

/// Cut down to a multiple of 8 bits (16 for IPv6), but not below a neighbourhood.
fn whole_bytes(block: &IpNet) -> IpNet {
    let step = if matches!(block, IpNet::V4(_)) { 8 } else { 16 };
    let length = block.prefix_len() / step * step;
    let least = neighbourhood(block).min(block.prefix_len());
    shortened(block, length.max(least))
}

fn shortened(block: &IpNet, length: u8) -> IpNet {
    IpNet::new(block.network(), length).map_or(*block, |shorter| shorter.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(services: &[&str], pods: &[&str]) -> Vec<String> {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        blocks(&ips(services), &ips(pods)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn services_stand_first_and_pods_follow() {
        let pods = ["172.168.0.7", "172.168.0.8", "172.167.0.7", "172.167.0.8"];

        let found = of(&["192.168.0.18", "192.168.1.18"], &pods);

        assert_eq!(found, ["192.168.0.0/16", "172.168.0.0/24", "172.167.0.0/24"]);
    }

    #[test]
    fn neighbours_share_a_block() {
        assert_eq!(of(&[], &["1.2.3.4", "1.2.3.100"]), ["1.2.3.0/24"]);
        let mixed = of(&[], &["1.2.3.4", "2.3.4.5", "1.2.3.100", "2.3.5.5"]);
        assert_eq!(mixed, ["1.2.3.0/24", "2.3.0.0/16"]);
    }

    #[test]
    fn one_address_stays_one() {
        assert_eq!(of(&["1.2.3.4"; 4], &[]), ["1.2.3.4/32"]);
    }

    #[test]
    fn blocks_join_like_addresses() {
        let nets: Vec<IpNet> = ["1.2.3.160/28", "1.2.3.176/28"].map(|text| text.parse().unwrap()).into();

        assert_eq!(grouped(&nets), ["1.2.3.0/24".parse().unwrap()]);
    }

    #[test]
    fn services_and_pods_that_are_neighbours_share_a_block() {
        assert_eq!(of(&["10.96.0.1"], &["10.96.7.7"]), ["10.96.0.0/16"]);
    }

    #[test]
    fn the_newer_family_has_blocks_of_its_own() {
        let found = of(&["fd00:10:96::1", "10.96.0.1"], &["fd00:10:244:1::5", "fd00:10:244:1::9:7"]);

        assert_eq!(found, ["fd00:10:96::1/128", "10.96.0.1/32", "fd00:10:244:1::/96"]);
    }
}
