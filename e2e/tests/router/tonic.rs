//! gRPC through the router, between both sides of Rust's implementation.

use std::convert::Infallible;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::StreamingService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::{anywhere, router};

const BIG: usize = 3 << 20;

/// Messages are bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends each message back as it comes; `fail` ends the answer with a status, in its trailers.
#[derive(Clone)]
struct Echo;

type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let answers = request.into_inner().map(|message| match message? {
            message if message == "fail" => Err(Status::data_loss("as asked")),
            message => Ok(message),
        });
        std::future::ready(Ok(Response::new(Box::pin(answers))))
    }
}

async fn serve(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        let answer = tower::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let mut grpc = tonic::server::Grpc::new(Raw);
            Ok::<_, Infallible>(grpc.streaming(Echo, request.map(tonic::body::Body::new)).await)
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let service = TowerToHyperService::new(answer);
        tokio::spawn(async move {
            let _ = connection.serve_connection(TokioIo::new(socket), service).await; // until the router ends it
        });
    }
}

/// Runs a test with a client that has a router before its server.
fn with_client(test: impl AsyncFnOnce(Grpc<Channel>)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(anywhere()).await.expect("a port");
        let Some(router) = router("tonic", listener.local_addr().expect("an address")) else { return };
        tokio::spawn(serve(listener));
        let endpoint = Channel::from_shared(format!("http://{}", router.address)).expect("an address");
        let mut client = Grpc::new(endpoint.connect().await.expect("a connection"));
        client.ready().await.expect("room for a call");
        test(client).await;
    });
}

fn method() -> PathAndQuery {
    PathAndQuery::from_static("/kt.Echo/Echo")
}

async fn answers(client: &mut Grpc<Channel>, messages: Vec<Bytes>) -> (Vec<Bytes>, Result<(), Status>) {
    client.ready().await.expect("room for a call");
    let sent = Request::new(tokio_stream::iter(messages));
    let mut answer = match client.streaming(sent, method(), Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut got = Vec::new();
    loop {
        match answer.message().await {
            Ok(Some(message)) => got.push(message),
            Ok(None) => return (got, Ok(())),
            Err(status) => return (got, Err(status)),
        }
    }
}

#[test]
fn tonics_grpc_works_through_the_router_in_all_its_ways() {
    with_client(async |mut client| {
        let unary = client.unary(Request::new(Bytes::from("one")), method(), Raw).await;
        assert_eq!(unary.expect("an answer").into_inner(), "one");

        let many: Vec<Bytes> = (0..500).map(|number| Bytes::from(format!("message {number}"))).collect();
        let (got, end) = answers(&mut client, many.clone()).await;
        assert_eq!((got, end.is_ok()), (many, true));

        let big = Bytes::from(vec![b'x'; BIG]);
        let (got, end) = answers(&mut client, vec![big.clone(), big.clone()]).await;
        assert_eq!((got, end.is_ok()), (vec![big.clone(), big], true));

        let (got, end) = answers(&mut client, vec!["before".into(), "fail".into()]).await;
        let status = end.expect_err("a status");
        assert_eq!(got, ["before"]);
        assert_eq!((status.code(), status.message()), (tonic::Code::DataLoss, "as asked"));
    });
}

#[test]
fn a_call_both_ways_of_tonics_is_answered_before_it_has_ended() {
    with_client(async |mut client| {
        let (ask, asked) = tokio::sync::mpsc::channel(1);
        let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
        ask.send(Bytes::from("hello")).await.expect("sent");

        let answer = client.streaming(Request::new(asked), method(), Raw).await.expect("an answer");
        let mut answer = answer.into_inner();
        assert_eq!(answer.message().await.expect("a message"), Some(Bytes::from("hello")));
        for turn in 0..50 {
            let said = Bytes::from(format!("turn {turn}"));
            ask.send(said.clone()).await.expect("sent");
            assert_eq!(answer.message().await.expect("a message"), Some(said));
        }
        drop(ask);
        assert_eq!(answer.message().await.expect("an end"), None);
    });
}
