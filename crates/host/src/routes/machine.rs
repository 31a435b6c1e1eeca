//! The laptop's network as it is.

use std::net::IpAddr;

use ipnet::IpNet;

/// What the laptop has and where it sends packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Names of all devices.
    pub devices: Vec<String>,
    /// Addresses of all devices.
    pub addresses: Vec<OwnAddress>,
    /// Routes of all tables but the one for the laptop's own addresses.
    pub routes: Vec<Route>,
    /// The name servers it asks ([`read_upstream`](crate::resolver::read_upstream)).
    pub name_servers: Vec<IpAddr>,
}

/// An address of the laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The device which has it.
    pub device: String,
    /// The address, and how long the prefix of its link is.
    pub net: IpNet,
}

/// A route of the laptop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads to; a default route has prefix length 0.
    pub range: IpNet,
    /// The device which packets leave by.
    pub device: String,
    /// The router which they are handed to.
    pub gateway: Option<IpAddr>,
}

/// The laptop's network could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {what} of this machine")]
pub struct ReadError {
    /// Which part.
    pub what: &'static str,
    /// What the system said.
    pub source: std::io::Error,
}

impl Machine {
    /// Reads devices, addresses and routes; needs no rights.
    ///
    /// # Errors
    /// The system does not tell.
    pub async fn read(name_servers: Vec<IpAddr>) -> Result<Self, ReadError> {
        platform::read(name_servers).await
    }

    /// Routers of the default routes.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let defaults = self.routes.iter().filter(|route| route.range.prefix_len() == 0);
        defaults.filter_map(|route| route.gateway).collect()
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::net::IpAddr;

    use super::{Machine, ReadError};
    use crate::netlink::Netlink;

    pub(super) async fn read(name_servers: Vec<IpAddr>) -> Result<Machine, ReadError> {
        let failed = |what| move |source| ReadError { what, source };
        let netlink = Netlink::open().map_err(failed("the network"))?;
        let devices = netlink.devices().await.map_err(failed("the devices"))?;
        Ok(Machine {
            addresses: netlink.addresses(&devices).await.map_err(failed("the addresses"))?,
            routes: netlink.routes(&devices).await.map_err(failed("the routes"))?,
            devices: devices.into_values().collect(),
            name_servers,
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::net::IpAddr;

    use super::{Machine, ReadError};
    use crate::Unsupported;

    pub(super) async fn read(_name_servers: Vec<IpAddr>) -> Result<Machine, ReadError> {
        Err(ReadError { what: "the network", source: Unsupported("reading routes").into() })
    }
}
