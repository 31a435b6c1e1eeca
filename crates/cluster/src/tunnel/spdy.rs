//! SPDY/3.1 as port-forward and exec need it: one stream for data, one for errors, pings answered.
//!
//! Kubernetes' end does no flow control on streams, and neither do we. Headers are compressed by
//! zlib with a dictionary: ours are a hand-made zlib stream of stored blocks, theirs are skipped.

use std::io;

use super::pump::{FRAME, Framing, Head, Part, To};
use super::way::Way;

const ERRORS: u32 = 1;
const DATA: u32 = 3;

const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;

const FIN: u8 = 1;

/// A frame's head, in both directions.
const HEAD: usize = 8;

/// zlib's head: deflate, preset dictionary, and the checksum of the dictionary of SPDY/3.
const ZLIB: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];

/// An empty stored block: everything before it can be read.
const SYNC: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// The framing of one connection that forwards one port, or listens to one command.
pub(super) struct Spdy {
    /// Nothing for a command.
    port: Option<u16>,
    frame: Frame,
    part: Option<Part>,
    /// Has the far end ended the stream of data, and that of errors?
    data_ended: bool,
    errors_ended: bool,
}

/// What the frame being read is.
#[derive(Clone, Copy)]
enum Frame {
    Control(u16),
    Data { stream: u32, last: bool },
}

impl Spdy {
    /// The framing for a way into a pod.
    pub(super) fn new(way: &Way<'_>) -> Spdy {
        let port = match way {
            Way::Port(port) => Some(*port),
            Way::Command { .. } => None,
        };
        Spdy { port, frame: Frame::Control(0), part: None, data_ended: false, errors_ended: false }
    }
}

impl Framing for Spdy {
    const SHORTEST: usize = HEAD;

    fn open(&mut self, out: &mut Vec<u8>) {
        let Some(port) = self.port else {
            syn_stream(ERRORS, &ZLIB, &[("streamtype", "error")], out);
            syn_stream(DATA, &[], &[("streamtype", "stderr")], out);
            return;
        };
        let port = port.to_string();
        let headers = |kind| [("port", port.as_str()), ("requestid", "0"), ("streamtype", kind)];
        syn_stream(ERRORS, &ZLIB, &headers("error"), out);
        data_head(ERRORS, FIN, 0, out);
        syn_stream(DATA, &[], &headers("data"), out);
    }

    fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize {
        let data = &data[..data.len().min(FRAME)];
        data_head(DATA, 0, data.len(), out);
        out.extend_from_slice(data);
        data.len()
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        data_head(DATA, FIN, 0, out);
    }

    fn head(&mut self, head: &[u8]) -> io::Result<Head> {
        let &[a, b, c, d, flags, e, f, g] = head else { return Ok(Head::Needs(HEAD)) };
        let len = u32::from_be_bytes([0, e, f, g]) as usize;
        let first = u32::from_be_bytes([a, b, c, d]);
        let to = if first >> 31 == 1 {
            let kind = u16::from_be_bytes([c, d]);
            self.frame = Frame::Control(kind);
            self.control_part(kind, len)?
        } else {
            self.frame = Frame::Data { stream: first, last: flags & FIN != 0 };
            match first {
                DATA => To::Reader,
                ERRORS => To::Words,
                _ => To::Nobody,
            }
        };
        self.part = (len > 0).then_some(Part { to, len });
        Ok(Head::Complete)
    }

    fn part(&mut self) -> Option<Part> {
        let part = self.part.take();
        if let (None, Frame::Data { stream, last: true }) = (part, self.frame) {
            self.data_ended |= stream == DATA;
            self.errors_ended |= stream == ERRORS;
        }
        part
    }

