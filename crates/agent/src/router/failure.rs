//! What a caller is told when no upstream answers, and the bodies of answers in general.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use kt_wire::Reason;

use super::kept::Answer;

/// The body of an answer.
pub(super) enum Told {
    /// Of an upstream, over a connection that is kept.
    Answer(Box<Answer>),
    /// Of an upstream, over a connection with a task of its own.
    Passed(Incoming),
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

/// Tells a caller of it, in words that users know from the router before; a gRPC caller is told in
/// gRPC's way, with status 14 (unavailable).
pub(super) fn failure(status: StatusCode, asked: &HeaderMap) -> Response<Told> {
    let words = match status {
        StatusCode::BAD_GATEWAY => "connection error",
        StatusCode::SERVICE_UNAVAILABLE => "temporary error",
        StatusCode::GATEWAY_TIMEOUT => "connection timeout",
        _ => "internal error",
    };
    let text = format!("{} - KtConnect mesh {words}", status.as_u16());
    match is_grpc(asked) {
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

fn is_grpc(asked: &HeaderMap) -> bool {
    asked.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn grpc_failure(text: &str) -> Response<Told> {
    let mut response = Response::new(Told::Text(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    if let Ok(text) = HeaderValue::from_str(text) {
        headers.insert("grpc-message", text);
    }
    response
}

impl Body for Told {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Told::Answer(body) => Pin::new(&mut **body).poll_frame(context),
            Told::Passed(body) | Told::Streamed(body, _) => Pin::new(body).poll_frame(context),
            Told::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Told::Answer(body) => body.is_end_stream(),
            Told::Passed(body) | Told::Streamed(body, _) => body.is_end_stream(),
            Told::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Told::Answer(body) => body.size_hint(),
            Told::Passed(body) | Told::Streamed(body, _) => body.size_hint(),
            Told::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
