//! The TUN device: packets of the laptop's programs as bytes.
//!
//! The root helper makes it and hands its descriptor over; from then on the main process alone
//! holds it, so that the device and its routes vanish with that process, however it ends.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
mod pool;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use other as platform;

#[cfg(target_os = "linux")]
pub(crate) use platform::{Link, configure, open};
pub use platform::{Packets, Tun};
pub use pool::{LINK_PREFIX_V6, free_name, free_pool, free_pool_v6};

/// Size in bytes of the header (`struct virtio_net_hdr`) before each packet of a device.
pub const HEADER: usize = 10;

/// The device could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no TUN driver, or this is a container without the device file.
    #[error("opening /dev/net/tun")]
    NoTun(#[source] std::io::Error),
    /// The name is taken, or rights are missing.
    #[error("making device {name}")]
    Make {
        /// Its name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Address, packet size or switching on.
    #[error("setting the {what} of device {name}")]
    Set {
        /// Which property.
        what: &'static str,
        /// The device.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
}
