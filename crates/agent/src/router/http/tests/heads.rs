use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::super::caller::Caller;
use super::super::super::{Router, Table};
use super::super::answered::{self, Kind};
use super::super::asked::{self, Asked, Wrong};
use super::super::chunks::Nonsense;
use crate::names::Resolver;
use kt_wire::rules::RuleSet;

const RULES: &str = r#"{"version":1,"generation":1,"service":"shop","original":"shop-kt-stuntman",
    "ports":[{"listen":8080,"service":80}],"routes":[{"name":"ann","rules":[{"header":"v","equals":"a"}]}]}"#;

fn caller() -> Caller {
    let resolver = Resolver::from_system();
    let router = Router::new(resolver.clone(), None);
    let set = RuleSet::from_json(RULES.as_bytes()).expect("rules");
    router.put(Table::default().with_set(set, &resolver));
    Caller { router, listen: 8080, peer: SocketAddr::from(([10, 0, 0, 9], 1)) }
}

/// The head for the upstream, and what is known of the request.
pub(super) fn ask(text: &str) -> Result<Option<(String, Asked)>, Wrong> {
    let mut head = Vec::new();
    let read = asked::read(text.as_bytes(), &caller(), "10.0.0.9", &mut head)?;
    Ok(read.map(|(asked, length)| {
        assert_eq!(length, text.len());
        (String::from_utf8(head).expect("text"), asked)
    }))
}

fn asked(text: &str) -> (String, Asked) {
    ask(text).expect(text).expect(text)
}

#[test]
fn the_upstream_gets_the_request_as_ours() {
    let (head, asked) = asked(
        "PUT /a?b HTTP/1.1\r\nHost: shop\r\nX-Mine: 1\r\nConnection: keep-alive, X-Mine, content-length, host\r\n\
         Keep-Alive: 5\r\nTE: gzip\r\nHTTP2-Settings: x\r\nUpgrade: h2c\r\nExpect: 100-continue\r\nAccept: */*\r\n\
         X-Forwarded-For: 1.2.3.4\r\nContent-Length: 7\r\n\r\n",
    );

    assert_eq!(
        head,
        "PUT /a?b HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\nContent-Length: 7\r\n\
         X-Forwarded-For: 1.2.3.4, 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop\r\n\r\n"
    );
    assert!(asked.expects && !asked.close && !asked.upgrade && !asked.repeatable);
}

#[test]
fn an_absolute_target_tells_the_host() {
    let (head, _) = asked("GET http://shop:80/a?b HTTP/1.1\r\nHost: other\r\n\r\n");
    let (root, _) = asked("GET HTTP://shop HTTP/1.1\r\nHost: shop\r\n\r\n");

    assert!(head.starts_with("GET /a?b HTTP/1.1\r\nHost: shop:80\r\n"), "{head}");
    assert!(!head.contains("other"), "{head}");
    assert!(root.starts_with("GET / HTTP/1.1\r\nHost: shop\r\n"), "{root}");
}

#[test]
fn a_route_is_chosen_by_the_head() {
    let (_, ann) = asked("GET / HTTP/1.1\r\nHost: shop\r\nV: a\r\n\r\n");
    let (_, other) = asked("GET / HTTP/1.1\r\nHost: shop\r\nV: b\r\n\r\n");

    assert_eq!((ann.chosen.host(), other.chosen.host()), ("ann:80".into(), "shop-kt-stuntman:80".into()));
}

#[test]
fn a_caller_of_http_1_0_is_told_the_original_as_host_and_keeps_its_connection_if_it_asks() {
    let (head, plain) = asked("GET / HTTP/1.0\r\n\r\n");
    let (_, keeps) = asked("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");

    assert!(head.contains("\r\nHost: shop-kt-stuntman:80\r\n"), "{head}");
    assert!(plain.close && !keeps.close && keeps.old);
}

#[test]
fn only_an_upgrade_that_is_asked_for_is_one() {
    let wanted = |connection: &str, upgrade: &str| {
        asked(&format!("GET / HTTP/1.1\r\nHost: s\r\nConnection: {connection}\r\nUpgrade: {upgrade}\r\n\r\n"))
    };

    let (head, asked) = wanted("keep-alive, Upgrade", "websocket");
    assert!(asked.upgrade && head.contains("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"), "{head}");
    assert!(!wanted("keep-alive", "websocket").1.upgrade);
    assert!(!wanted("upgrade, http2-settings", "h2c").1.upgrade);
}

