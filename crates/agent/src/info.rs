//! What the shadow knows of its place in the cluster, told as lines `key value`.

use std::net::Ipv4Addr;

use kt_wire::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;

use crate::names::Resolver;

/// Tells it and finishes the stream.
pub(crate) async fn tell(resolver: &Resolver, asked: Incoming) {
    let text = lines(resolver).await;
    let mut stream = asked.accept();
    if stream.write_all(text.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await; // whoever asked has gone
    }
}

async fn lines(resolver: &Resolver) -> String {
    let mut text = format!("version {}\n", env!("CARGO_PKG_VERSION"));
    let mut add = |key: &str, value: &str| text.push_str(&format!("{key} {value}\n"));
    if let Some(address) = own_address().await {
        add("address", &address);
    }
    for network in networks(&std::fs::read_to_string("/proc/net/route").unwrap_or_default()) {
        add("network", &network);
    }
    for server in resolver.servers() {
        add("nameserver", &server.ip().to_string());
    }
    for domain in resolver.search() {
        add("search", domain);
    }
    for variable in ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
        if let Ok(value) = std::env::var(variable) {
            add(&variable.to_lowercase(), &value);
        }
    }
    text
}

/// The address from which the pod's packets come. Nothing is sent.
async fn own_address() -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).await.ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

/// The networks which the pod reaches without a gateway, out of the kernel's routing table
/// (`/proc/net/route`: numbers are hexadecimal and in the machine's byte order).
fn networks(table: &str) -> Vec<String> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let network = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (to, gateway, mask) = (number(fields.get(1)?)?, number(fields.get(2)?)?, number(fields.get(7)?)?);
        let direct = gateway == 0 && mask != 0;
        direct.then(|| format!("{}/{}", Ipv4Addr::from(to.to_ne_bytes()), mask.count_ones()))
    };
    table.lines().skip(1).filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_networks_are_found_in_the_routing_table() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

        assert_eq!(networks(table), ["10.244.1.0/24"]);
        assert!(networks("").is_empty());
    }
}
