use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::bed::*;
use crate::router::http2::Here;

async fn connect<B>(bed: &Bed) -> http2::SendRequest<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin + 'static,
{
    let socket = TokioIo::new(bed.call().await);
    let (sender, connection) = http2::handshake(Here, socket).await.expect("handshake");
    spawn_local(connection);
    sender
}

/// Starts a gRPC-like upstream: it sends back each part of the body as it comes, and then tells
/// in a trailer who it is. It resets what asks for `/reset`.
async fn start_http2(bed: &Bed, address: Ipv4Addr) {
    let listener = bed.listener(address).await;
    spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service_fn(move |request| echo(address, request));
            let connection = hyper::server::conn::http2::Builder::new(Here);
            spawn_local(connection.serve_connection(TokioIo::new(socket), service));
        }
    });
}

type Echo = http_body_util::combinators::UnsyncBoxBody<Bytes, hyper::Error>;

async fn echo(address: Ipv4Addr, request: Request<Incoming>) -> Result<Response<Echo>, h2::Error> {
    if request.uri().path() == "/reset" {
        return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
    }
    assert_eq!(request.uri().authority().expect("authority"), "shop");
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("from"),
        address.to_string().parse().expect("value"),
    )]);
    let body = request.into_body().with_trailers(std::future::ready(Some(Ok(trailers))));
    Ok(Response::new(body.boxed_unsync()))
}

fn post<B>(path: &str, mark: &str, body: B) -> Request<B> {
    let request =
        Request::post(format!("http://shop{path}")).header("version", mark).header("te", "trailers");
    request.header("content-type", "application/grpc").body(body).expect("request")
}

#[tokio::test]
async fn concurrent_streams_of_one_connection_go_to_different_upstreams_and_bring_their_trailers() {
    with_bed(async |bed| {
        start_http2(&bed, ORIGINAL).await;
        start_http2(&bed, ANN).await;
        bed.use_routes(1, &[(ANN, "header:version=a")]).await;
        let sender = connect(&bed).await;

        let ask = async |mark: &str| {
            let mut sender = sender.clone();
            let request = post("/", mark, Full::from(mark.to_owned()));
            let answer = sender.send_request(request).await.expect("answer");
            let body = answer.into_body().collect().await.expect("body");
            let from = body.trailers().and_then(|trailers| trailers.get("from")).cloned().expect("trailer");
            (from, body.to_bytes())
        };
        let (ann, other) = tokio::join!(ask("a"), ask("b"));

        assert_eq!(ann, ("127.0.0.3".parse().expect("value"), "a".into()));
        assert_eq!(other, ("127.0.0.2".parse().expect("value"), "b".into()));
    })
    .await;
}

#[tokio::test]
async fn both_directions_of_a_stream_go_on_side_by_side() {
    with_bed(async |bed| {
        start_http2(&bed, ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let (parts, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let stream = Parts(receiver);
        let mut sender = connect(&bed).await;

        let answer = sender.send_request(post("/", "x", stream)).await.expect("answer");
        let mut body = answer.into_body();
        for part in ["one", "two"] {
            parts.send(part.into()).await.expect("send");
            let frame = body.frame().await.expect("frame").expect("frame");
            assert_eq!(frame.into_data().expect("data"), part);
        }
        drop(parts);

        let last = body.frame().await.expect("frame").expect("frame");
        assert!(last.is_trailers(), "{last:?}");
    })
    .await;
}

/// A body of parts that are made while it is sent.
struct Parts(tokio::sync::mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

#[tokio::test]
async fn a_reset_of_the_upstream_reaches_the_caller_as_the_same() {
    with_bed(async |bed| {
        start_http2(&bed, ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut sender = connect(&bed).await;

        let error = sender.send_request(post("/reset", "x", Empty::new())).await.expect_err("reset");

        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
        assert_eq!(cause.and_then(h2::Error::reason), Some(h2::Reason::ENHANCE_YOUR_CALM));
    })
    .await;
}

#[tokio::test]
async fn a_grpc_caller_learns_in_its_own_way_that_nobody_answers() {
    with_bed(async |bed| {
        bed.use_routes(1, &[]).await;
        let mut sender = connect(&bed).await;

        let answer = sender.send_request(post("/", "x", Empty::new())).await.expect("answer");

        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "14");
        let said = answer.headers()["grpc-message"].to_str().expect("text");
        assert!(
            said.starts_with("502 - KtConnect mesh connection error: the original (127.0.0.2:"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn streams_of_a_shadow_that_is_gone_go_to_the_original() {
    with_bed(async |bed| {
        start_http2(&bed, ORIGINAL).await;
        bed.use_routes(1, &[(ANN, "header:version=a")]).await;
        let mut sender = connect(&bed).await;

        let answer = sender.send_request(post("/", "a", Empty::new())).await.expect("answer");

        let body = answer.into_body().collect().await.expect("body");
        assert_eq!(body.trailers().expect("trailers")["from"], "127.0.0.2");
    })
    .await;
}
