//! Which addresses are the cluster's: read as far as rights go, and made into few blocks.
//!
//! Holes (the API server, the laptop's own networks) are not cut here; `kt-host` does that.

mod blocks;
pub(crate) mod follow;
mod names;
mod read;

use std::net::IpAddr;

use ipnet::IpNet;

pub use self::blocks::blocks;
pub use self::read::addresses_of;

use crate::api::Right;

/// The cluster's addresses as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Cluster addresses of Services.
    pub services: Vec<IpAddr>,
    /// Addresses of pods.
    pub pods: Vec<IpAddr>,
    /// Addresses of nodes and of pods in their network: single hosts, never part of a block.
    pub hosts: Vec<IpAddr>,
    /// Ranges which the cluster itself names.
    pub named: Vec<IpNet>,
    /// What could not be read, and so may be missing.
    pub missing: Vec<Right>,
}

impl Ranges {
    /// The blocks to route: what the cluster names, what follows from addresses outside of that,
    /// and single hosts outside of both.
    pub fn plan(&self) -> Vec<IpNet> {
        let mut plan = self.named.clone();
        let outside = |addresses: &[IpAddr], known: &[IpNet]| -> Vec<IpAddr> {
            let unknown = |address: &&IpAddr| !known.iter().any(|block| block.contains(*address));
            addresses.iter().filter(unknown).copied().collect()
        };
        let services = outside(&self.services, &plan);
        let pods = outside(&self.pods, &plan);
        plan.extend(blocks(&services, &pods));
        let hosts = outside(&self.hosts, &plan);
        plan.extend(hosts.into_iter().map(IpNet::from));
        let mut unique = Vec::with_capacity(plan.len());
        for block in plan {
            if !unique.contains(&block) {
                unique.push(block);
            }
        }
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn named_ranges_make_guesses_needless() {
        let ranges = Ranges {
            services: ips(&["10.96.0.1", "10.96.4.7"]),
            pods: ips(&["10.244.1.5", "10.245.9.9"]),
            hosts: ips(&["192.168.7.10", "10.244.1.1", "192.168.7.10"]),
            named: vec!["10.96.0.0/12".parse().unwrap(), "10.244.1.0/24".parse().unwrap()],
            missing: Vec::new(),
        };

        let plan: Vec<String> = ranges.plan().iter().map(ToString::to_string).collect();

        assert_eq!(plan, ["10.96.0.0/12", "10.244.1.0/24", "10.245.9.9/32", "192.168.7.10/32"]);
    }

    #[test]
    fn a_node_beside_the_office_never_becomes_a_block() {
        let ranges = Ranges {
            pods: ips(&["10.244.1.5", "10.244.2.5"]),
            hosts: ips(&["192.168.7.10", "192.168.7.11"]),
            ..Ranges::default()
        };

        let plan: Vec<String> = ranges.plan().iter().map(ToString::to_string).collect();

        assert_eq!(plan, ["10.244.0.0/16", "192.168.7.10/32", "192.168.7.11/32"]);
    }
}
