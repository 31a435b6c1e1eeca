//! What a caller is told when no upstream answers, and the bodies of answers in general.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use kt_wire::{Reason, Refused};

use super::upstream::Upstream;

/// The body of an answer.
pub(super) enum Told {
    /// Of an upstream, over a connection that other streams use, too.
    Streamed(Incoming, #[expect(dead_code, reason = "it counts the streams")] Rc<()>),
    /// Of ours.
    Text(Option<Bytes>),
}

/// Why an upstream did not answer.
pub(super) fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Reason::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Other => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Who can not be reached, and why.
pub(super) fn unreachable(chosen: &Rc<Upstream>, original: &Rc<Upstream>, why: &Refused) -> String {
    let cause = why.reason.words();
    match Rc::ptr_eq(chosen, original) {
        true => format!("{original} can not be reached: {cause}"),
        false => format!("neither {chosen} nor {original} can be reached: {cause}"),
    }
}

/// Who was reached and broke off, or spoke no HTTP.
pub(super) fn silent(who: &Upstream) -> String {
    format!("{who} ended the connection without an answer")
}

/// Tells a caller of it, in words that users know from the router before, and who it is; a gRPC
/// caller is told in gRPC's way, with status 14 (unavailable).
pub(super) fn failure(status: StatusCode, why: &str, grpc: bool) -> Response<Told> {
    let words = match status {
        StatusCode::BAD_GATEWAY => "connection error",
        StatusCode::SERVICE_UNAVAILABLE => "temporary error",
        StatusCode::GATEWAY_TIMEOUT => "connection timeout",
        _ => "internal error",
    };
    let text = format!("{} - KtConnect mesh {words}: {why}", status.as_u16());
    match grpc {
        true => grpc_failure(&text),
        false => answer(status, text),
    }
}

/// A plain answer of ours.
pub(super) fn answer(status: StatusCode, text: String) -> Response<Told> {
    let mut response = Response::new(Told::Text(Some(text.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Whether a gRPC caller asks.
pub(super) fn is_grpc(asked: &HeaderMap) -> bool {
    asked.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn grpc_failure(text: &str) -> Response<Told> {
    let mut response = Response::new(Told::Text(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    if let Ok(text) = HeaderValue::from_str(&percent_encoded(text)) {
        headers.insert("grpc-message", text);
    }
    response
}

/// As gRPC wants its messages: what is not printable ASCII, byte by byte.
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'%' | ..b' ' | b'\x7f'.. => format!("%{byte:02X}"),
        plain => char::from(plain).to_string(),
    };
    text.bytes().map(encoded).collect()
}

impl Body for Told {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Told::Streamed(body, _) => Pin::new(body).poll_frame(context),
            Told::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Told::Streamed(body, _) => body.is_end_stream(),
            Told::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Told::Streamed(body, _) => body.size_hint(),
            Told::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}

/// An answer of ours as HTTP/1 has it, after which the connection ends.
pub(super) fn written(answer: Response<Told>) -> Vec<u8> {
    let status = answer.status();
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    for (name, value) in answer.headers() {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    let body = match answer.into_body() {
        Told::Text(body) => body.unwrap_or_default(),
        Told::Streamed(..) => Bytes::new(),
    };
    text.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
    [text.into_bytes(), body.to_vec()].concat()
}
