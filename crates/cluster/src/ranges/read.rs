//! Reading the cluster's addresses, page by page, as far as rights go.

use std::fmt::Debug;
use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::Ranges;
use crate::Cluster;
use crate::api::{ApiError, Right};
use crate::overview::list_pages;

impl Cluster {
    /// Reads Services, pods (unless `without_pods`), nodes and Service ranges.
    ///
    /// What may not be listed in the whole cluster is listed in the namespace; what may not be
    /// read at all is left out. Both are noted. Fails only when the API server does not answer.
    pub async fn ranges(&self, without_pods: bool) -> Result<Ranges, ApiError> {
        let mut ranges = Ranges::default();
        let (services, pods, nodes, named) = tokio::join!(
            self.list_widely::<Service>(),
            async { if without_pods { Ok((Vec::new(), None)) } else { self.list_widely::<Pod>().await } },
            optional::<Node>(Api::all(self.client())),
            optional::<ServiceCIDR>(Api::all(self.client())),
        );
        let (services, missing) = services?;
        ranges.missing.extend(missing);
        ranges.services.extend(services.iter().flat_map(cluster_addresses));
        let (pods, missing) = pods?;
        ranges.missing.extend(missing);
        for pod in &pods {
            let addresses = addresses_of(pod);
            if is_on_host(pod) { ranges.hosts.extend(addresses) } else { ranges.pods.extend(addresses) }
        }
        let cidrs = named?.into_iter().filter_map(|cidr| cidr.spec?.cidrs).flatten();
        ranges.named.extend(cidrs.filter_map(|cidr| cidr.parse::<IpNet>().ok()));
        for node in nodes? {
            ranges.hosts.extend(node_addresses(&node));
            if !without_pods {
                ranges.named.extend(pod_ranges(&node));
            }
        }
        Ok(ranges)
    }

    /// Lists a kind in the whole cluster, else in the namespace; with the right that was missing.
    async fn list_widely<K>(&self) -> Result<(Vec<K>, Option<Right>), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        match list_pages(&Api::<K>::all(self.client()), None).await {
            Ok(objects) => Ok((objects, None)),
            Err(ApiError::Forbidden { right, .. }) => match list_pages(&self.objects::<K>(), None).await {
                Ok(objects) => Ok((objects, Some(*right))),
                Err(ApiError::Forbidden { right, .. }) => Ok((Vec::new(), Some(*right))),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// A kind which few may read, and which old clusters do not have.
async fn optional<K>(api: Api<K>) -> Result<Vec<K>, ApiError>
where
    K: Clone + DeserializeOwned + Debug,
{
    match list_pages(&api, None).await {
        Err(error) if error.is_unreachable() => Err(error),
        Err(error) => {
            tracing::debug!(%error, "ranges are read without it");
            Ok(Vec::new())
        }
        read => read,
    }
}

/// The addresses of a Service in the cluster; a headless one has none.
pub(super) fn cluster_addresses(service: &Service) -> Vec<IpAddr> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    unique(all.filter_map(|text| text.parse().ok()))
}

/// The addresses of a pod, in all families.
pub fn addresses_of(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip);
    unique(all.filter_map(|text| text.parse().ok()))
}

fn is_on_host(pod: &Pod) -> bool {
    let asked = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let status = pod.status.as_ref();
    let same = status.is_some_and(|status| status.pod_ip.is_some() && status.pod_ip == status.host_ip);
    asked || same
}

fn node_addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let addresses = addresses.into_iter().flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    unique(internal.filter_map(|address| address.address.parse().ok()))
}

fn pod_ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut ranges: Vec<IpNet> = all.filter_map(|text| text.parse().ok()).collect();
    ranges.dedup();
    ranges
}

fn unique(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for address in addresses {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_headless_service_has_no_address() {
        let service = |spec| serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();

        let dual = service(json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]}));

        assert_eq!(cluster_addresses(&dual).len(), 2);
        assert!(cluster_addresses(&service(json!({"clusterIP": "None"}))).is_empty());
    }

    #[test]
    fn a_pod_in_its_nodes_network_is_a_host() {
        let pod = |host: &str| {
            let status = json!({"podIP": "10.0.0.1", "hostIP": host});
            serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
        };

        assert!(is_on_host(&pod("10.0.0.1")));
        assert!(!is_on_host(&pod("192.168.7.10")));
    }

    #[test]
    fn a_node_tells_its_address_and_the_range_of_its_pods() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.168.7.10"},
                {"type": "Hostname", "address": "node1"},
                {"type": "ExternalIP", "address": "203.0.113.7"}
            ]}
        }))
        .unwrap();

        assert_eq!(node_addresses(&node), ["192.168.7.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(pod_ranges(&node), ["10.244.1.0/24".parse::<IpNet>().unwrap()]);
    }
}
