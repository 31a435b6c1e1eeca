//! Our name server for one device in systemd-resolved, over the system bus.
//!
//! Nothing is written to any file; when the device goes, systemd-resolved forgets its servers.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;
use zbus::Connection;

use super::Error;

const SERVICE: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";

/// A local service that takes longer is not going to answer; undo must end within 2 s.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Numbers of address families in this interface are those of Linux.
const AF_INET: i32 = libc::AF_INET;
const AF_INET6: i32 = libc::AF_INET6;

/// systemd-resolved, which has answered.
pub(crate) struct Resolved {
    bus: Connection,
}

impl Resolved {
    /// `None` when there is no bus, or nobody of that name answers on it.
    pub(crate) async fn find() -> Option<Self> {
        let bus = timeout(PATIENCE, Connection::system()).await.ok()?.ok()?;
        let ping = bus.call_method(Some(SERVICE), PATH, Some("org.freedesktop.DBus.Peer"), "Ping", &());
        timeout(PATIENCE, ping).await.ok()?.ok()?;
        Some(Self { bus })
    }

    /// All names go to `server`, and it alone is asked for `suffixes`; may run twice.
    pub(crate) async fn make(
        &self,
        (device, index): (&str, u32),
        server: IpAddr,
        search: &[String],
        suffixes: &[String],
    ) -> Result<(), Error> {
        let index = index.cast_signed();
        let failed = |reason: String| Error::Resolved { device: device.to_owned(), reason };
        self.call("SetLinkDNS", &(index, vec![bus_address(server)])).await.map_err(failed)?;
        self.call("SetLinkDomains", &(index, domains(search, suffixes))).await.map_err(failed)?;
        self.call("SetLinkDefaultRoute", &(index, true)).await.map_err(failed)?;
        // Versions before 246 lack some of these, and then nothing is lost.
        for (method, value) in [
            ("SetLinkDNSSEC", "no"),
            ("SetLinkDNSOverTLS", "no"),
            ("SetLinkLLMNR", "no"),
            ("SetLinkMulticastDNS", "no"),
        ] {
            let _ = self.call(method, &(index, value)).await;
        }
        // Names that did not exist a moment ago do now.
        let _ = self.call("FlushCaches", &()).await;
        Ok(())
    }

    /// Takes everything away from the device; one that is gone already is fine.
    pub(crate) async fn undo(&self, device: &str, index: u32) -> Result<(), Error> {
        let reverted = self.call("RevertLink", &(index.cast_signed(),)).await;
        let _ = self.call("FlushCaches", &()).await;
        match reverted {
            Err(reason) if !reason.contains("NoSuchLink") => {
                Err(Error::Resolved { device: device.to_owned(), reason })
            }
            _ => Ok(()),
        }
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<(), String>
    where
        B: serde::Serialize + zbus::zvariant::DynamicType,
    {
        let call = self.bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, body);
        match timeout(PATIENCE, call).await {
            Err(_) => Err(format!("no answer to {method}")),
            Ok(Err(error)) => Err(format!("{method}: {error}")),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

fn bus_address(server: IpAddr) -> (i32, Vec<u8>) {
    match server {
        IpAddr::V4(v4) => (AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AF_INET6, v6.octets().to_vec()),
    }
}

/// Domain, and whether it only routes. `~.` stands for all names; a suffix of its own wins against
/// a VPN that claims all names as well.
fn domains<'a>(search: &'a [String], suffixes: &'a [String]) -> Vec<(&'a str, bool)> {
    let mut domains: Vec<(&str, bool)> = search.iter().map(|domain| (domain.as_str(), false)).collect();
    let routed = suffixes.iter().filter(|suffix| !search.contains(suffix));
    domains.extend(routed.map(|suffix| (suffix.as_str(), true)));
    domains.push((".", true));
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_routed_and_short_ones_get_our_endings() {
        let search = vec!["dev.svc.cluster.local".to_owned(), "cluster.local".to_owned()];
        let suffixes = vec!["cluster.local".to_owned(), "svc".to_owned()];

        assert_eq!(
            domains(&search, &suffixes),
            [("dev.svc.cluster.local", false), ("cluster.local", false), ("svc", true), (".", true)]
        );
    }

    #[test]
    fn addresses_are_bytes_with_their_family() {
        assert_eq!(bus_address("10.0.0.2".parse().unwrap()), (AF_INET, vec![10, 0, 0, 2]));
        assert_eq!(bus_address("::1".parse().unwrap()).1.len(), 16);
    }
}
