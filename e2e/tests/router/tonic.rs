//! gRPC through the router, between both sides of Rust's implementation.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes};
use e2e::Speech;
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

use crate::anywhere;
use crate::compared::{assert_as_good_as_nginx, passes};

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

type Client = Grpc<Channel>;
type Case = (&'static str, fn(Client) -> Pin<Box<dyn Future<Output = ()> + Send>>);

const CASES: [Case; 5] = [
    ("unary", |client| Box::pin(unary(client))),
    ("many messages", |client| Box::pin(many(client))),
    ("big messages", |client| Box::pin(big(client))),
    ("a status after messages", |client| Box::pin(status(client))),
    ("an answer before the end of the question", |client| Box::pin(both_ways(client))),
];

#[test]
fn tonics_grpc_works_through_the_router_as_through_nginx() {
    let test = "tonics_grpc_works_through_the_router_as_through_nginx";
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind(anywhere())).expect("a port");
    let origin = listener.local_addr().expect("an address");
    runtime.spawn(serve(listener));

    assert_as_good_as_nginx(test, origin, Speech::Grpc, &[], |proxy| {
        let one = |case: &Case| passes(|| runtime.block_on(async { case.1(client(proxy).await).await }));
        CASES.iter().map(|case| (case.0.to_owned(), one(case))).collect()
    });
}

async fn client(server: SocketAddr) -> Client {
    let endpoint = Channel::from_shared(format!("http://{server}")).expect("an address");
    let mut client = Grpc::new(endpoint.connect().await.expect("a connection"));
    client.ready().await.expect("room for a call");
    client
}

async fn unary(mut client: Client) {
    let answer = client.unary(Request::new(Bytes::from("one")), method(), Raw).await;
    assert_eq!(answer.expect("an answer").into_inner(), "one");
}

async fn many(client: Client) {
    let many: Vec<Bytes> = (0..500).map(|number| Bytes::from(format!("message {number}"))).collect();
    let (got, end) = answers(client, many.clone()).await;
    assert_eq!((got, end.is_ok()), (many, true));
}

async fn big(client: Client) {
    let big = Bytes::from(vec![b'x'; BIG]);
    let (got, end) = answers(client, vec![big.clone(), big.clone()]).await;
    let lengths: Vec<usize> = got.iter().map(Bytes::len).collect();
    assert_eq!((lengths, end.is_ok()), (vec![BIG, BIG], true));
    assert!(got.iter().all(|message| *message == big), "a message came changed");
}

async fn status(client: Client) {
    let (got, end) = answers(client, vec!["before".into(), "fail".into()]).await;
    let status = end.expect_err("a status");
    assert_eq!(got, ["before"]);
    assert_eq!((status.code(), status.message()), (tonic::Code::DataLoss, "as asked"));
}

async fn both_ways(mut client: Client) {
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
}

fn method() -> PathAndQuery {
    PathAndQuery::from_static("/kt.Echo/Echo")
}

async fn answers(mut client: Client, messages: Vec<Bytes>) -> (Vec<Bytes>, Result<(), Status>) {
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
