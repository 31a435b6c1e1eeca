//! The head of an answer: how its body ends, and how the caller sees it.

use std::mem::MaybeUninit;

use httparse::Status;

use super::asked::Asked;
use super::chunks::{Chunks, Nonsense};
use super::fields::{FIELDS_MOST, Known, Told, known, write};
use super::flow::Body;

/// An answer whose head has come.
pub(super) struct Answered {
    pub(super) body: Body,
    pub(super) kind: Kind,
    /// It may tell how long its body is, or would be.
    framed: bool,
    /// The caller's connection ends with it.
    pub(super) close: bool,
    /// The upstream's connection can serve another request.
    pub(super) reusable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another answer follows.
    Early,
    /// The connection changes its protocol.
    Switched,
    Final,
}

/// Reads the head of an answer, and appends the head for the caller. Gives the length of what was
/// read, or nothing as long as a part is missing.
pub(super) fn read(
    bytes: &[u8],
    asked: &Asked,
    ending: bool,
    to: &mut Vec<u8>,
) -> Result<Option<(Answered, usize)>, Nonsense> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MOST];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Nonsense),
    };
    let told = Told::by(response.headers, response.version.unwrap_or_default())?;
    let answered = judge(&response, &told, asked, ending)?;
    // Leave to send is the router's own to give, and was given.
    let unheard = response.code == Some(100) || (answered.kind == Kind::Early && asked.old);
    if !unheard {
        write_head(&response, &told, &answered, asked, to);
    }
    Ok(Some((answered, length)))
}

fn judge(
    response: &httparse::Response<'_, '_>,
    told: &Told<'_>,
    asked: &Asked,
    ending: bool,
) -> Result<Answered, Nonsense> {
    let code = response.code.unwrap_or_default();
    let kind = match code {
        101 if asked.upgrade && told.upgrade.is_some() => Kind::Switched,
        101 | ..100 | 600.. => return Err(Nonsense),
        100..200 => Kind::Early,
        _ => Kind::Final,
    };
    let body = match told.length {
        _ if asked.head_only || matches!(code, 100..200 | 204 | 304) => Body::Length(0),
        _ if told.chunked && asked.old => Body::Unchunked(Chunks::new()),
        _ if told.chunked => Body::Chunked(Chunks::new()),
        Some(length) => Body::Length(length),
        None => Body::UntilClose,
    };
    let open_ended = matches!(body, Body::UntilClose) || (asked.old && told.chunked);
    let kept = match response.version {
        Some(1) => !told.close,
        _ => told.keep_alive,
    };
    Ok(Answered {
        close: asked.close || ending || open_ended,
        reusable: kept && !matches!(body, Body::UntilClose) && kind == Kind::Final,
        framed: code != 204,
        body,
        kind,
    })
}

fn write_head(
    response: &httparse::Response<'_, '_>,
    told: &Told<'_>,
    answered: &Answered,
    asked: &Asked,
    to: &mut Vec<u8>,
) {
    to.extend_from_slice(if asked.old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    to.extend_from_slice(response.code.unwrap_or_default().to_string().as_bytes());
    to.push(b' ');
    to.extend_from_slice(response.reason.unwrap_or_default().as_bytes());
    to.extend_from_slice(b"\r\n");
    for field in &*response.headers {
        let goes_on = match known(field.name) {
            Known::Connection
            | Known::ContentLength
            | Known::TransferEncoding
            | Known::Upgrade
            | Known::Hop => false,
            Known::ContentType => true,
            _ => !told.names(field.name),
        };
        if goes_on {
            write(to, field.name, field.value);
        }
    }
    write_framing(told, answered, asked, to);
    to.extend_from_slice(b"\r\n");
}

fn write_framing(told: &Told<'_>, answered: &Answered, asked: &Asked, to: &mut Vec<u8>) {
    if answered.kind == Kind::Final && answered.framed {
        if told.chunked && !asked.old {
            to.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if let Some(length) = told.length {
            write(to, "content-length", length.to_string().as_bytes());
        }
    }
    match answered.kind {
        Kind::Early => {}
        Kind::Switched => {
            to.extend_from_slice(b"connection: upgrade\r\n");
            write(to, "upgrade", told.upgrade.unwrap_or_default());
        }
        Kind::Final if answered.close => to.extend_from_slice(b"connection: close\r\n"),
        Kind::Final if asked.old => to.extend_from_slice(b"connection: keep-alive\r\n"),
        Kind::Final => {}
    }
}
