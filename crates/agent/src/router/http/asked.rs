//! The head of a request: what it asks for, who gets it, and how the upstream sees it.

use std::mem::MaybeUninit;
use std::rc::Rc;

use http::{Response, StatusCode};
use httparse::{Header, Status};
use kt_wire::rules;

use super::super::caller::Caller;
use super::super::failure;
use super::super::upstream::Upstream;
use super::chunks::{Chunks, Nonsense};
use super::fields::{FIELDS_MOST, Known, Told, known, write};
use super::flow::Body;

/// A request whose head has come.
pub(super) struct Asked {
    pub(super) body: Body,
    pub(super) chosen: Rc<Upstream>,
    pub(super) original: Rc<Upstream>,
    /// The caller speaks HTTP/1.0.
    pub(super) old: bool,
    /// The caller wants no other request on this connection.
    pub(super) close: bool,
    /// Its answer has no body.
    pub(super) head_only: bool,
    /// It does no more harm twice than once, and has no body.
    pub(super) repeatable: bool,
    /// The caller waits for leave to send the body.
    pub(super) expects: bool,
    /// The caller wants another protocol.
    pub(super) upgrade: bool,
    pub(super) grpc: bool,
}

/// Why a request is not passed on.
#[derive(Debug)]
pub(super) struct Wrong(pub(super) StatusCode, pub(super) &'static str);

/// What the caller wrote.
struct Head<'a> {
    method: &'a str,
    target: &'a str,
    /// Of an absolute target.
    authority: Option<&'a str>,
    version: u8,
    fields: &'a [Header<'a>],
    told: Told<'a>,
}

impl From<Wrong> for Response<failure::Told> {
    fn from(Wrong(status, words): Wrong) -> Response<failure::Told> {
        failure::answer(status, format!("{} - KtConnect mesh {words}", status.as_u16()))
    }
}

impl From<Nonsense> for Wrong {
    fn from(_: Nonsense) -> Wrong {
        Wrong(StatusCode::BAD_REQUEST, "bad request")
    }
}

/// Reads the head of a request, chooses who gets it, and writes the head for the upstream. Gives
/// the length of what was read, or nothing as long as a part is missing.
pub(super) fn read(
    bytes: &[u8],
    caller: &Caller,
    peer: &str,
    to: &mut Vec<u8>,
) -> Result<Option<(Asked, usize)>, Wrong> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MOST];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(_) => return Err(Nonsense.into()),
    };
    let head = Head::of(&request)?;
    let none = Wrong(StatusCode::BAD_GATEWAY, "connection error");
    let (chosen, original) = caller.router.table().choose(caller.listen, &head).ok_or(none)?;
    to.clear();
    head.write(peer, &original, to);
    Ok(Some((head.asked(chosen, original), length)))
}