    fn take(&mut self, part: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match (self.frame, part) {
            (Frame::Control(PING), &[a, b, c, d]) => {
                // Even numbers are the server's; odd ones would be answers to ours.
                if d & 1 == 0 {
                    control_head(PING, 4, out);
                    out.extend_from_slice(&[a, b, c, d]);
                }
                Ok(())
            }
            (Frame::Control(RST_STREAM), &[a, b, c, d, ..]) => {
                match u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff {
                    // The node is done with a command, whose streams it never ends otherwise.
                    DATA if self.port.is_none() => {
                        self.data_ended = true;
                        Ok(())
                    }
                    DATA => Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the port-forward's stream was reset",
                    )),
                    stream => {
                        self.errors_ended |= stream == ERRORS;
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Both streams: the node ends that of data before it says on the other one what went wrong.
    fn ended(&self) -> bool {
        self.data_ended && self.errors_ended
    }

    fn may_break_off(&self) -> bool {
        self.data_ended
    }
}

impl Spdy {
    fn control_part(&self, kind: u16, len: usize) -> io::Result<To> {
        match (kind, len) {
            (PING, 4) | (RST_STREAM, 8) => Ok(To::Framing),
            (PING | RST_STREAM, _) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a SPDY frame of type {kind} with {len} bytes"),
            )),
            _ => Ok(To::Nobody),
        }
    }
}

fn syn_stream(stream: u32, zlib_head: &[u8], headers: &[(&str, &str)], out: &mut Vec<u8>) {
    let block = header_block(headers);
    // Stream, no parent, priority 0, no slot; then the block as a part of the one zlib stream.
    let len = 10 + zlib_head.len() + SYNC.len() + block.len() + SYNC.len();
    control_head(SYN_STREAM, len, out);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(zlib_head);
    let size = block.len() as u16;
    out.push(0);
    out.extend_from_slice(&size.to_le_bytes());
    out.extend_from_slice(&(!size).to_le_bytes());
    out.extend_from_slice(&block);
    out.extend_from_slice(&SYNC);
}

/// Names (lower case) and values with their lengths before them.
fn header_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = (headers.len() as u32).to_be_bytes().to_vec();
    for word in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend_from_slice(&(word.len() as u32).to_be_bytes());
        block.extend_from_slice(word.as_bytes());
    }
    block
}

fn control_head(kind: u16, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 3]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn data_head(stream: u32, flags: u8, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&(u32::from(flags) << 24 | len as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_is_readable_by_any_zlib() {
        let mut out = Vec::new();

        Spdy::new(&Way::Port(8080)).open(&mut out);

        // SYN_STREAM, 10 bytes of it, then zlib: head with dictionary, a stored block of 62 bytes.
        assert_eq!(out[..4], [0x80, 3, 0, 1]);
        assert_eq!(out[8..18], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[18..24], ZLIB);
        assert_eq!(u32::from(out[18]) * 256 % 31 + u32::from(out[19]) % 31, 31);
        let size = usize::from(u16::from_le_bytes([out[25], out[26]]));
        assert_eq!(u16::from_le_bytes([out[27], out[28]]), !(size as u16));
        assert_eq!(out[29 + size..34 + size], SYNC);
        assert_eq!(out[29..33], [0, 0, 0, 3]);
    }

    #[test]
    fn a_frame_takes_at_most_64_kib() {
        let mut out = Vec::new();

        let taken = Spdy::new(&Way::Port(1)).data(&vec![7; 100_000], &mut out);

        assert_eq!(taken, 65_536);
        assert_eq!(out[..8], [0, 0, 0, 3, 0, 1, 0, 0]);
        assert_eq!(out.len(), 65_544);
    }

    #[test]
    fn pings_of_the_server_are_answered_and_ours_are_not() {
        let mut spdy = Spdy::new(&Way::Port(1));
        let mut out = Vec::new();

        for number in [2, 3] {
            spdy.head(&[0x80, 3, 0, 6, 0, 0, 0, 4]).unwrap();
            assert_eq!(spdy.part(), Some(Part { to: To::Framing, len: 4 }));
            spdy.take(&[0, 0, 0, number], &mut out).unwrap();
        }

        assert_eq!(out, [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]);
    }
}
