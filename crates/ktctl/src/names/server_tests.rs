use std::sync::atomic::AtomicUsize;

use simple_dns::Packet;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket};

use super::super::{read_message, sample, write_message};
use super::*;
use crate::outbound::dial::fake::Fake;

const A: u16 = 1;
const AAAA: u16 = 28;
const CLUSTER: [u8; 4] = [10, 96, 0, 7];
const OFFICE: [u8; 4] = [192, 0, 2, 1];

/// Notes what was routed.
#[derive(Clone, Default)]
struct Noted(Arc<Mutex<Vec<IpAddr>>>);

impl Routes for Noted {
    async fn routed(&self, addresses: &[IpAddr]) {
        self.0.lock().expect("noted").extend(addresses);
    }
}

fn name_of(query: &[u8]) -> String {
    Packet::parse(query).expect("query").questions[0].qname.to_string()
}

fn kind_of(query: &[u8]) -> u16 {
    match message::read(query) {
        Read::Query(query) => query.kind(),
        _ => 0,
    }
}

/// A server that knows some names (of IPv4 only), and no others.
fn knows(names: &'static [&'static str], address: [u8; 4]) -> impl Fn(&[u8]) -> Option<Vec<u8>> {
    move |query| {
        let known = names.contains(&name_of(query).as_str());
        let addresses = if known && kind_of(query) == A { vec![address] } else { vec![] };
        Some(sample::answer(query, if known { 0 } else { 3 }, &addresses, 30))
    }
}

fn silence(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// A name server on loopback, over UDP and TCP; counts what it was asked.
async fn upstream(
    answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("address")).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().expect("address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (noted, answer) = (asked.clone(), Arc::new(answer));
    let by_tcp = answer.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.expect("query");
            noted.lock().expect("noted").push(name_of(&buffer[..length]));
            if let Some(mut answer) = answer(&buffer[..length]) {
                if answer.len() > 512 {
                    answer[2] |= 2;
                    answer[7] = 0;
                    answer.truncate(length);
                }
                udp.send_to(&answer, from).await.expect("send");
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = tcp.accept().await.expect("connection");
            let query = read_message(&mut connection).await.expect("query");
            let answer = by_tcp(&query).expect("answer");
            write_message(&mut connection, &answer).await.expect("answer");
        }
    });
    (address, asked)
}

fn settings(upstream: Vec<SocketAddr>) -> Settings {
    let waits =
        Waits { server: Duration::from_millis(200), cluster: Duration::from_millis(300), ..Waits::default() };
    Settings {
        order: vec![Element::Cluster, Element::UPSTREAM],
        upstream,
        own: vec![],
        longest: Duration::from_secs(60),
        waits,
    }
}

fn zones() -> Zones {
    Zones { domain: "cluster.local".into(), namespaces: ["dev".to_owned()].into(), ..Zones::default() }
}

fn server(settings: Settings, dial: Fake) -> (Server<Fake, Noted>, Noted) {
    let noted = Noted::default();
    (Server::new(settings, zones(), dial, noted.clone()), noted)
}

/// Code and addresses of an answer.
async fn ask(server: &impl Answers, name: &str, kind: u16) -> (u8, Vec<IpAddr>) {
    let query = sample::query(name, kind, None);
    let answer = server.answer(&query, false).await.expect("answer");
    let packet = Packet::parse(&answer).expect("packet");
    assert_eq!((packet.id(), packet.questions[0].qname.to_string()), (0x4b54, name.to_owned()));
    assert!(
        packet.answers.iter().all(|record| record.name == packet.questions[0].qname),
        "owner is the question"
    );
    (message::rcode(&answer), addresses(&answer))
}

fn found(address: [u8; 4]) -> (u8, Vec<IpAddr>) {
    (0, vec![address.into()])
}

#[tokio::test]
async fn a_name_of_the_cluster_is_found_there_and_routed_before_it_is_told() {
    let (office, asked) = upstream(knows(&[], OFFICE)).await;
    let (server, routed) = server(settings(vec![office]), Fake::names(knows(&["tomcat"], CLUSTER)));

    assert_eq!(ask(&server, "tomcat", A).await, found(CLUSTER));

    assert_eq!(*routed.0.lock().expect("routed"), [IpAddr::from(CLUSTER)]);
    assert!(asked.lock().expect("asked").is_empty());
}

#[tokio::test]
async fn ipv6_addresses_of_an_ipv4_cluster_are_none_although_the_name_exists() {
    let (office, asked) = upstream(knows(&["tomcat"], OFFICE)).await;
    let (server, _) = server(settings(vec![office]), Fake::names(knows(&["tomcat"], CLUSTER)));

    assert_eq!(ask(&server, "tomcat", AAAA).await, (0, vec![]));
    assert!(asked.lock().expect("asked").is_empty());
}

#[tokio::test]
async fn a_name_of_the_internet_does_not_leave_through_the_cluster() {
    let (office, _) = upstream(knows(&["www.example.com", "example.com"], OFFICE)).await;
    let dial = Fake::names(knows(&["www.example.com", "example.com"], CLUSTER));
    let (server, routed) = server(settings(vec![office]), dial.clone());

    assert_eq!(ask(&server, "www.example.com", A).await, found(OFFICE));
    assert_eq!(ask(&server, "example.com", A).await, found(OFFICE));

    assert!(dial.asked().is_empty() && routed.0.lock().expect("routed").is_empty());
}

