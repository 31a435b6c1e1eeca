//! What the device carries and which names are ours: decided from what was typed and what is known.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::cli::Connect;
use crate::failure::Usage;
use crate::names::mode::{self, Mode, Parsed};
use crate::uplink::Place;

/// How names are resolved: what `--dnsMode` says, as far as `connect` without sshuttle can do it.
pub(crate) fn dns_mode(text: &str) -> Result<Parsed, Usage> {
    let parsed = mode::parse(text).map_err(|invalid| Usage(invalid.to_string()))?;
    match parsed.mode {
        Mode::Local(_) | Mode::Hosts(_) | Mode::Untouched => Ok(parsed),
        Mode::Pod => Err(Usage("dns mode 'podDNS' is not available for connect mode 'tun2socks'".into())),
    }
}

/// The namespaces whose names go to the hosts file, where that was asked for.
pub(crate) fn hosts(ask: &Connect) -> Option<Vec<String>> {
    match mode::parse(&ask.dns_mode).ok()?.mode {
        Mode::Hosts(namespaces) => Some(namespaces),
        _ => None,
    }
}

/// The ranges that should go to the device, before anything is cut out: what the cluster told us,
/// what the shadow sees around itself, and what the user adds.
pub(crate) fn wanted(ask: &Connect, known: &[IpNet], place: &Place) -> Vec<IpNet> {
    let networks = place.networks.iter().filter(|_| !ask.disable_pod_ip).copied();
    let single = place.name_servers.iter().chain(&place.kubernetes).map(|address| IpNet::from(*address));
    let all: BTreeSet<IpNet> =
        known.iter().copied().chain(networks).chain(single).chain(ask.include_ips.iter().copied()).collect();
    // A range inside another one adds nothing.
    let inside = |range: &IpNet| all.iter().any(|other| other != range && other.contains(range));
    all.iter().filter(|range| !inside(range)).copied().collect()
}

/// Single addresses which are not yet in any of the ranges.
pub(crate) fn uncovered(ranges: &[IpNet], addresses: &[IpAddr]) -> Vec<IpNet> {
    let covered = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
    let new: BTreeSet<IpNet> =
        addresses.iter().filter(|address| !covered(address)).map(|address| (*address).into()).collect();
    new.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn ask(arguments: &[&str]) -> Connect {
        let cli = Cli::parse_from([&["ktctl", "connect"], arguments].concat());
        match cli.command {
            Some(Command::Connect(ask)) => ask,
            other => panic!("{other:?}"),
        }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("range")).collect()
    }

    fn place() -> Place {
        Place {
            networks: nets(&["10.244.1.0/24"]),
            name_servers: vec!["10.96.0.10".parse().expect("address")],
            search: vec![],
            kubernetes: "10.96.0.1".parse().ok(),
        }
    }

    #[test]
    fn ranges_come_from_cluster_shadow_and_user_and_none_is_in_another() {
        let wanted = wanted(&ask(&["--includeIps", "172.2.0.0/16"]), &nets(&["10.96.0.0/16"]), &place());

        assert_eq!(wanted, nets(&["10.96.0.0/16", "10.244.1.0/24", "172.2.0.0/16"]));
    }

    // covers: 7-5
    #[test]
    fn without_pod_ips_only_services_are_routed() {
        let wanted = wanted(&ask(&["--disablePodIp"]), &[], &place());

        assert_eq!(wanted, nets(&["10.96.0.1/32", "10.96.0.10/32"]));
    }

    #[test]
    fn an_address_outside_of_all_ranges_is_added_alone() {
        let addresses = ["10.96.0.9", "10.97.0.9", "10.97.0.9"].map(|text| text.parse().expect("address"));

        assert_eq!(uncovered(&nets(&["10.96.0.0/16"]), &addresses), nets(&["10.97.0.9/32"]));
    }

    #[test]
    fn the_mode_of_names_is_understood_or_refused() {
        assert!(matches!(dns_mode("localDNS").map(|parsed| parsed.mode), Ok(Mode::Local(_))));
        assert!(matches!(dns_mode("none").map(|parsed| parsed.mode), Ok(Mode::Untouched)));
        let refused = dns_mode("nonsense").expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "invalid dns mode: 'nonsense', supportted mode are localDNS, podDNS, hosts"
        );
        assert!(dns_mode("podDNS").is_err());
    }
}
