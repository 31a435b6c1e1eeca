//! What the main process may ask the root helper to do, and what it gets back.
//!
//! Every change is the whole wanted state of its topic: asked for twice it does nothing new, asked
//! for with other values it turns the old state into the new one. The helper trusts none of it
//! ([`check`](Change::check)).

mod check;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use check::Invalid;

use crate::device::Tun;
use crate::resolver::Backend;

/// A wanted state of one thing of the laptop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// A TUN device that is up and has its addresses.
    Device {
        /// `kt` and a number.
        name: String,
        /// The laptop's own address on it.
        address: Ipv4Addr,
        /// The other end: name server and source of patched packets.
        peer: Ipv4Addr,
        /// Length of the prefix which goes to the device for being its link.
        prefix: u8,
        /// The laptop's own address of the other family, with the length of its prefix, for a
        /// cluster that has it. Where the laptop's IPv6 is switched off it is left out.
        v6: Option<(Ipv6Addr, u8)>,
        /// Largest packet in bytes, without offload.
        mtu: u32,
    },
    /// Ranges which go to the device, all of them.
    Routes {
        /// The device, made before.
        device: String,
        /// What [`cut_out`](crate::routes::cut_out) left.
        ranges: Vec<IpNet>,
    },
    /// Our name server, for the whole laptop.
    Resolver {
        /// The device which systemd-resolved gets the server for; without one `resolv.conf` is edited.
        device: Option<String>,
        /// Our name server; it answers on port 53.
        server: IpAddr,
        /// Endings tried for short names, before the laptop's own ones.
        search: Vec<String>,
        /// Endings which only our server knows.
        suffixes: Vec<String>,
    },
    /// Names with addresses in the hosts file; an empty list takes our block away.
    Hosts {
        /// Address and name, in the order of the file.
        entries: Vec<(IpAddr, String)>,
    },
    /// Calls of the laptop's programs go to a local listener, without a device.
    Redirect {
        /// Where the calls go that are caught.
        ranges: Vec<IpNet>,
        /// Left alone all the same; must hold every address of the API server, else the tunnel
        /// would be led into itself.
        except: Vec<IpNet>,
        /// TCP port of the listener on loopback.
        port: u16,
        /// Calls of this user's programs are left alone. None under sudo, where the main process
        /// shares its user with the programs which it serves.
        owner_uid: Option<u32>,
    },
}

/// What a [`Change`] has led to.
#[derive(Debug)]
pub enum Made {
    /// The packets of the device; none when it had been handed out before.
    Device(Option<Tun>),
    /// What became of the routes.
    Routes(RoutesMade),
    /// Where the name server was put.
    Resolver(Backend),
    /// The hosts file has the entries.
    Hosts,
    /// The calls are redirected.
    Redirect,
}

/// Difference between the routes before and after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesMade {
    /// New ones.
    pub added: Vec<IpNet>,
    /// Taken away, since they were not wanted any more.
    pub removed: Vec<IpNet>,
    /// Wanted, but not in the system's table afterwards.
    pub skipped: Vec<Skipped>,
}

/// A route that could not be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What it was for.
    pub range: IpNet,
    /// What the system said.
    pub reason: String,
}
