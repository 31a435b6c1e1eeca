//! WebSocket as port-forward and exec need it: sub-protocols `v4.channel.k8s.io` and
//! `channel.k8s.io`.
//!
//! Each message begins with a channel. For a port 0 is data and 1 errors, and the first two bytes
//! in each are the port, which says nothing new. Of a command 2 is stderr, and 3 what went wrong.

use std::io;

use super::pump::{FRAME, Framing, Head, Part, To};
use super::way::Way;

const CONTINUED: u8 = 0;
const BINARY: u8 = 2;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL: usize = 125;

/// The framing of one connection that forwards one port, or listens to one command.
pub(super) struct WebSocket {
    mask: u64,
    /// The frame being read: what it is, and how much of it is left.
    frame: u8,
    left: usize,
    /// Channel of the message being read.
    channel: Option<u8>,
    /// The channel of data; that of errors is the next.
    data: u8,
    /// How many bytes of the port are still to come, on the channels of data and errors.
    port: [usize; 2],
    ended: bool,
    closing: bool,
}

impl WebSocket {
    /// A framing that masks by random numbers.
    pub(super) fn new(way: &Way<'_>) -> WebSocket {
        let (data, port) = match way {
            Way::Port(_) => (0, [2, 2]),
            Way::Command { .. } => (2, [0, 0]),
        };
        WebSocket {
            mask: crate::names::random() | 1,
            frame: 0,
            left: 0,
            channel: None,
            data,
            port,
            ended: false,
            closing: false,
        }
    }

    /// The next mask (xorshift: proxies in between shall not guess it, nobody else cares).
    fn next_mask(&mut self) -> [u8; 4] {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 7;
        self.mask ^= self.mask << 17;
        (self.mask >> 16).to_be_bytes()[4..].try_into().unwrap_or_default()
    }

    /// Appends a frame of `first` (if any) and `rest`.
    fn frame(&mut self, kind: u8, first: Option<u8>, rest: &[u8], out: &mut Vec<u8>) {
        let len = rest.len() + usize::from(first.is_some());
        out.push(LAST | kind);
        match len {
            0..=125 => out.push(MASKED | len as u8),
            126..=0xffff => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let mut mask = self.next_mask();
        out.extend_from_slice(&mask);
        if let Some(first) = first {
            out.push(first ^ mask[0]);
            mask.rotate_left(1);
        }
        let start = out.len();
        out.extend_from_slice(rest);
        apply(mask, &mut out[start..]);
    }
}

/// Masks in place, eight bytes at a time.
fn apply(mask: [u8; 4], data: &mut [u8]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

impl Framing for WebSocket {
    const SHORTEST: usize = 2;

    fn open(&mut self, _: &mut Vec<u8>) {}

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize {
        let data = &data[..data.len().min(FRAME)];
        self.frame(BINARY, Some(self.data), data, out);
        data.len()
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !self.closing {
            self.closing = true;
            self.frame(CLOSE, None, &1000_u16.to_be_bytes(), out);
        }
    }

    fn head(&mut self, head: &[u8]) -> io::Result<Head> {
        let &[first, second, ref long @ ..] = head else { return Ok(Head::Needs(2)) };
        let needed = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if long.len() < needed {
            return Ok(Head::Needs(2 + needed));
        }
        let len = match needed {
            0 => u64::from(second & 0x7f),
            _ => long.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        };
        if second & MASKED != 0 {
            return Err(invalid("a masked WebSocket frame from a server"));
        }
        self.left = usize::try_from(len).map_err(|_| invalid("an endless WebSocket frame"))?;
        self.begin(first & 0x0f)?;
        Ok(Head::Complete)
    }

    fn part(&mut self) -> Option<Part> {
        if self.left == 0 {
            return None;
        }
        let part = self.next_part();
        self.left -= part.len;
        Some(part)
    }

    fn take(&mut self, part: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self.frame {
            PING => self.frame(PONG, None, part, out),
            CLOSE => {
                self.end(out);
                self.ended = true;
            }
            PONG => {}
            _ => self.channel = part.first().copied(),
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn may_break_off(&self) -> bool {
        self.ended
    }
}

impl WebSocket {
    /// Notes what kind of frame begins.
    fn begin(&mut self, kind: u8) -> io::Result<()> {
        self.frame = kind;
        match kind {
            BINARY | TEXT => self.channel = None,
            CONTINUED => {}
            CLOSE | PING | PONG if self.left > CONTROL => {
                return Err(invalid("a WebSocket control frame that is too long"));
            }
            CLOSE if self.left == 0 => self.ended = true,
            CLOSE | PING | PONG => {}
            _ => return Err(invalid("a WebSocket frame of an unknown kind")),
        }
        Ok(())
    }

    fn next_part(&mut self) -> Part {
        let part = |to, len| Part { to, len };
        match (self.frame, self.channel) {
            (CLOSE | PING | PONG, _) => part(To::Framing, self.left),
            (_, None) => part(To::Framing, 1),
            (_, Some(channel)) => match self.port.get_mut(usize::from(channel.wrapping_sub(self.data))) {
                None => part(To::Nobody, self.left),
                Some(0) if channel == self.data => part(To::Reader, self.left),
                Some(0) => part(To::Words, self.left),
                Some(port) => {
                    let len = (*port).min(self.left);
                    *port -= len;
                    part(To::Nobody, len)
                }
            },
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a frame of ours apart: kind and unmasked payload.
    fn unmasked(frame: &[u8]) -> (u8, Vec<u8>) {
        let long = match frame[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let (mask, payload) = frame[2 + long..].split_at(4);
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        (frame[0], payload.collect())
    }

    #[test]
    fn data_is_masked_behind_its_channel() {
        for size in [1, 7, 8, 9, 124, 125, 126, 65_534, 65_535, 65_536] {
            let data: Vec<u8> = (0..size).map(|number: u32| number as u8).collect();
            let mut out = Vec::new();

            let taken = WebSocket::new(&Way::Port(80)).data(&data, &mut out);

            let (kind, payload) = unmasked(&out);
            assert_eq!((taken, kind, payload[0]), (data.len(), 0x82, 0));
            assert_eq!(payload[1..], data[..]);
        }
    }

    #[test]
    fn masks_differ() {
        let mut socket = WebSocket::new(&Way::Port(80));

        assert_ne!(socket.next_mask(), socket.next_mask());
    }

    #[test]
    fn a_ping_is_answered_with_its_payload() {
        let mut socket = WebSocket::new(&Way::Port(80));
        let mut out = Vec::new();

        assert_eq!(socket.head(&[0x89, 2]).unwrap(), Head::Complete);
        assert_eq!(socket.part(), Some(Part { to: To::Framing, len: 2 }));
        socket.take(b"hi", &mut out).unwrap();

        assert_eq!(unmasked(&out), (0x8a, b"hi".to_vec()));
    }

    #[test]
    fn frames_from_a_server_must_not_be_masked() {
        assert!(WebSocket::new(&Way::Port(80)).head(&[0x82, 0x81]).is_err());
    }
}
