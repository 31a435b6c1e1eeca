//! Devices, addresses and routes of Linux, by netlink.
//!
//! One [`Netlink`] is one socket in the network namespace of the thread which opened it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::routes::{OwnAddress, Route};

/// The table with the own addresses of the laptop (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u8 = libc::RT_TABLE_LOCAL;

/// Packets that may wait for the main process: with the default of 500 a burst of new connections
/// costs about ten times more retransmissions.
const QUEUE: u32 = 4000;

/// Device names by their number.
pub(crate) type Devices = BTreeMap<u32, String>;

/// A conversation with the kernel about its network; ends when dropped.
pub(crate) struct Netlink {
    handle: Handle,
    pump: JoinHandle<()>,
}

impl Netlink {
    /// Needs a running tokio runtime.
    pub(crate) fn open() -> io::Result<Self> {
        let (connection, handle, _messages) = rtnetlink::new_connection()?;
        let pump = tokio::spawn(connection);
        Ok(Self { handle, pump })
    }

    pub(crate) async fn devices(&self) -> io::Result<Devices> {
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await.map_err(to_io)?;
        Ok(links.into_iter().filter_map(|link| Some((link.header.index, name(&link.attributes)?))).collect())
    }

    /// Number of a device; `None` when there is none of that name.
    pub(crate) async fn index(&self, device: &str) -> io::Result<Option<u32>> {
        let devices = self.devices().await?;
        Ok(devices.iter().find(|(_, name)| *name == device).map(|(index, _)| *index))
    }

    pub(crate) async fn addresses(&self, devices: &Devices) -> io::Result<Vec<OwnAddress>> {
        let messages: Vec<_> = self.handle.address().get().execute().try_collect().await.map_err(to_io)?;
        Ok(messages.iter().filter_map(|message| own_address(message, devices)).collect())
    }

    pub(crate) async fn routes(&self, devices: &Devices) -> io::Result<Vec<Route>> {
        let messages = self.route_messages().await?;
        Ok(messages.iter().filter_map(|message| route(message, devices)).collect())
    }

    /// Ranges which were routed to the device by a program, in the main table.
    pub(crate) async fn routed_to(&self, index: u32) -> io::Result<Vec<IpNet>> {
        let messages = self.route_messages().await?;
        Ok(messages
            .iter()
            .filter(|message| message.header.protocol == RouteProtocol::Static)
            .filter(|message| leaves_by(message) == Some(index))
            .filter_map(destination)
            .collect())
    }

    /// Adds an address of a point-to-point link; one that is there already is fine.
    pub(crate) async fn set_address(
        &self,
        index: u32,
        own: Ipv4Addr,
        peer: Ipv4Addr,
        prefix: u8,
    ) -> io::Result<()> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(own, prefix).build();
        let mut request = self.handle.address().add(index, own.into(), prefix).replace();
        let mut attributes =
            vec![AddressAttribute::Local(own.into()), AddressAttribute::Address(peer.into())];
        let other = |attribute: &AddressAttribute| {
            !matches!(
                attribute,
                AddressAttribute::Local(_) | AddressAttribute::Address(_) | AddressAttribute::Broadcast(_)
            )
        };
        attributes.extend(message.attributes.into_iter().filter(other));
        request.message_mut().attributes = attributes;
        request.execute().await.map_err(to_io)
    }

    /// Adds an address of IPv6; one that is there already is fine.
    pub(crate) async fn set_address_v6(&self, index: u32, own: Ipv6Addr, prefix: u8) -> io::Result<()> {
        self.handle.address().add(index, own.into(), prefix).replace().execute().await.map_err(to_io)
    }

    /// Sets the packet size and switches the device on.
    pub(crate) async fn set_up(&self, index: u32, mtu: u32) -> io::Result<()> {
        let queue = LinkAttribute::TxQueueLen(QUEUE);
        let message = LinkUnspec::new_with_index(index).mtu(mtu).append_extra_attribute(queue).up().build();
        self.handle.link().set(message).execute().await.map_err(to_io)
    }

    pub(crate) async fn remove_device(&self, index: u32) -> io::Result<()> {
        self.handle.link().del(index).execute().await.map_err(to_io)
    }

    /// Fails with `AlreadyExists` when there is an equal route of another device.
    pub(crate) async fn add_route(
        &self,
        index: u32,
        range: IpNet,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        let message = route_message(index, range, source);
        self.handle.route().add(message).execute().await.map_err(to_io)
    }

    /// Takes a route of the device away; one that is gone already is fine.
    pub(crate) async fn remove_route(&self, index: u32, range: IpNet) -> io::Result<()> {
        let message = route_message(index, range, None);
        match self.handle.route().del(message).execute().await.map_err(to_io) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
            _ => Ok(()),
        }
    }

    async fn route_messages(&self) -> io::Result<Vec<RouteMessage>> {
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut messages: Vec<_> =
            self.handle.route().get(v4).execute().try_collect().await.map_err(to_io)?;
        messages.extend(self.handle.route().get(v6).execute().try_collect::<Vec<_>>().await.map_err(to_io)?);
        messages.retain(|message| message.header.table != LOCAL_TABLE);
        messages.retain(|message| message.header.kind == RouteType::Unicast);
        Ok(messages)
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// `src` is the device's own address: without it a program that is bound to nothing could leave
/// with the address of another device, and the answer would not come back.
fn route_message(index: u32, range: IpNet, source: Option<Ipv4Addr>) -> RouteMessage {
    match range {
        IpNet::V4(net) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(net.network(), net.prefix_len())
                .output_interface(index)
                .scope(RouteScope::Link);
            if let Some(source) = source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }
        IpNet::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(index)
            .build(),
    }
}

fn name(attributes: &[LinkAttribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// On a point-to-point link `Address` is the peer and `Local` the laptop's own one.
fn own_address(message: &AddressMessage, devices: &Devices) -> Option<OwnAddress> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })?;
    let net = IpNet::new(address, message.header.prefix_len).ok()?;
    let device = devices.get(&message.header.index)?.clone();
    Some(OwnAddress { device, net })
}

fn route(message: &RouteMessage, devices: &Devices) -> Option<Route> {
    let gateway = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => to_ip(address),
        _ => None,
    });
    let device = devices.get(&leaves_by(message)?)?.clone();
    Some(Route { range: destination(message)?, device, gateway })
}

fn leaves_by(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })
}

fn destination(message: &RouteMessage) -> Option<IpNet> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => to_ip(address),
        _ => None,
    });
    let unspecified: IpAddr = match message.header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        rtnetlink::packet_route::AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    IpNet::new(address.unwrap_or(unspecified), message.header.destination_prefix_length).ok()
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
