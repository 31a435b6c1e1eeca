//! What the tests share: a router, upstreams that say who they are, and callers.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::rc::Rc;

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kt_wire::Protocol;
use kt_wire::rules::{MatchRule, Port, Route, RuleSet, Speaks, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::names::Resolver;
use crate::router::{Router, ports};

pub(in crate::router) const ORIGINAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(in crate::router) const ANN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
pub(in crate::router) const BOB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// A router and the port of its upstreams.
pub(in crate::router) struct Bed {
    pub(in crate::router) router: Rc<Router>,
    pub(in crate::router) listen: u16,
    pub(in crate::router) service: u16,
}

/// Runs a test with a router that has no rules yet.
pub(in crate::router) async fn with_bed<F: Future>(test: impl FnOnce(Bed) -> F) -> F::Output {
    LocalSet::new()
        .run_until(async {
            let router = Router::new(Resolver::from_system(), None);
            spawn_local(ports::serve(router.clone()));
            test(Bed { router, listen: unused_port().await, service: unused_port().await }).await
        })
        .await
}

impl Bed {
    /// A set for this bed with routes of these names and rules.
    pub(in crate::router) fn set(
        &self,
        generation: u64,
        speaks: Speaks,
        routes: &[(Ipv4Addr, &str)],
    ) -> RuleSet {
        let port = Port { listen: self.listen, service: self.service, protocol: Protocol::Tcp, speaks };
        let route = |(name, rule): &(Ipv4Addr, &str)| Route {
            name: name.to_string(),
            user: "ann".into(),
            rules: vec![MatchRule::parse(rule).expect(rule)],
            since: 0,
            shadow: None,
        };
        RuleSet {
            version: VERSION,
            generation,
            service: "tomcat".into(),
            original: ORIGINAL.to_string(),
            ports: vec![port],
            routes: routes.iter().map(route).collect(),
        }
    }

    /// Uses these routes, whose callers' speech is not known beforehand.
    pub(in crate::router) async fn use_routes(&self, generation: u64, routes: &[(Ipv4Addr, &str)]) {
        self.use_set(self.set(generation, Speaks::Unknown, routes)).await;
    }

    pub(in crate::router) async fn use_set(&self, set: RuleSet) {
        assert_eq!(self.router.adopt(set.clone()), set.generation);
    }

    /// Connects as soon as the port is open.
    pub(in crate::router) async fn call(&self) -> TcpStream {
        loop {
            match TcpStream::connect(("127.0.0.1", self.listen)).await {
                Ok(caller) => return caller,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Sends a request with these lines after the first, and returns the whole answer.
    pub(in crate::router) async fn get(&self, path: &str, lines: &str) -> String {
        let mut caller = self.call().await;
        let text = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{lines}\r\n");
        caller.write_all(text.as_bytes()).await.expect("write");
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.expect("answer");
        answer
    }

    pub(in crate::router) async fn listener(&self, address: Ipv4Addr) -> TcpListener {
        TcpListener::bind((address, self.service)).await.expect("listener")
    }

    /// Starts an upstream that answers with its address and what it got.
    pub(in crate::router) async fn start_http1(&self, address: Ipv4Addr) {
        let listener = self.listener(address).await;
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service_fn(move |request| tell(address, request));
                let connection = hyper::server::conn::http1::Builder::new();
                spawn_local(connection.serve_connection(TokioIo::new(socket), service));
            }
        });
    }
}

type Request = hyper::Request<Incoming>;

/// Lines: who answers, what was asked for, each header, the length of the body.
async fn tell(
    address: Ipv4Addr,
    request: Request,
) -> Result<hyper::Response<Full<bytes::Bytes>>, Infallible> {
    let (asked, body) = request.into_parts();
    let mut text = format!("from {address}\n{} {}\n", asked.method, asked.uri);
    for (name, value) in &asked.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().expect("text")));
    }
    let length = body.collect().await.map_or(0, |body| body.to_bytes().len());
    text.push_str(&format!("body {length}\n"));
    Ok(hyper::Response::new(Full::new(text.into())))
}

pub(in crate::router) async fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.and_then(|listener| listener.local_addr()).expect("port").port()
}

/// Whether the answer is from that upstream.
pub(in crate::router) fn is_from(answer: &str, address: Ipv4Addr) -> bool {
    answer.contains(&format!("from {address}\n"))
}
