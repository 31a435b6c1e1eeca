//! The transfer coding `chunked` (RFC 9112, section 7.1), read strictly: what one reader takes for a
//! size, a line end or a trailer, no other may take for something else.

/// What is no HTTP, or could be understood in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Bytes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Sizes, line ends and trailers.
    Frame(usize),
    /// The content.
    Data(usize),
    /// It has ended before these bytes.
    Ended,
}

/// Digits of a size; more than 2^60 bytes are nobody's chunk.
const DIGITS_MOST: u8 = 15;
/// Bytes of extensions of one chunk, or of all trailers.
const EXTRA_MOST: usize = 16 << 10;
/// Trailers which would change what the message is.
const FORBIDDEN: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"host", b"connection"];
const NAME_MOST: usize = 18;

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8 },
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Line,
    Name { length: usize },
    Value,
    LineEnd,
    LastEnd,
    Ended,
}

/// A reader of chunks.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk.
    left: u64,
    extra: usize,
    /// Of a trailer, as far as it matters.
    name: [u8; NAME_MOST],
}

impl Chunks {
    pub(super) fn new() -> Chunks {
        Chunks { at: At::Size { digits: 0 }, left: 0, extra: 0, name: [0; NAME_MOST] }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.at == At::Ended
    }

    /// Reads as many of the bytes as are of one kind.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Nonsense> {
        match self.at {
            At::Ended => Ok(Piece::Ended),
            At::Data => Ok(Piece::Data(self.take_data(bytes.len()))),
            _ => self.take_frame(bytes).map(Piece::Frame),
        }
    }

    fn take_data(&mut self, count: usize) -> usize {
        let count = usize::try_from(self.left).map_or(count, |left| left.min(count));
        self.left -= count as u64;
        if self.left == 0 {
            self.at = At::DataCr;
        }
        count
    }

    fn take_frame(&mut self, bytes: &[u8]) -> Result<usize, Nonsense> {
        for (index, byte) in bytes.iter().enumerate() {
            self.at = self.step(*byte)?;
            if matches!(self.at, At::Data | At::Ended) {
                return Ok(index + 1);
            }
        }
        Ok(bytes.len())
    }

    fn step(&mut self, byte: u8) -> Result<At, Nonsense> {
        Ok(match (self.at, byte) {
            (At::Size { digits }, _) => return self.step_size(digits, byte),
            (At::Extension, b'\r') => At::SizeEnd,
            (At::Value, b'\r') => At::LineEnd,
            (At::Extension | At::Value, _) if is_text(byte) => self.more(self.at)?,
            (At::SizeEnd, b'\n') => {
                self.extra = 0;
                if self.left == 0 { At::Line } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0 },
            (At::Line, b'\r') => At::LastEnd,
            (At::LastEnd, b'\n') => At::Ended,
            (At::LineEnd, b'\n') => At::Line,
            (At::Line, _) if is_token(byte) => self.step_name(0, byte)?,
            (At::Name { length }, _) if is_token(byte) => self.step_name(length, byte)?,
            (At::Name { length }, b':') if !self.is_forbidden(length) => At::Value,
            _ => return Err(Nonsense),
        })
    }

    fn step_size(&mut self, digits: u8, byte: u8) -> Result<At, Nonsense> {
        match (byte, char::from(byte).to_digit(16)) {
            (_, Some(digit)) if digits < DIGITS_MOST => {
                self.left = self.left * 16 + u64::from(digit);
                Ok(At::Size { digits: digits + 1 })
            }
            (b'\r', _) if digits > 0 => Ok(At::SizeEnd),
            (b';' | b' ' | b'\t', _) if digits > 0 => Ok(At::Extension),
            _ => Err(Nonsense),
        }
    }

    fn step_name(&mut self, length: usize, byte: u8) -> Result<At, Nonsense> {
        if let Some(place) = self.name.get_mut(length) {
            *place = byte.to_ascii_lowercase();
        }
        self.more(At::Name { length: length + 1 })
    }

    fn is_forbidden(&self, length: usize) -> bool {
        self.name.get(..length).is_some_and(|name| FORBIDDEN.contains(&name))
    }

    fn more(&mut self, at: At) -> Result<At, Nonsense> {
        self.extra += 1;
        if self.extra > EXTRA_MOST { Err(Nonsense) } else { Ok(at) }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