/// A head that is too long to be read.
pub(super) fn too_large() -> Wrong {
    Wrong(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request header too large")
}

impl<'a> Head<'a> {
    fn of(request: &'a httparse::Request<'_, 'a>) -> Result<Head<'a>, Wrong> {
        let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
        let version = request.version.unwrap_or_default();
        if method == "CONNECT" {
            return Err(Wrong(StatusCode::METHOD_NOT_ALLOWED, "is no forward proxy"));
        }
        let told = Told::by(request.headers, version)?;
        let (authority, target) = split(target, method)?;
        // Whom a request is for must be told, and by one word.
        if told.hosts > 1 || (told.hosts == 0 && version == 1 && authority.is_none()) {
            return Err(Nonsense.into());
        }
        Ok(Head { method, target, authority, version, fields: request.headers, told })
    }

    /// The protocol to which the caller wants to change. `h2c` is not one: requests on it would no
    /// longer be seen, and every server goes on with HTTP/1.1 when it is not asked.
    fn wanted_upgrade(&self) -> Option<&'a [u8]> {
        let upgrade = self.told.upgrade.filter(|upgrade| !upgrade.eq_ignore_ascii_case(b"h2c"))?;
        (self.told.upgrades && self.version == 1).then_some(upgrade)
    }

    fn asked(&self, chosen: Rc<Upstream>, original: Rc<Upstream>) -> Asked {
        let told = &self.told;
        let body = match told.chunked {
            true => Body::Chunked(Chunks::new()),
            false => Body::Length(told.length.unwrap_or(0)),
        };
        let idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].contains(&self.method);
        Asked {
            repeatable: idempotent && body.has_ended(),
            expects: told.expects && self.version == 1 && !body.has_ended(),
            body,
            chosen,
            original,
            old: self.version == 0,
            close: told.close || (self.version == 0 && !told.keep_alive),
            head_only: self.method == "HEAD",
            upgrade: self.wanted_upgrade().is_some(),
            grpc: told.grpc,
        }
    }

    /// Writes the head that the upstream gets.
    fn write(&self, peer: &str, original: &Upstream, to: &mut Vec<u8>) {
        for part in [self.method, " ", self.target, " HTTP/1.1\r\n"] {
            to.extend_from_slice(part.as_bytes());
        }
        let named;
        let host = match (self.authority, self.told.host) {
            (Some(authority), _) => authority.as_bytes(),
            (None, Some(host)) => host,
            (None, None) => {
                named = original.host();
                named.as_bytes()
            }
        };
        write(to, "Host", host);
        self.write_fields(to);
        self.write_framing(to);
        self.write_forwarded(peer, host, to);
        to.extend_from_slice(b"\r\n");
    }

    fn write_fields(&self, to: &mut Vec<u8>) {
        for field in self.fields {
            let goes_on = match known(field.name) {
                Known::Other => !self.told.names(field.name),
                Known::Te => field.value.eq_ignore_ascii_case(b"trailers"), // gRPC asks for them
                Known::ContentType | Known::ForwardedHost | Known::ForwardedProto => true,
                _ => false,
            };
            if goes_on {
                write(to, field.name, field.value);
            }
        }
    }

    fn write_framing(&self, to: &mut Vec<u8>) {
        if self.told.chunked {
            to.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if let Some(length) = self.told.length {
            write(to, "Content-Length", length.to_string().as_bytes());
        }
        if let Some(protocol) = self.wanted_upgrade() {
            to.extend_from_slice(b"Connection: upgrade\r\n");
            write(to, "Upgrade", protocol);
        }
    }

    fn write_forwarded(&self, peer: &str, host: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(b"X-Forwarded-For: ");
        for field in self.fields.iter().filter(|field| known(field.name) == Known::ForwardedFor) {
            to.extend_from_slice(field.value);
            to.extend_from_slice(b", ");
        }
        to.extend_from_slice(peer.as_bytes());
        to.extend_from_slice(b"\r\n");
        if !self.told.forwarded_proto {
            to.extend_from_slice(b"X-Forwarded-Proto: http\r\n");
        }
        if !self.told.forwarded_host {
            write(to, "X-Forwarded-Host", host);
        }
    }
}

/// The authority of an absolute target, and its path.
fn split<'a>(target: &'a str, method: &str) -> Result<(Option<&'a str>, &'a str), Wrong> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let rest = rest.ok_or(Nonsense)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match path {
        _ if authority.is_empty() || authority.contains('@') => Err(Nonsense.into()),
        "" => Ok((Some(authority), "/")),
        path if path.starts_with('/') => Ok((Some(authority), path)),
        _ => Err(Nonsense.into()), // a query without a path: seldom, and seldom understood
    }
}

/// As rules see it.
impl rules::Request for Head<'_> {
    fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    fn any_header(&self, name: impl Fn(&str) -> bool, wanted: impl Fn(&str) -> bool) -> bool {
        let fits = |value| std::str::from_utf8(value).is_ok_and(&wanted);
        self.fields.iter().any(|field| name(field.name) && fits(field.value))
    }
}