#[tokio::test]
async fn a_namespace_that_nobody_could_list_works_all_the_same() {
    let (office, _) = upstream(knows(&["git.firm"], OFFICE)).await;
    let (server, _) =
        server(settings(vec![office]), Fake::names(knows(&["tomcat.shop.svc.cluster.local"], CLUSTER)));

    assert_eq!(ask(&server, "tomcat.shop", A).await, found(CLUSTER));
    assert_eq!(ask(&server, "git.firm", A).await, found(OFFICE));
    assert_eq!(ask(&server, "nobody.firm", A).await, (3, vec![]));
}

#[tokio::test]
async fn a_name_that_nobody_knows_does_not_exist_and_silence_is_a_failure() {
    let (office, _) = upstream(knows(&[], OFFICE)).await;
    let (quiet, _) = upstream(silence).await;
    let of = |upstream, names: fn(&[u8]) -> Option<Vec<u8>>| {
        server(settings(vec![upstream]), Fake::names(names)).0
    };
    let nobody: fn(&[u8]) -> Option<Vec<u8>> = |query| Some(sample::answer(query, 3, &[], 0));

    assert_eq!(ask(&of(office, nobody), "nothing", A).await.0, 3);
    assert_eq!(ask(&of(quiet, nobody), "nothing", A).await.0, 2);
    assert_eq!(ask(&of(office, silence), "nothing", A).await.0, 2);
    assert_eq!(ask(&of(office, silence), "nothing.firm", A).await.0, 2);
    assert_eq!(ask(&of(quiet, nobody), "www.example.com", A).await.0, 2);
}

#[tokio::test]
async fn a_cluster_that_is_silent_holds_up_other_names_only_shortly() {
    let (office, _) = upstream(knows(&["git.firm", "www.firm"], OFFICE)).await;
    let (server, _) = server(settings(vec![office]), Fake::names(silence));

    assert_eq!(ask(&server, "git.firm", A).await, found(OFFICE));
    let begin = Instant::now();
    assert_eq!(ask(&server, "www.firm", A).await, found(OFFICE));

    assert!(begin.elapsed() < Duration::from_millis(250), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_silent() {
    let (quiet, _) = upstream(silence).await;
    let (office, _) = upstream(knows(&["www.example.com"], OFFICE)).await;
    let (server, _) = server(settings(vec![quiet, office]), Fake::names(silence));

    assert_eq!(ask(&server, "www.example.com", A).await, found(OFFICE));
}

#[tokio::test]
async fn we_never_ask_ourselves() {
    let (own, asked) = upstream(knows(&["www.example.com"], OFFICE)).await;
    let (server, _) = server(Settings { own: vec![own], ..settings(vec![own]) }, Fake::names(silence));

    assert_eq!(ask(&server, "www.example.com", A).await.0, 2);
    assert!(asked.lock().expect("asked").is_empty());
}

#[tokio::test]
async fn what_was_answered_is_remembered_for_every_spelling() {
    let times = Arc::new(AtomicUsize::new(0));
    let counted = times.clone();
    let names = move |query: &[u8]| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(sample::answer(query, 0, &[CLUSTER], 30))
    };
    let (server, _) = server(settings(vec![]), Fake::names(names));

    assert_eq!(ask(&server, "tomcat", A).await, found(CLUSTER));
    assert_eq!(ask(&server, "TomCat", A).await, found(CLUSTER));
    assert_eq!(times.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_large_answer_is_whole_over_tcp_and_cut_over_udp() {
    let large = |query: &[u8]| Some(sample::answer(query, 0, &[OFFICE; 60], 30));
    let (office, _) = upstream(large).await;
    let (server, _) = server(settings(vec![office]), Fake::names(silence));
    let query = sample::query("www.example.com", A, None);

    let cut = server.answer(&query, false).await.expect("answer");
    let whole = server.answer(&query, true).await.expect("answer");
    let again = server.answer(&query, false).await.expect("answer");

    assert!(message::is_cut(&cut) && cut.len() <= 512);
    assert_eq!(addresses(&whole).len(), 60);
    assert!(message::is_cut(&again) && again.len() <= 512, "also from the cache");
}

#[tokio::test]
async fn a_server_can_be_asked_over_tcp_only() {
    let (office, by_udp) = upstream(knows(&["www.example.com"], OFFICE)).await;
    let element = Element::Server { address: Some(office.ip()), port: Some(office.port()), tcp: true };
    let (server, _) = server(Settings { order: vec![element], ..settings(vec![]) }, Fake::names(silence));

    assert_eq!(ask(&server, "www.example.com", A).await, found(OFFICE));
    assert!(by_udp.lock().expect("asked").is_empty());
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_taken() {
    let (liar, _) =
        upstream(|_| Some(sample::answer(&sample::query("other", A, None), 0, &[OFFICE], 30))).await;
    let (server, _) = server(settings(vec![liar]), Fake::names(silence));

    assert_eq!(ask(&server, "www.example.com", A).await.0, 2);
}

#[tokio::test]
async fn a_connection_is_served_until_nonsense_comes() {
    let (server, _) = server(settings(vec![]), Fake::names(knows(&["tomcat"], CLUSTER)));
    let (mut connection, served) = tokio::io::duplex(4096);
    tokio::spawn(async move { super::super::serve_connection(served, &server).await });
    let query = sample::query("tomcat", A, None);

    for _ in 0..2 {
        write_message(&mut connection, &query).await.expect("query");
        let answer = read_message(&mut connection).await.expect("answer");
        assert_eq!(addresses(&answer), [IpAddr::from(CLUSTER)]);
    }
    write_message(&mut connection, b"nonsense").await.expect("query");
    assert_eq!(connection.read(&mut [0; 1]).await.expect("end"), 0);
}
