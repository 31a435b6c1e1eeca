//! TUN of Linux with the vnet header: whole super-packets, checksums finished by nobody.

use std::fs::OpenOptions;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Error, HEADER};
use crate::netlink::Netlink;

/// Checksums are left open, and TCP over IPv4 and IPv6 comes in packets of up to 64 KiB
/// (`TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6`).
const OFFLOADS: libc::c_int = 0x01 | 0x02 | 0x04;

/// A device which lives as long as this descriptor.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    offload: bool,
}

impl Tun {
    pub(crate) fn new(fd: OwnedFd, offload: bool) -> Self {
        Self { fd, offload }
    }

    /// Whether super-packets and unfinished checksums pass; without it every packet is at most of
    /// the device's packet size. The header stands before each packet in both cases.
    #[must_use]
    pub fn offload(&self) -> bool {
        self.offload
    }

    /// Starts reading and writing; needs a running tokio runtime.
    ///
    /// # Errors
    /// The runtime does not take the descriptor.
    pub fn packets(self) -> io::Result<Packets> {
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it lives.
        #[expect(unsafe_code, reason = "tokio asks for a descriptor that does not change")]
        let fd = unsafe { AsyncFd::register(self.fd)? };
        Ok(Packets { fd })
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Packets of a device, each behind a header of [`HEADER`] bytes. Several tasks may share it.
#[derive(Debug)]
pub struct Packets {
    fd: AsyncFd<OwnedFd>,
}

impl Packets {
    /// Waits for the next packet that a program of the laptop sends; returns its size with the header.
    ///
    /// A buffer that is too small cuts the packet. Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// The device was taken away.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |fd: &OwnedFd| Ok(nix::unistd::read(fd, buffer)?);
        self.fd.async_io(Interest::READABLE, read).await
    }

    /// The next packet if there is one already.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; else the device was taken away.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.fd.get_ref(), buffer)?)
    }

    /// Hands a packet with its header to the laptop.
    ///
    /// Cancel safety: the packet is sent as a whole or not at all.
    ///
    /// # Errors
    /// The kernel refuses the packet, or the device was taken away.
    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        let write = |fd: &OwnedFd| Ok(nix::unistd::write(fd, packet)?);
        self.fd.async_io(Interest::WRITABLE, write).await.map(drop)
    }
}

/// Makes the device; fails when the name is taken.
pub(crate) fn open(name: &str) -> Result<Tun, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(Error::NoTun)?;
    let fd = OwnedFd::from(file);
    let failed = |source| Error::Make { name: name.to_owned(), source };
    ioctl::attach(fd.as_fd(), name).map_err(failed)?;
    ioctl::set_header_size(fd.as_fd(), HEADER).map_err(failed)?;
    let offload = ioctl::set_offload(fd.as_fd(), OFFLOADS).is_ok();
    Ok(Tun { fd, offload })
}

/// The addresses of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) address: Ipv4Addr,
    pub(crate) peer: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) v6: Option<(Ipv6Addr, u8)>,
}

/// Gives the device its addresses and switches it on; may run twice.
pub(crate) async fn configure(netlink: &Netlink, name: &str, link: &Link, mtu: u32) -> Result<(), Error> {
    let failed = |what| move |source| Error::Set { what, name: name.to_owned(), source };
    let index = netlink.index(name).await.map_err(failed("number"))?;
    let index = index.ok_or_else(|| failed("number")(io::ErrorKind::NotFound.into()))?;
    netlink.set_address(index, link.address, link.peer, link.prefix).await.map_err(failed("address"))?;
    if let Some((address, prefix)) = link.v6 {
        // Refused where IPv6 is switched off; who listens on it finds out.
        let _ = netlink.set_address_v6(index, address, prefix).await;
    }
    netlink.set_up(index, mtu).await.map_err(failed("packet size"))
}

/// The three calls of `linux/if_tun.h`.
mod ioctl {
    use super::{AsRawFd, BorrowedFd, io};

    /// `IFF_TUN_EXCL`: never join a device that somebody else made.
    const EXCLUSIVE: libc::c_int = 0x8000;

    pub(super) fn attach(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
        #[expect(unsafe_code, reason = "libc has no constructor for ifreq")]
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed() as libc::c_char;
        }
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | EXCLUSIVE;
        // The flags are 16 bits wide in the kernel, the highest of them is in use.
        request.ifr_ifru.ifru_flags = (flags as u16).cast_signed();
        // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`.
        #[expect(unsafe_code, reason = "making a device is an ioctl")]
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETIFF, &mut request) };
        done(result)
    }

    pub(super) fn set_header_size(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
        let size = size as libc::c_int;
        // SAFETY: the descriptor is open, and the kernel reads one `int`.
        #[expect(unsafe_code, reason = "the header size is set by an ioctl")]
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETVNETHDRSZ, &size) };
        done(result)
    }

    pub(super) fn set_offload(fd: BorrowedFd<'_>, offloads: libc::c_int) -> io::Result<()> {
        let offloads = libc::c_long::from(offloads);
        // SAFETY: the descriptor is open, and the argument is a number, not a pointer.
        #[expect(unsafe_code, reason = "offloads are set by an ioctl")]
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), TUNSETOFFLOAD, offloads) };
        done(result)
    }

    // Numbers of linux/if_tun.h: `_IOW('T', n, int)`.
    const TUNSETIFF: libc::Ioctl = nix::request_code_write!(b'T', 202, size_of::<libc::c_int>());
    const TUNSETOFFLOAD: libc::Ioctl = nix::request_code_write!(b'T', 208, size_of::<libc::c_int>());
    const TUNSETVNETHDRSZ: libc::Ioctl = nix::request_code_write!(b'T', 216, size_of::<libc::c_int>());

    fn done(result: libc::c_int) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
