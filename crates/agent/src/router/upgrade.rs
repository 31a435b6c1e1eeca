//! A connection that changes its protocol (WebSocket and any other): once the upstream agrees, it
//! is relayed.

use std::rc::Rc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kt_wire::{Refused, relay};
use tokio::task::spawn_local;

use super::failure::{Told, failure, status_of};
use super::headers;
use super::http::broken;
use super::kept::Sent;
use super::upstream::Upstream;

/// Passes a request for an upgrade on, over a connection of its own.
pub(super) async fn pass(
    mut asked: request::Parts,
    body: Incoming,
    protocol: HeaderValue,
    chosen: &Rc<Upstream>,
    original: &Rc<Upstream>,
) -> Response<Told> {
    let on_caller = asked.extensions.remove::<OnUpgrade>();
    ask_for(&mut asked.headers, protocol);
    let headers = asked.headers.clone();
    let mut response = match send(Request::from_parts(asked, Sent::of(body)), chosen, original).await {
        Ok(response) => response,
        Err(why) => return failure(status_of(why.reason), &headers),
    };
    let agreed = response.headers().get(UPGRADE).cloned();
    headers::remove_hop_by_hop(response.headers_mut());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(protocol), Some(on_caller)) =
        (response.status(), agreed, on_caller)
    {
        ask_for(response.headers_mut(), protocol);
        let on_upstream = hyper::upgrade::on(&mut response);
        spawn_local(relay_upgraded(on_caller, on_upstream));
    }
    response.map(Told::Passed)
}

fn ask_for(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

async fn send(
    request: Request<Sent>,
    chosen: &Rc<Upstream>,
    original: &Rc<Upstream>,
) -> Result<Response<Incoming>, Refused> {
    let socket = match chosen.dial().await {
        Err(_) if !Rc::ptr_eq(chosen, original) => original.dial().await?,
        dialled => dialled?,
    };
    let told = |error: hyper::Error| broken(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(told)?;
    spawn_local(connection.with_upgrades());
    sender.send_request(request).await.map_err(told)
}

async fn relay_upgraded(on_caller: OnUpgrade, on_upstream: OnUpgrade) {
    if let Ok((caller, upstream)) = tokio::try_join!(on_caller, on_upstream) {
        relay(TokioIo::new(caller), TokioIo::new(upstream)).await;
    }
}
