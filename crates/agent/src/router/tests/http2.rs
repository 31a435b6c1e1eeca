use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::bed::*;
use crate::router::http2::Here;

type Sender = http2::SendRequest<BoxBody<Bytes, Infallible>>;

async fn connect(bed: &Bed) -> Sender {
    let socket = TokioIo::new(bed.call().await);
    let (sender, connection) = http2::handshake(Here, socket).await.expect("handshake");
    spawn_local(connection);
    sender
}
