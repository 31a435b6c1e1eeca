//! The device's descriptor as packets, each behind a header of fixed size.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Room for the largest packet and its header.
pub(super) const FRAME: usize = 66 * 1024;
/// Of the flags in a header: the checksum is yet to be finished (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
const NEEDS_CHECKSUM: u8 = 1;

/// A device. Several tasks may write.
#[derive(Debug)]
pub(super) struct Device {
    file: AsyncFd<File>,
    /// Bytes before each packet: none, or those of the vnet header.
    header: usize,
    /// Packets that the kernel did not take.
    dropped: AtomicU64,
}

impl Device {
    pub(super) fn new(fd: OwnedFd, header: usize) -> io::Result<Device> {
        SockRef::from(&fd).set_nonblocking(true)?; // plain `fcntl`, good for any descriptor
        #[expect(
            deprecated,
            reason = "its successor is unsafe: what is given might change its descriptor; a File never does"
        )]
        let file = AsyncFd::new(fd.into())?;
        Ok(Device { file, header, dropped: AtomicU64::new(0) })
    }

    /// Where packets start in a frame.
    pub(super) fn header(&self) -> usize {
        self.header
    }

    /// Waits until a frame can be read. Cancel safe.
    pub(super) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, File>> {
        self.file.readable().await
    }

    /// Hands a frame to the laptop, or drops it when the kernel does not take it: senders of every
    /// kind repeat what was lost.
    pub(super) fn write_frame(&self, frame: &[u8]) {
        if let Err(error) = self.file.get_ref().write(frame) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::trace!(%error, dropped, length = frame.len(), "the device did not take a packet");
        }
    }

    /// Hands a packet of ours to the laptop.
    pub(super) fn write_packet(&self, packet: &[u8]) {
        let mut frame = vec![0; self.header];
        frame.extend_from_slice(packet);
        self.write_frame(&frame);
    }
}

/// The next frame; `None` when there is none for now.
pub(super) fn next_frame(
    ready: &mut AsyncFdReadyGuard<'_, File>,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    match ready.try_io(|fd| fd.get_ref().read(buffer)) {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(length)) => Ok(Some(length)),
        Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Ok(Err(error)) => Err(error),
        Err(_would_block) => Ok(None),
    }
}

/// Tells whether the checksum of a frame's packet is yet to be finished.
pub(super) fn is_unfinished(header: &[u8]) -> bool {
    header.first().is_some_and(|flags| flags & NEEDS_CHECKSUM != 0)
}
