use std::rc::Rc;
use std::time::Duration;

use kt_wire::link::Keeper;
use kt_wire::rules::Speaks;
use kt_wire::{Carrier, Dialer, Link, Open, Reason, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::bed::*;
use super::http1::read_until;
use crate::links;
use crate::router::rules;

#[tokio::test]
async fn a_running_answer_goes_on_after_its_route_and_its_port_are_gone() {
    with_bed(async |bed| {
        let listener = bed.listener(ANN).await;
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[(ANN, "header:v=a")]).await;
        let mut caller = bed.call().await;
        caller.write_all(b"GET / HTTP/1.1\r\nHost: s\r\nv: a\r\n\r\n").await.expect("write");
        let (mut upstream, _) = listener.accept().await.expect("accept");
        read_until(&mut upstream, "\r\n\r\n").await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n12").await.expect("head");
        read_until(&mut caller, "12").await;

        let mut set = bed.set(2, Default::default(), &[]);
        bed.use_set(set.clone()).await;
        let next = bed.get("/", "v: a\r\n").await;
        set.generation = 3;
        set.ports.clear();
        bed.router.adopt(set);
        while TcpStream::connect(("127.0.0.1", bed.listen)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        upstream.write_all(b"34").await.expect("rest");

        read_until(&mut caller, "34").await;
        assert!(is_from(&next, ORIGINAL), "{next}");
    })
    .await;
}

#[tokio::test]
async fn a_kept_alive_caller_follows_a_change_with_its_next_request() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.start_http1(ANN).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;
        let mut from = Vec::new();

        for generation in [2, 3] {
            caller.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.expect("write");
            from.push(read_until(&mut caller, "body 0\n").await);
            bed.use_routes(generation, &[(ANN, "path:/")]).await;
        }

        assert!(is_from(&from[0], ORIGINAL) && is_from(&from[1], ANN), "{from:?}");
    })
    .await;
}

#[tokio::test]
async fn the_original_serves_those_whose_shadow_is_gone_until_it_is_back() {
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.use_routes(1, &[(ANN, "path:/")]).await;

        let gone = bed.get("/", "").await;
        bed.start_http1(ANN).await;
        tokio::time::sleep(Duration::from_millis(2100)).await;
        let back = bed.get("/", "").await;

        assert!(is_from(&gone, ORIGINAL), "{gone}");
        assert!(is_from(&back, ANN), "{back}");
    })
    .await;
}

#[tokio::test]
async fn an_older_generation_is_not_used() {
    with_bed(async |bed| {
        bed.use_routes(5, &[]).await;

        assert_eq!(bed.router.adopt(bed.set(4, Default::default(), &[(ANN, "path:/")])), 5);

        let table = bed.router.table();
        assert!(table.set().expect("set").routes.is_empty());
    })
    .await;
}

