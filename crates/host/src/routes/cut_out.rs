//! The rules R1 to R3 and R5: what must never be led into the cluster is cut out of the wanted
//! ranges, and routes of other devices which win against ours are reported.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::subtract::overlap;
use super::{Machine, Route, subtract};

/// What goes to the device, and what the user should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlan {
    /// The wanted ranges without what was cut out, in the wanted order, none twice.
    pub ranges: Vec<IpNet>,
    /// What was cut out of them.
    pub cut: Vec<Cut>,
    /// Routes of other devices inside the wanted ranges.
    pub overlaps: Vec<Overlap>,
}

/// A hole in the wanted ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its addresses.
    pub range: IpNet,
    /// Its reason.
    pub why: Why,
}

/// Why addresses stay with the laptop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The caller says so: API server, a proxy on the way to it, `--excludeIps`.
    Never,
    /// The laptop has the address itself.
    OwnAddress,
    /// The laptop's way to the world.
    Gateway,
    /// The laptop asks it for names.
    NameServer,
    /// Loopback, link-local, multicast, broadcast.
    Special,
}

/// A route of another device, as narrow as a wanted range or narrower: calls there do not reach the
/// cluster, or the other device loses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Where the other route leads to.
    pub range: IpNet,
    /// Whose it is.
    pub device: String,
}

/// Cuts everything out of `wanted` that must stay with the laptop.
///
/// `never` holds all addresses of the API server and what the user excludes. A name server that
/// lies in the cluster must not stand in `machine.name_servers`.
#[must_use]
pub fn cut_out(wanted: &[IpNet], machine: &Machine, never: &[IpNet]) -> RoutePlan {
    let cut: Vec<Cut> = holes(machine, never)
        .into_iter()
        .filter(|hole| wanted.iter().any(|range| overlap(range, &hole.range)))
        .collect();
    let holes: Vec<IpNet> = cut.iter().map(|hole| hole.range).collect();

    RoutePlan { ranges: ranges(wanted, &holes), overlaps: overlaps(wanted, machine, &holes), cut }
}

/// Ranges which no machine routes anywhere else: this network, loopback, link-local, multicast,
/// broadcast.
#[must_use]
pub fn special_ranges() -> [IpNet; 8] {
    let v4 = |a, b, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length));
    let v6 = |first, last, length| {
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last), length))
    };
    [
        v4(0, 0, 8),
        v4(127, 0, 8),
        v4(169, 254, 16),
        v4(224, 0, 4),
        IpNet::from(IpAddr::V4(Ipv4Addr::BROADCAST)),
        v6(0, 1, 128),
        v6(0xfe80, 0, 10),
        v6(0xff00, 0, 8),
    ]
}

fn holes(machine: &Machine, never: &[IpNet]) -> Vec<Cut> {
    let own = machine.addresses.iter().map(|own| own.net.addr());
    let hosts = |addresses: &[IpAddr], why| {
        addresses.iter().map(move |ip| Cut { range: (*ip).into(), why }).collect::<Vec<_>>()
    };

    let mut holes: Vec<Cut> =
        never.iter().map(|range| Cut { range: range.trunc(), why: Why::Never }).collect();
    holes.extend(own.map(|ip| Cut { range: ip.into(), why: Why::OwnAddress }));
    holes.extend(hosts(&machine.gateways(), Why::Gateway));
    holes.extend(hosts(&machine.name_servers, Why::NameServer));
    holes.extend(special_ranges().map(|range| Cut { range, why: Why::Special }));
    holes
}

fn ranges(wanted: &[IpNet], holes: &[IpNet]) -> Vec<IpNet> {
    let mut ranges: Vec<IpNet> = Vec::new();
    for (index, range) in wanted.iter().enumerate() {
        if !is_covered(range, index, wanted) {
            ranges.extend(subtract(*range, holes));
        }
    }
    ranges
}

/// Whether another wanted range does the work; of two equal ones the first stays.
fn is_covered(range: &IpNet, index: usize, wanted: &[IpNet]) -> bool {
    wanted.iter().enumerate().any(|(other_index, other)| {
        other.contains(range) && (other.trunc() != range.trunc() || other_index < index)
    })
}

fn overlaps(wanted: &[IpNet], machine: &Machine, holes: &[IpNet]) -> Vec<Overlap> {
    let in_the_way = |route: &&Route| {
        wanted.iter().any(|range| range.contains(&route.range))
            && !holes.iter().any(|hole| hole.contains(&route.range))
            && !is_ours(&route.device)
    };
    machine
        .routes
        .iter()
        .filter(in_the_way)
        .map(|route| Overlap { range: route.range, device: route.device.clone() })
        .collect()
}

