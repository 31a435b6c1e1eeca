//! A caller who speaks HTTP/1: each request is routed by itself.

use std::pin::pin;
use std::rc::Rc;

use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kt_wire::{Reason, Refused};

use super::caller::{Caller, Replayed};
use super::failure::{Told, answer, failure, status_of};
use super::headers::{self, Asked};
use super::kept::{Answer, Kept, Sent};
use super::upgrade;
use super::upstream::Upstream;

/// Serves a caller until its end.
pub(super) async fn serve(caller: Caller, socket: Replayed) {
    let mut ending = caller.router.ending.subscribe();
    let caller = Rc::new(caller);
    let service = service_fn(|request| respond(caller.clone(), request));
    // Without `pipeline_flush`: with it hyper buffers an answer that is not read without a limit.
    let connection = http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // A caller that breaks off is nobody's mistake.
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.wait_for(|ending| *ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn respond(caller: Rc<Caller>, request: Request<Incoming>) -> Result<Response<Told>, hyper::Error> {
    if request.method() == Method::CONNECT {
        return Ok(answer(StatusCode::METHOD_NOT_ALLOWED, "405 - KtConnect mesh is no forward proxy".into()));
    }
    let upgrade = headers::wanted_upgrade(request.headers());
    let (mut asked, body) = request.into_parts();
    let Some((chosen, original)) = caller.router.table().choose(caller.listen, &Asked(&asked)) else {
        return Ok(failure(StatusCode::BAD_GATEWAY, &asked.headers));
    };
    headers::prepare(&mut asked, caller.peer.ip(), || original.host());
    if let Some(protocol) = upgrade {
        return Ok(upgrade::pass(asked, body, protocol, &chosen, &original).await);
    }
    Ok(pass(asked, body, chosen, original).await)
}

/// Passes a request on, and its answer back.
async fn pass(
    asked: request::Parts,
    body: Incoming,
    chosen: Rc<Upstream>,
    original: Rc<Upstream>,
) -> Response<Told> {
    let told = asked.headers.get(http::header::CONTENT_TYPE).cloned();
    match exchange(Request::from_parts(asked, Sent::of(body)), chosen, original).await {
        Ok(mut response) => {
            headers::remove_hop_by_hop(response.headers_mut());
            *response.version_mut() = Version::HTTP_11;
            response
        }
        Err(why) => {
            let headers = told.map(|kind| (http::header::CONTENT_TYPE, kind)).into_iter().collect();
            failure(status_of(why.reason), &headers)
        }
    }
}

async fn exchange(
    mut request: Request<Sent>,
    chosen: Rc<Upstream>,
    original: Rc<Upstream>,
) -> Result<Response<Told>, Refused> {
    if let Some(mut kept) = chosen.take_kept() {
        let again = repeatable(&request);
        match kept.send(request).await {
            Ok(response) => return Ok(told(response, kept, chosen)),
            // It was closed meanwhile; what was not sent, or may be sent twice, gets another.
            Err(mut error) => {
                request = error.take_message().or(again).ok_or_else(|| broken(&error.into_error()))?;
            }
        }
    }
    let (socket, upstream) = match (chosen.dial().await, Rc::ptr_eq(&chosen, &original)) {
        (Ok(socket), _) => (socket, chosen),
        (Err(why), true) => return Err(why),
        // A shadow that is gone does not mean a Service that is gone.
        (Err(_), false) => (original.dial().await?, original),
    };
    let mut fresh = Kept::new(socket).await.map_err(|error| broken(&error))?;
    match fresh.send(request).await {
        Ok(response) => Ok(told(response, fresh, upstream)),
        Err(error) => Err(broken(&error.into_error())),
    }
}

fn told(response: Response<Incoming>, connection: Kept, upstream: Rc<Upstream>) -> Response<Told> {
    response.map(|body| Told::Answer(Box::new(Answer::new(body, connection, upstream))))
}

/// A copy of a request which does no more harm twice than once, and has no body.
fn repeatable(request: &Request<Sent>) -> Option<Request<Sent>> {
    let repeatable = request.method().is_idempotent() && request.body().is_end_stream();
    repeatable.then(|| {
        let mut copy = Request::new(Sent::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

/// The upstream broke off before it answered, or answered what is not HTTP.
pub(super) fn broken(error: &hyper::Error) -> Refused {
    Refused { reason: Reason::Refused, text: error.to_string() }
}
