//! The header fields that matter to a proxy, found in one pass, and the framing that they tell
//! (RFC 9112, section 6), read strictly.

use httparse::Header;

use super::chunks::Nonsense;

/// Fields of one message; more are refused.
pub(super) const FIELDS_MOST: usize = 128;

/// A field that is treated in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Connection,
    ContentLength,
    ContentType,
    Expect,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    Host,
    /// Between neighbours only, and of no use here.
    Hop,
    Te,
    TransferEncoding,
    Upgrade,
    Other,
}

/// What the fields of a message tell.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// `connection` says `upgrade`.
    pub(super) upgrades: bool,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) hosts: usize,
    pub(super) expects: bool,
    pub(super) grpc: bool,
    pub(super) forwarded_host: bool,
    pub(super) forwarded_proto: bool,
    /// Fields that `connection` names besides.
    named: Vec<&'a [u8]>,
}

pub(super) fn known(name: &str) -> Known {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Known::Te,
        4 if is("host") => Known::Host,
        6 if is("expect") => Known::Expect,
        7 if is("upgrade") => Known::Upgrade,
        10 if is("connection") => Known::Connection,
        10 if is("keep-alive") => Known::Hop,
        12 if is("content-type") => Known::ContentType,
        14 if is("content-length") => Known::ContentLength,
        14 if is("http2-settings") => Known::Hop,
        15 if is("x-forwarded-for") => Known::ForwardedFor,
        16 if is("x-forwarded-host") => Known::ForwardedHost,
        16 if is("proxy-connection") => Known::Hop,
        17 if is("x-forwarded-proto") => Known::ForwardedProto,
        17 if is("transfer-encoding") => Known::TransferEncoding,
        _ => Known::Other,
    }
}

impl<'a> Told<'a> {
    /// Reads the fields; `version` is the minor one.
    pub(super) fn by(fields: &[Header<'a>], version: u8) -> Result<Told<'a>, Nonsense> {
        let mut told = Told::default();
        for field in fields {
            told.note(field)?;
        }
        // In either order: who of two readers is right would depend on which they believe.
        if told.chunked && (told.length.is_some() || version == 0) {
            return Err(Nonsense);
        }
        Ok(told)
    }

    fn note(&mut self, field: &Header<'a>) -> Result<(), Nonsense> {
        let value = field.value.trim_ascii();
        match known(field.name) {
            Known::Connection => {
                value.split(|byte| *byte == b',').for_each(|word| self.note_word(word.trim_ascii()));
            }
            Known::ContentLength => self.note_length(value)?,
            Known::ContentType => self.grpc |= value.starts_with(b"application/grpc"),
            Known::Expect => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            Known::ForwardedHost => self.forwarded_host = true,
            Known::ForwardedProto => self.forwarded_proto = true,
            Known::Host => {
                self.host = Some(value);
                self.hosts += 1;
            }
            Known::TransferEncoding if self.chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                return Err(Nonsense);
            }
            Known::TransferEncoding => self.chunked = true,
            Known::Upgrade => self.upgrade = Some(value),
            Known::ForwardedFor | Known::Hop | Known::Te | Known::Other => {}
        }
        Ok(())
    }

    fn note_word(&mut self, word: &'a [u8]) {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        match () {
            () if is("close") => self.close = true,
            () if is("keep-alive") => self.keep_alive = true,
            () if is("upgrade") => self.upgrades = true,
            () if word.is_empty() => {}
            () => self.named.push(word),
        }
    }

    /// Digits only, and the same each time.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Nonsense> {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Nonsense);
        }
        let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Nonsense)?;
        match self.length.replace(length) {
            Some(before) if before != length => Err(Nonsense),
            _ => Ok(()),
        }
    }

    /// Whether `connection` names the field, so that it stays here. What a proxy needs itself can
    /// not be taken away so.
    pub(super) fn names(&self, name: &str) -> bool {
        self.named.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Writes a field as one line.
pub(super) fn write(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}