fn is_ours(device: &str) -> bool {
    device.strip_prefix("kt").is_some_and(|number| number.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::OwnAddress;

    #[test]
    fn the_api_server_is_replaced_by_the_blocks_around_it() {
        let plan = cut_out(
            &nets(&["10.1.2.0/24", "10.2.2.0/24", "192.168.0.0/16"]),
            &Machine::default(),
            &nets(&["10.2.2.26/32"]),
        );

        assert_eq!(plan.ranges[..2], nets(&["10.1.2.0/24", "10.2.2.128/25"]));
        assert_eq!(plan.ranges[8..], nets(&["10.2.2.27/32", "192.168.0.0/16"]));
        assert_eq!(plan.cut, [Cut { range: net("10.2.2.26/32"), why: Why::Never }]);
    }

    #[test]
    fn a_block_that_is_only_the_api_server_is_dropped() {
        let wanted = nets(&["10.1.2.26/32", "10.2.2.0/24", "192.168.0.0/16"]);

        let plan = cut_out(&wanted, &Machine::default(), &nets(&["10.1.2.26/32"]));

        assert_eq!(plan.ranges, wanted[1..]);
    }

    #[test]
    fn the_laptop_keeps_its_address_its_gateway_and_its_name_server() {
        let plan = cut_out(&nets(&["192.168.1.0/24"]), &machine(), &[]);

        let reached = |address: &str| plan.ranges.iter().any(|range| range.contains(&net(address)));
        assert!(!reached("192.168.1.7/32"));
        assert!(!reached("192.168.1.1/32"));
        assert!(!reached("192.168.1.53/32"));
        assert!(reached("192.168.1.8/32"));
        assert_eq!(plan.cut.len(), 3);
    }

    #[test]
    fn loopback_link_local_and_multicast_never_leave() {
        let plan = cut_out(&nets(&["0.0.0.0/1", "128.0.0.0/1", "::/1"]), &Machine::default(), &[]);

        for address in ["127.0.0.1/32", "169.254.169.254/32", "224.0.0.1/32", "255.255.255.255/32", "::1/128"]
        {
            assert!(!plan.ranges.iter().any(|range| range.contains(&net(address))), "{address}");
        }
    }

    #[test]
    fn routes_of_others_inside_a_wanted_range_are_named() {
        let mut machine = machine();
        machine.routes.push(route("172.17.0.0/16", "docker0"));
        machine.routes.push(route("10.96.4.0/24", "wg0"));
        machine.routes.push(route("10.0.0.0/8", "tun9"));

        let plan = cut_out(&nets(&["172.17.0.0/16", "10.96.0.0/16"]), &machine, &[]);

        let named: Vec<&str> = plan.overlaps.iter().map(|overlap| overlap.device.as_str()).collect();
        assert_eq!(named, ["docker0", "wg0"]);
    }

    #[test]
    fn our_own_device_and_routes_to_holes_are_no_overlap() {
        let mut machine = machine();
        machine.routes.push(route("10.96.4.0/24", "kt0"));
        machine.routes.push(route("10.96.0.9/32", "eth0"));

        let plan = cut_out(&nets(&["10.96.0.0/16"]), &machine, &nets(&["10.96.0.9/32"]));

        assert_eq!(plan.overlaps, []);
    }

    #[test]
    fn no_range_is_routed_twice() {
        let plan =
            cut_out(&nets(&["10.96.1.0/24", "10.96.0.0/16", "10.96.0.0/16"]), &Machine::default(), &[]);

        assert_eq!(plan.ranges, nets(&["10.96.0.0/16"]));
    }

    fn machine() -> Machine {
        Machine {
            addresses: vec![OwnAddress { device: "eth0".to_owned(), net: net("192.168.1.7/24") }],
            routes: vec![Route {
                range: net("0.0.0.0/0"),
                device: "eth0".to_owned(),
                gateway: Some("192.168.1.1".parse().unwrap()),
            }],
            name_servers: vec!["192.168.1.53".parse().unwrap()],
            devices: vec!["lo".to_owned(), "eth0".to_owned()],
        }
    }

    fn route(range: &str, device: &str) -> Route {
        Route { range: net(range), device: device.to_owned(), gateway: None }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| net(text)).collect()
    }
}
