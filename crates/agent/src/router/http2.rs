//! A caller who speaks HTTP/2 (gRPC): each stream is routed by itself. A caller has its own
//! connections to the upstreams, so that callers do not share what one connection may do at once.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;

use http::header::HOST;
use http::{Method, Request, Response, StatusCode, Uri, request, uri};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use kt_wire::Refused;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use super::caller::{Caller, Replayed};
use super::failure::{Told, answer, failure, is_grpc, silent, status_of, unreachable};
use super::headers::{self, Asked};
use super::upstream::Upstream;

/// Enough for one stream on a far upstream; ten times hyper's standard would cost memory.
const STREAM_WINDOW: u32 = 1 << 20;
/// Of all streams of one connection.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Streams at once; as nginx and Envoy have it, more are seldom meant.
const STREAMS_MOST: u32 = 1000;

/// One connection to an upstream. Each stream on it holds a clone.
#[derive(Clone)]
struct Connection {
    to: Rc<Upstream>,
    sender: client::conn::http2::SendRequest<Incoming>,
    /// Counts the streams.
    streams: Rc<()>,
    /// What the upstream allows.
    most: Rc<Cell<usize>>,
}

/// Runs the tasks of a connection where the connection itself runs.
#[derive(Clone, Copy)]
pub(super) struct Here;

impl<F: Future + 'static> Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(async move { drop(task.await) });
    }
}

/// A caller's connections to upstreams.
#[derive(Default)]
struct Connections(RefCell<Vec<Connection>>);

/// Serves a caller until its end.
pub(super) async fn serve(caller: Caller, socket: Replayed) {
    let mut ending = caller.router.ending.subscribe();
    let (caller, connections) = (Rc::new(caller), Rc::new(Connections::default()));
    let service = service_fn(|request| respond(caller.clone(), connections.clone(), request));
    let connection = server::conn::http2::Builder::new(Here)
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MOST)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = ending.wait_for(|ending| *ending) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// An error of the upstream resets the caller's stream with the same code.
async fn respond(
    caller: Rc<Caller>,
    connections: Rc<Connections>,
    request: Request<Incoming>,
) -> Result<Response<Told>, hyper::Error> {
    if request.method() == Method::CONNECT {
        return Ok(answer(StatusCode::METHOD_NOT_ALLOWED, "405 - KtConnect mesh is no forward proxy".into()));
    }
    let (mut asked, body) = request.into_parts();
    let grpc = is_grpc(&asked.headers);
    let Some((chosen, original)) = caller.router.table().choose(caller.listen, &Asked(&asked)) else {
        return Ok(failure(StatusCode::BAD_GATEWAY, "no rule is for this port", grpc));
    };
    headers::prepare(&mut asked, caller.peer.ip(), || original.host());
    name_authority(&mut asked, &original);
    match exchange(&connections, Request::from_parts(asked, body), &chosen, &original).await {
        Ok(mut response) => {
            headers::remove_hop_by_hop(response.headers_mut());
            Ok(response)
        }
        Err(Failed::Reset(error)) => Err(error),
        Err(Failed::Unreachable(why)) => {
            Ok(failure(status_of(why.reason), &unreachable(&chosen, &original, &why), grpc))
        }
        Err(Failed::Broken(who)) => Ok(failure(StatusCode::BAD_GATEWAY, &silent(&who), grpc)),
    }
}

/// Why there is no answer.
enum Failed {
    /// The upstream reset the stream.
    Reset(hyper::Error),
    /// There is no connection.
    Unreachable(Refused),
    /// It broke off before it answered, or answered what is not HTTP.
    Broken(Rc<Upstream>),
}

impl Failed {
    fn at(who: Rc<Upstream>, error: hyper::Error) -> Failed {
        let mut cause = error.source();
        while let Some(present) = cause {
            if present.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_reset) {
                return Failed::Reset(error);
            }
            cause = present.source();
        }
        Failed::Broken(who)
    }
}

/// A request that met a connection which had just ended gets another.
async fn exchange(
    connections: &Connections,
    request: Request<Incoming>,
    chosen: &Rc<Upstream>,
    original: &Rc<Upstream>,
) -> Result<Response<Told>, Failed> {
    let mut connection = connections.to(chosen, original).await?;
    let mut result = connection.sender.try_send_request(request).await;
    if let Err(error) = &mut result
        && let Some(request) = error.take_message()
    {
        connection = connections.to(chosen, original).await?;
        result = connection.sender.try_send_request(request).await;
    }
    let response = result.map_err(|error| Failed::at(connection.to.clone(), error.into_error()))?;
    Ok(response.map(|body| Told::Streamed(body, connection.streams)))
}

impl Connections {
    /// A connection to the chosen upstream, or to the original if that one is gone.
    async fn to(&self, chosen: &Rc<Upstream>, original: &Rc<Upstream>) -> Result<Connection, Failed> {
        if let Some(present) = self.present(chosen) {
            return Ok(present);
        }
        match chosen.dial().await {
            Ok(socket) => self.add(chosen, socket).await,
            Err(why) if Rc::ptr_eq(chosen, original) => Err(Failed::Unreachable(why)),
            Err(_) => match self.present(original) {
                Some(present) => Ok(present),
                None => {
                    let socket = original.dial().await.map_err(Failed::Unreachable)?;
                    self.add(original, socket).await
                }
            },
        }
    }

    /// One that takes another stream.
    fn present(&self, upstream: &Rc<Upstream>) -> Option<Connection> {
        let mut known = self.0.borrow_mut();
        known.retain(|connection| !connection.sender.is_closed());
        let fits = |connection: &&Connection| {
            Rc::ptr_eq(&connection.to, upstream)
                && Rc::strong_count(&connection.streams) <= connection.most.get()
        };
        known.iter().find(fits).cloned()
    }

    async fn add(&self, upstream: &Rc<Upstream>, socket: TcpStream) -> Result<Connection, Failed> {
        let shaken = client::conn::http2::Builder::new(Here)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(socket))
            .await;
        let (sender, mut life) = shaken.map_err(|_| Failed::Broken(upstream.clone()))?;
        let most = Rc::new(Cell::new(life.current_max_send_streams()));
        let (to, streams) = (upstream.clone(), Rc::default());
        let connection = Connection { to, sender, streams, most: most.clone() };
        spawn_local(poll_fn(move |context| {
            let polled = Pin::new(&mut life).poll(context);
            most.set(life.current_max_send_streams());
            polled
        }));
        self.0.borrow_mut().push(connection.clone());
        Ok(connection)
    }
}

/// HTTP/2 has the caller's `host` in the target of the request.
fn name_authority(asked: &mut request::Parts, original: &Upstream) {
    let mut target = std::mem::take(&mut asked.uri).into_parts();
    let host = asked.headers.remove(HOST);
    if target.authority.is_none() {
        let host = host.and_then(|host| host.to_str().ok().map(str::to_owned));
        target.authority = host.unwrap_or_else(|| original.host()).parse().ok();
    }
    target.scheme.get_or_insert(uri::Scheme::HTTP);
    target.path_and_query.get_or_insert(uri::PathAndQuery::from_static("/"));
    asked.uri = Uri::from_parts(target).unwrap_or_default();
}