#[tokio::test]
async fn rules_in_a_file_are_used_whenever_it_changes() {
    let path = std::env::temp_dir().join(format!("kt-router-rules-{}", std::process::id()));
    with_bed(async |bed| {
        bed.start_http1(ORIGINAL).await;
        bed.start_http1(ANN).await;
        spawn_local(rules::follow(path.clone(), bed.router.clone()));

        for (generation, routes) in [(1, vec![]), (2, vec![(ANN, "path:/")])] {
            std::fs::write(&path, bed.set(generation, Default::default(), &routes).to_json()).expect("file");
            while bed.router.table().generation() < generation {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        std::fs::write(&path, "no json").expect("file");
        let answer = bed.get("/", "").await;

        assert!(is_from(&answer, ANN), "{answer}");
    })
    .await;
    std::fs::remove_file(&path).expect("file");
}

#[tokio::test]
async fn a_laptop_tells_rules_over_its_link_and_learns_which_are_in_use() {
    with_bed(async |bed| {
        let link = link_to(&bed).await;
        let set = |generation| bed.set(generation, Default::default(), &[]).to_json();

        assert_eq!(tell(&link, &set(3)).await.expect("line"), "generation 3\n");
        assert_eq!(tell(&link, &set(2)).await.expect("line"), "generation 3\n");

        let why = tell(&link, "{}").await.expect_err("unreadable").to_string();
        assert!(why.starts_with("reading the rule set"), "{why}");
        let refused = link.open(&Open::Names).await.expect_err("refused");
        assert_eq!(refused.reason, Reason::Unsupported);
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_is_over_when_the_caller_has_come_and_route_and_original_are_there() {
    with_bed(async |bed| {
        let link = link_to(&bed).await;
        bed.use_routes(1, &[(ANN, "path:/")]).await;
        let wanted = Open::Rehearse { caller: [127, 0, 0, 1].into(), route: ANN.to_string() };
        let mut rehearsal = Box::pin(link.open(&wanted));
        let mut is_over = async || timeout(Duration::from_millis(300), &mut rehearsal).await.is_ok();

        assert!(!is_over().await);
        bed.start_http1(ANN).await;
        drop(bed.call().await);
        assert!(!is_over().await, "there is no original");
        bed.start_http1(ORIGINAL).await;
        assert!(is_over().await);
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_waits_for_its_own_route_and_its_own_caller() {
    with_bed(async |bed| {
        let link = link_to(&bed).await;
        bed.use_routes(1, &[(ANN, "path:/")]).await;
        bed.start_http1(ANN).await;
        bed.start_http1(ORIGINAL).await;
        for (caller, route) in [(BOB, ANN), ([127, 0, 0, 1].into(), BOB)] {
            let wanted = Open::Rehearse { caller: caller.into(), route: route.to_string() };
            let rehearsal = timeout(Duration::from_millis(300), link.open(&wanted));

            let (ended, _) = tokio::join!(rehearsal, async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                bed.call().await
            });

            assert!(ended.is_err(), "{wanted:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_router_that_is_to_end_lets_a_running_request_end() {
    with_bed(async |bed| {
        let listener = bed.listener(ORIGINAL).await;
        bed.use_routes(1, &[]).await;
        let mut caller = bed.call().await;
        caller.write_all(b"GET / HTTP/1.1\r\nHost: s\r\n\r\n").await.expect("write");
        let (mut upstream, _) = listener.accept().await.expect("accept");
        read_until(&mut upstream, "\r\n\r\n").await;

        let answering = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("answer");
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.expect("answer");
            answer
        };
        let (ended, answer) =
            tokio::join!(tokio::time::timeout(Duration::from_secs(3), bed.router.end()), answering);

        assert!(ended.is_ok(), "it waits for nobody");
        assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_to_end_waits_for_callers_until_it_learns_that_nobody_needs_it() {
    with_bed(async |bed| {
        bed.use_routes(1, &[(ANN, "path:/")]).await;
        let begun = Instant::now();

        let told = async {
            sleep(Duration::from_secs(3)).await;
            bed.router.adopt(bed.set(2, Speaks::Unknown, &[]));
        };
        tokio::join!(bed.router.until_unneeded(), told);

        assert_eq!(begun.elapsed().as_secs(), 3);
        assert!(bed.router.table().has_routes(), "the last callers go astray");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_nobody_has_joined_ends_at_once() {
    with_bed(async |bed| {
        bed.use_routes(1, &[(ANN, "path:/")]).await;
        bed.use_routes(2, &[]).await;
        let begun = Instant::now();

        bed.router.until_unneeded().await;

        assert_eq!(begun.elapsed().as_secs(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_is_to_end_goes_on_for_as_long_as_callers_come_but_not_for_ever() {
    with_bed(async |bed| {
        bed.use_routes(1, &[(ANN, "path:/")]).await;
        let waited = async |calls: u64| {
            let begun = Instant::now();
            let come = async {
                for _ in 0..calls {
                    sleep(Duration::from_secs(3)).await;
                    bed.router.arrived.send(ANN.into()).expect("it listens");
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = bed.router.until_unneeded() => {}
                () = come => {}
            }
            begun.elapsed().as_secs()
        };

        assert_eq!([waited(0).await, waited(2).await, waited(100).await], [10, 16, 20]);
    })
    .await;
}

struct Loopback(std::net::SocketAddr);

impl Dialer for Loopback {
    async fn dial(&self) -> std::io::Result<Box<dyn Carrier>> {
        Ok(Box::new(TcpStream::connect(self.0).await?))
    }
}

async fn link_to(bed: &Bed) -> Link {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let dialer = Loopback(listener.local_addr().expect("address"));
    spawn_local(links::serve(listener, Rc::clone(&bed.router)));
    let (link, _, keeper) = Link::connect(dialer, "test", Settings::default()).await.expect("link");
    spawn_local(Keeper::serve(keeper));
    link
}

async fn tell(link: &Link, json: &str) -> std::io::Result<String> {
    let mut stream = link.open(&Open::Rules).await.expect("stream");
    stream.write_all(json.as_bytes()).await?;
    stream.shutdown().await?;
    let mut line = String::new();
    stream.read_to_string(&mut line).await?;
    Ok(line)
}
