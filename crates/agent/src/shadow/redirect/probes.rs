//! The node's questions how the pod is. They are for the pod's own program: a laptop without an answer
//! shall not have the pod restarted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The `RTF_GATEWAY` of a route.
const GATEWAY: u32 = 0x2;

/// Calls that are left to the pod's own program.
#[derive(Debug, Default)]
pub(in crate::shadow) struct Probes {
    /// From where.
    pub(super) from: Vec<IpAddr>,
    /// To which ports of TCP.
    pub(super) ports: Vec<u16>,
}

impl Probes {
    /// Those of a node with these addresses. It may also call from the pod's gateways, as it does in
    /// many networks.
    pub(in crate::shadow) fn of(node: Vec<IpAddr>, ports: Vec<u16>) -> Probes {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (v4, v6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
        let mut from = node;
        from.extend(gateways_v4(&v4).map(IpAddr::V4));
        from.extend(gateways_v6(&v6).map(IpAddr::V6));
        from.sort_unstable();
        from.dedup();
        Probes { from, ports }
    }
}

/// `Iface Destination Gateway Flags …`, the addresses hexadecimal and in the machine's byte order.
fn gateways_v4(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gateway = u32::from_str_radix(fields.get(2)?, 16).ok()?;
        (is_gateway(fields.get(3)?) && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// `Destination Length Source Length Gateway Metric RefCnt Use Flags Iface`, hexadecimal.
fn gateways_v6(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gateway = u128::from_str_radix(fields.get(4)?, 16).ok()?;
        (is_gateway(fields.get(8)?) && gateway != 0).then(|| Ipv6Addr::from(gateway))
    })
}

fn is_gateway(flags: &str) -> bool {
    u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & GATEWAY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn gateways_are_found_in_the_routing_tables_of_the_kernel() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd000010024400010000000000000001 00000400 00000001 00000000 00000003 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n"
        );

        assert_eq!(gateways_v4(v4).collect::<Vec<_>>(), [Ipv4Addr::new(10, 244, 1, 1)]);
        assert_eq!(
            gateways_v6(&v6).collect::<Vec<_>>(),
            ["fd00:10:244:1::1".parse::<Ipv6Addr>().expect("address")]
        );
        assert_eq!(gateways_v4("").count() + gateways_v6("\n").count(), 0);
    }
}
