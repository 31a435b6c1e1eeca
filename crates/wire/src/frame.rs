//! The format of frames: an 8-byte header (kind, 24-bit length, stream) and a payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER: usize = 8;

/// The longest payload a peer may send. Senders stay far below it, see [`CHUNK`].
pub const LONGEST: usize = 128 * 1024;

/// The most data in one frame, so that a small answer never waits behind much of a download. With
/// the allocator's own bytes it fits the size class of 16,368 bytes of musl; one of 16 KiB would
/// take 18,704.
pub const CHUNK: usize = 16_360;

/// Payloads shorter than this are copied out of the carrier's buffer, which they would else keep
/// alive: a reader that stalls must not hold many times its credit in memory.
const COPY_BELOW: usize = 4 * 1024;

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Takes a carrier into use, see [`crate::hello`]; only before all other frames.
    Hello = 1,
    /// Asks for a stream; the payload is a [`crate::message::Open`].
    Open = 2,
    /// The stream is there.
    OpenOk = 3,
    /// The stream can not be had; the payload is a [`crate::message::Refused`].
    OpenErr = 4,
    /// Bytes of a stream.
    Data = 5,
    /// The absolute offset up to which the peer may send on a stream (u64).
    Window = 6,
    /// No more bytes come on this stream from the sender of this frame.
    Fin = 7,
    /// The stream has ended at once; the payload is a [`crate::message::Refused`].
    Rst = 8,
    /// A datagram that belongs to a stream; may get lost.
    Dgram = 9,
    /// Asks for a [`Kind::Pong`] with the same payload.
    Ping = 10,
    /// Answers a [`Kind::Ping`].
    Pong = 11,
    /// The absolute link offset up to which the sender of this frame has received (u64).
    Cack = 12,
    /// The link ends for good; the payload is a [`crate::message::Refused`].
    Goaway = 13,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        let all = [Hello, Open, OpenOk, OpenErr, Data, Window, Fin, Rst, Dgram, Ping, Pong, Cack, Goaway];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Tells whether frames of this kind count for the link's offset, and are thus sent again
    /// over the next carrier when the peer has not got them.
    pub fn is_kept(self) -> bool {
        use Kind::*;
        matches!(self, Open | OpenOk | OpenErr | Data | Window | Fin | Rst | Goaway)
    }
}

/// One frame. Cloning shares the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub kind: Kind,
    /// The stream it belongs to, 0 for the link itself.
    pub stream: u32,
    /// At most [`LONGEST`] bytes.
    pub payload: Bytes,
}

/// Why bytes are not frames. Nothing more can be read from that carrier.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A kind which this version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// More than [`LONGEST`] bytes.
    #[error("frame of {0} bytes, at most {LONGEST} are allowed")]
    Length(usize),
}

impl Frame {
    /// Makes a frame.
    pub fn new(kind: Kind, stream: u32, payload: impl Into<Bytes>) -> Frame {
        Frame { kind, stream, payload: payload.into() }
    }

    /// Header and payload together, in bytes.
    pub fn size(&self) -> usize {
        HEADER + self.payload.len()
    }

    /// Appends the frame to what will be written.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32((self.kind as u32) << 24 | self.payload.len() as u32);
        out.put_u32(self.stream);
        out.put_slice(&self.payload);
    }

    /// Takes the next whole frame from what was read, `None` when more bytes are needed.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        let Some(mut header) = input.get(..HEADER) else { return Ok(None) };
        let (first, stream) = (header.get_u32(), header.get_u32());
        let kind = Kind::from_byte((first >> 24) as u8).ok_or(Malformed::Kind((first >> 24) as u8))?;
        let length = (first & 0xff_ffff) as usize;
        if length > LONGEST {
            return Err(Malformed::Length(length));
        }
        if input.len() < HEADER + length {
            return Ok(None);
        }
        input.advance(HEADER);
        let payload = input.split_to(length);
        let payload = match length < COPY_BELOW {
            true => Bytes::copy_from_slice(&payload),
            false => payload.freeze(),
        };
        Ok(Some(Frame { kind, stream, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_back_as_it_was_written() {
        let frame = Frame::new(Kind::Data, 7, vec![1; CHUNK]);
        let mut bytes = BytesMut::new();

        frame.encode(&mut bytes);

        assert_eq!(bytes.len(), frame.size());
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(frame)));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_part_of_a_frame_is_waited_for() {
        let mut whole = BytesMut::new();
        Frame::new(Kind::Open, 1, &b"abc"[..]).encode(&mut whole);

        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert_eq!(Frame::decode(&mut part), Ok(None));
            assert_eq!(part.len(), length);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frame::decode(&mut b"SSH-2.0-OpenSSH"[..].into()), Err(Malformed::Kind(b'S')));
        assert_eq!(
            Frame::decode(&mut [5, 0xff, 0, 0, 0, 0, 0, 1][..].into()),
            Err(Malformed::Length(0xff_0000))
        );
    }

    /// Version 1 as it was first sent: it has to stay readable.
    #[test]
    fn a_stored_sample_of_version_1_stays_readable() {
        let sample: &[u8] = include_bytes!("../samples/frames.v1");
        let mut bytes = BytesMut::from(sample);

        let kinds: Vec<(Kind, u32, usize)> =
            std::iter::from_fn(|| Frame::decode(&mut bytes).expect("frames"))
                .map(|frame| (frame.kind, frame.stream, frame.payload.len()))
                .collect();

        use Kind::*;
        let expected = [
            (Open, 1, 8),
            (OpenOk, 1, 0),
            (OpenErr, 3, 8),
            (Data, 1, 5),
            (Window, 1, 8),
            (Fin, 1, 0),
            (Rst, 2, 1),
            (Dgram, 5, 3),
            (Ping, 0, 8),
            (Pong, 0, 8),
            (Cack, 0, 8),
            (Goaway, 0, 1),
        ];
        assert_eq!(kinds, expected);
        assert!(bytes.is_empty());
    }
}
