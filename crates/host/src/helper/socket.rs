//! Messages on the socket pair: 4 bytes of length (big endian), then JSON. A descriptor may ride on
//! the first byte.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// 20,000 routes are about 400 kB. A longer message is no honest one.
const LONGEST: usize = 4 << 20;
const LENGTH: usize = 4;

/// One end of the conversation. What a dropped call has begun to send or to read, the next one
/// goes on with.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    unsent: VecDeque<(Vec<u8>, Option<OwnedFd>)>,
    /// The message that is being read, with its length.
    got: Vec<u8>,
    got_fd: Option<OwnedFd>,
}

impl Channel {
    /// Needs a running tokio runtime.
    pub(super) fn new(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Self { stream, unsent: VecDeque::new(), got: Vec::new(), got_fd: None })
    }

    /// Puts a message behind those that [`flush`](Self::flush) still has to send. Our copy of the
    /// descriptor is closed once it is sent.
    pub(super) fn queue<T: Serialize>(&mut self, message: &T, fd: Option<OwnedFd>) -> io::Result<()> {
        self.unsent.push_back((encode(message)?, fd));
        Ok(())
    }

    /// Sends all that is queued. Cancel safety: the rest stays queued.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let socket = self.stream.as_raw_fd();
        while let Some((bytes, fd)) = self.unsent.front_mut() {
            let part = || send_part(socket, bytes, fd.as_ref().map(AsRawFd::as_raw_fd));
            let sent = self.stream.async_io(Interest::WRITABLE, part).await?;
            bytes.drain(..sent);
            *fd = None;
            if bytes.is_empty() {
                self.unsent.pop_front();
            }
        }
        Ok(())
    }

    /// The next message with its descriptor; `None` when the peer is gone. Cancel safety: nothing
    /// is lost.
    pub(super) async fn recv<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        loop {
            let missing = missing(&self.got)?;
            if missing == 0 {
                let message = serde_json::from_slice(&self.got[LENGTH..]);
                self.got.clear();
                return Ok(Some((message?, self.got_fd.take())));
            }
            let mut part = vec![0; missing];
            let socket = self.stream.as_raw_fd();
            let (size, fd) =
                self.stream.async_io(Interest::READABLE, || recv_part(socket, &mut part)).await?;
            if size == 0 {
                return Ok(None);
            }
            self.got.extend_from_slice(&part[..size]);
            self.got_fd = self.got_fd.take().or(fd);
        }
    }
}

/// Sends the setup, without a runtime: it fits into the buffer of a new socket.
pub(super) fn send_now<T: Serialize>(
    stream: &StdStream,
    message: &T,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut bytes = encode(message)?;
    let mut fd = fd.as_ref().map(AsRawFd::as_raw_fd);
    while !bytes.is_empty() {
        let sent = send_part(stream.as_raw_fd(), &bytes, fd.take())?;
        bytes.drain(..sent);
    }
    Ok(())
}

fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - LENGTH;
    check(length)?;
    bytes[..LENGTH].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// How many bytes of this message have to come. Never reads into the next one, so that a descriptor
/// belongs to the right message.
fn missing(got: &[u8]) -> io::Result<usize> {
    let Some(length) = got.first_chunk::<LENGTH>() else {
        return Ok(LENGTH - got.len());
    };
    let length = u32::from_be_bytes(*length) as usize;
    check(length)?;
    Ok(LENGTH + length - got.len())
}

fn check(length: usize) -> io::Result<()> {
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    Ok(())
}

fn send_part(socket: RawFd, bytes: &[u8], fd: Option<RawFd>) -> io::Result<usize> {
    let fds: Vec<RawFd> = fd.into_iter().collect();
    let control: Vec<ControlMessage<'_>> = fds.iter().map(|_| ControlMessage::ScmRights(&fds)).collect();
    // The peer may be gone: an error, not the signal that ends programs.
    let sent = sendmsg::<UnixAddr>(socket, &[IoSlice::new(bytes)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(sent)
}

fn recv_part(socket: RawFd, part: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(part)];
    let message = recvmsg::<UnixAddr>(socket, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fd = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for raw in fds {
                // SAFETY: the kernel has just made this descriptor for us, nobody else knows it.
                #[expect(unsafe_code, reason = "received descriptors come as numbers")]
                let owned = unsafe { OwnedFd::from_raw_fd(raw) };
                fd.get_or_insert(owned);
            }
        }
    }
    Ok((message.bytes, fd))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn messages_arrive_in_order_and_whole() {
        let (mut one, mut two) = pair();
        let long = vec!["10.0.0.0/8".to_owned(); 50_000];
        one.queue(&long, None).unwrap();
        one.queue(&7, None).unwrap();

        let receiving = async {
            let first: (Vec<String>, _) = two.recv().await.unwrap().unwrap();
            let second: (u32, _) = two.recv().await.unwrap().unwrap();
            (first.0.len(), second.0)
        };

        assert_eq!(tokio::join!(one.flush(), receiving).1, (50_000, 7));
    }

    #[tokio::test]
    async fn a_dropped_call_costs_neither_end_a_message() {
        let (mut one, mut two) = pair();
        let long = vec!["10.0.0.0/8".to_owned(); 100_000];
        let hardly = Duration::from_millis(20);

        one.queue(&long, None).unwrap();
        assert!(timeout(hardly, one.flush()).await.is_err());
        assert!(timeout(hardly, two.recv::<Vec<String>>()).await.is_err());
        let (sent, received) = tokio::join!(one.flush(), two.recv::<Vec<String>>());

        sent.unwrap();
        assert_eq!(received.unwrap().unwrap().0, long);
    }

    #[tokio::test]
    async fn a_descriptor_rides_on_its_message() {
        let (mut one, mut two) = pair();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        file.rewind().unwrap();

        one.queue(&1, None).unwrap();
        one.queue(&2, Some(file.into())).unwrap();
        one.flush().await.unwrap();
        let first: (u32, Option<OwnedFd>) = two.recv().await.unwrap().unwrap();
        let second: (u32, Option<OwnedFd>) = two.recv().await.unwrap().unwrap();

        assert!(first.1.is_none());
        let mut text = String::new();
        File::from(second.1.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[tokio::test]
    async fn a_length_without_bound_is_refused_before_it_is_read() {
        let (mut raw, two) = StdStream::pair().unwrap();
        let mut two = Channel::new(two).unwrap();

        raw.write_all(&u32::MAX.to_be_bytes()).unwrap();

        assert!(two.recv::<u32>().await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_no_message() {
        let (one, mut two) = pair();

        drop(one);

        assert!(two.recv::<u32>().await.unwrap().is_none());
    }

    fn pair() -> (Channel, Channel) {
        let (one, two) = StdStream::pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(two).unwrap())
    }
}