/// The head for the caller, and what is known of the answer to a request.
fn answer(request: &str, text: &str) -> Result<(String, Kind, bool, bool), Nonsense> {
    let (_, asked) = asked(request);
    let mut head = Vec::new();
    let (answered, _) = answered::read(text.as_bytes(), &asked, false, &mut head)?.expect("whole");
    Ok((String::from_utf8(head).expect("text"), answered.kind, answered.close, answered.reusable))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: s\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn the_caller_gets_the_answer_without_what_is_for_our_connection() {
    let text = "HTTP/1.1 201 Made\r\nX-Mine: 1\r\nConnection: close, X-Mine\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";

    let (head, kind, close, reusable) = answer(GET, text).expect("answer");

    assert_eq!(head, "HTTP/1.1 201 Made\r\nSet-Cookie: a\r\nSet-Cookie: b\r\ncontent-length: 2\r\n\r\n");
    assert_eq!((kind, close, reusable), (Kind::Final, false, false));
}

#[test]
fn an_answer_that_ends_with_its_connection_ends_the_callers() {
    let (head, _, close, reusable) = answer(GET, "HTTP/1.1 200 OK\r\n\r\n").expect("answer");

    assert!(head.contains("connection: close\r\n") && close && !reusable, "{head}");
}

#[test]
fn a_caller_of_http_1_0_gets_no_chunks() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (head, _, close, _) = answer(OLD, chunked).expect("answer");
    let (kept, ..) = answer(OLD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").expect("answer");

    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("chunked") && close, "{head}");
    assert!(kept.contains("connection: keep-alive\r\n"), "{kept}");
}

#[test]
fn answers_without_a_body_have_none() {
    for (request, text) in [
        ("HEAD / HTTP/1.1\r\nHost: s\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
    ] {
        let (_, asked) = asked(request);
        let read = answered::read(text.as_bytes(), &asked, false, &mut Vec::new());
        let (answered, _) = read.expect("answer").expect("whole");

        assert!(answered.body.has_ended() && answered.reusable, "{text}");
    }
}

#[test]
fn an_answer_that_can_be_understood_in_two_ways_is_none() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", // nobody asked for it
        "HTTP/1.1 200 OK\r\na: 1\r\n folded\r\n\r\n",
        "220 mail\r\n\r\n",
    ] {
        assert!(answer(GET, text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_part_of_a_head_is_waited_for(place in 1usize..120) {
        let text = "POST /a HTTP/1.1\r\nHost: shop\r\nV: a\r\nTransfer-Encoding: chunked\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
        let part = &text[..place.min(text.len() - 1)];

        prop_assert!(ask(part).expect("part").is_none());
    }

    /// Whatever is passed on is understood by the next in one way.
    #[test]
    fn what_is_passed_on_has_one_length_and_one_host(
        fields in prop::collection::vec(prop::sample::select(vec![
            "Host: a", "host:b", "Content-Length: 1", "Content-Length: 01", "content-length:2", "Content-Length: 1, 1",
            "Transfer-Encoding: chunked", "transfer-encoding: identity", "Transfer-Encoding : chunked", "Connection: close",
            "Connection: host, transfer-encoding", "X: 1", " folded", "Content-Length: +1", "Te: trailers", "A\rB: 1",
        ]), 0..6),
        version in 0..=1,
    ) {
        let text = format!("POST / HTTP/1.{version}\r\n{}\r\n", fields.iter().map(|field| format!("{field}\r\n")).collect::<String>());

        if let Ok(Some((head, _))) = ask(&text) {
            let count = |name: &str| head.lines().filter(|line| line.to_ascii_lowercase().starts_with(name)).count();
            prop_assert_eq!(count("host:"), 1, "{}", head);
            prop_assert!(count("content-length:") + count("transfer-encoding:") <= 1, "{}", head);
            prop_assert!(!head.contains("folded") && !head.contains("identity"), "{}", head);
            prop_assert!(!head.replace("\r\n", "").contains('\r'), "{}", head);
        }
    }

    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let read = asked::read(&bytes, &caller(), "::1", &mut Vec::new());
        prop_assert!(read.is_err() || read.is_ok_and(|read| read.is_none_or(|(_, length)| length <= bytes.len())));
    }
}
