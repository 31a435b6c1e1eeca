//! A block of addresses without some of them.

use ipnet::IpNet;

/// The blocks which together are `block` without `holes`, from the largest to the smallest.
///
/// Holes of the other address family and beside the block change nothing.
#[must_use]
pub fn subtract(block: IpNet, holes: &[IpNet]) -> Vec<IpNet> {
    let mut rest = Vec::new();
    split(block.trunc(), holes, &mut rest);
    rest.sort_by_key(|part| (part.prefix_len(), part.network()));
    rest
}

/// Halves the block until no part of it touches a hole that does not swallow it.
fn split(block: IpNet, holes: &[IpNet], rest: &mut Vec<IpNet>) {
    let inside: Vec<IpNet> = holes.iter().filter(|hole| overlap(&block, hole)).copied().collect();
    if inside.is_empty() {
        rest.push(block);
    } else if !inside.iter().any(|hole| hole.contains(&block)) {
        for half in halves(block) {
            split(half, &inside, rest);
        }
    }
}

fn halves(block: IpNet) -> impl Iterator<Item = IpNet> {
    block.subnets(block.prefix_len() + 1).into_iter().flatten()
}

/// Two blocks have an address in common exactly when one holds the other.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_one_block_of_each_size() {
        assert_eq!(
            without("10.2.2.0/24", &["10.2.2.26/32"]),
            [
                "10.2.2.128/25",
                "10.2.2.64/26",
                "10.2.2.32/27",
                "10.2.2.0/28",
                "10.2.2.16/29",
                "10.2.2.28/30",
                "10.2.2.24/31",
                "10.2.2.27/32"
            ]
        );
        assert_eq!(
            without("192.168.0.0/16", &["192.168.40.80/32"]),
            [
                "192.168.128.0/17",
                "192.168.64.0/18",
                "192.168.0.0/19",
                "192.168.48.0/20",
                "192.168.32.0/21",
                "192.168.44.0/22",
                "192.168.42.0/23",
                "192.168.41.0/24",
                "192.168.40.128/25",
                "192.168.40.0/26",
                "192.168.40.96/27",
                "192.168.40.64/28",
                "192.168.40.88/29",
                "192.168.40.84/30",
                "192.168.40.82/31",
                "192.168.40.81/32"
            ]
        );
    }

    #[test]
    fn a_block_in_a_hole_is_gone() {
        assert!(without("10.1.2.26/32", &["10.1.2.26/32"]).is_empty());
        assert!(without("10.1.2.0/24", &["10.0.0.0/8"]).is_empty());
    }

    #[test]
    fn holes_elsewhere_change_nothing() {
        assert_eq!(without("10.1.2.0/24", &["10.2.2.26/32", "fd00::1/128"]), ["10.1.2.0/24"]);
    }

    #[test]
    fn several_holes_are_cut_at_once() {
        assert_eq!(
            without("10.0.0.0/29", &["10.0.0.0/31", "10.0.0.7/32"]),
            ["10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]
        );
    }

    #[test]
    fn the_other_family_is_cut_the_same_way() {
        assert_eq!(without("fd00::/126", &["fd00::1/128"]), ["fd00::2/127", "fd00::/128"]);
    }

    fn without(block: &str, holes: &[&str]) -> Vec<String> {
        let holes: Vec<IpNet> = holes.iter().map(|hole| hole.parse().unwrap()).collect();
        let rest = subtract(block.parse().unwrap(), &holes);
        rest.iter().map(ToString::to_string).collect()
    }
}
