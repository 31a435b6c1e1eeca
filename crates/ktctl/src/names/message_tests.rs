use super::super::sample;
use super::*;

fn query(bytes: &[u8]) -> Query<'_> {
    match read(bytes) {
        Read::Query(query) => query,
        other => panic!("no query: {other:?}"),
    }
}

#[test]
fn a_query_is_read() {
    let bytes = sample::query("TomCat.dev", 1, Some(4096));
    let query = query(&bytes);

    assert_eq!(query.name.as_deref(), Some("tomcat.dev"));
    assert_eq!((query.kind(), query.size()), (1, 4096));
    assert_eq!(self::query(&sample::query("a", 28, None)).size(), 512);
    assert_eq!(self::query(&sample::query("", 2, None)).name.as_deref(), Some(""));
}

#[test]
fn a_label_with_a_dot_is_no_host_name() {
    let mut bytes = sample::query("tom-cat", 1, None);
    bytes[16] = b'.';

    assert_eq!(query(&bytes).name, None);
}

#[test]
fn what_is_no_query_gets_silence_or_an_error() {
    let good = sample::query("tomcat", 1, None);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let code = |bytes: &[u8]| match read(bytes) {
        Read::Answer(answer) => {
            assert_eq!(answer[..2], bytes[..2]);
            Some(rcode(&answer))
        }
        Read::Query(_) | Read::Silence => None,
    };

    assert_eq!(read(&good[..11]), Read::Silence);
    assert_eq!(read(&with(2, 0x80)), Read::Silence, "an answer");
    assert_eq!(code(&with(2, 0x28)), Some(NOT_IMPLEMENTED), "an update");
    assert_eq!(code(&with(5, 2)), Some(FORMAT_ERROR), "two questions");
    assert_eq!(code(&with(5, 0)), Some(FORMAT_ERROR), "none");
    assert_eq!(code(&with(12, 0xc0)), Some(FORMAT_ERROR), "a name that points");
    assert_eq!(code(&good[..15]), Some(FORMAT_ERROR), "cut");
    assert_eq!(code(&sample::query("tomcat", 252, None)), Some(REFUSED), "a transfer");
}

#[test]
fn no_bytes_whatever_cause_a_panic() {
    let good = sample::answer(&sample::query("tomcat.dev", 1, Some(1232)), 0, &[[10, 96, 0, 1]], 30);
    let asked = sample::query("tomcat.dev", 1, None);
    let mut random = 7u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) as u16
    };
    for round in 0..100_000 {
        let mut bytes = good[..usize::from(next()) % (good.len() + 1)].to_vec();
        for _ in 0..round % 8 {
            let place = usize::from(next()) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place) {
                *byte = next() as u8;
            }
        }
        let _ = life(&bytes);
        age(&mut bytes, 3);
        if query(&asked).is_answered_by(&bytes) {
            let _ = query(&asked).fitted(query(&asked).addressed(bytes.clone()));
        }
        if let Some(flags) = bytes.get_mut(2) {
            *flags &= 0x7f;
        }
        if let Read::Query(query) = read(&bytes) {
            let _ = (query.key(), query.failure(2), query.kind());
        }
    }
}

#[test]
fn lives_are_read_and_shortened_but_not_that_of_edns() {
    let asked = sample::query("tomcat.dev", 1, Some(1232));
    let mut answer = sample::answer(&asked, 0, &[[10, 96, 0, 1], [10, 96, 0, 2]], 30);
    let (start, edns) = (answer.len() - 11, answer[answer.len() - 11..].to_vec());

    assert_eq!(life(&answer), Some(30));
    age(&mut answer, 12);
    assert_eq!(life(&answer), Some(18));
    age(&mut answer, 100);
    assert_eq!(life(&answer), Some(0));
    assert_eq!(answer[start..], edns);
}

#[test]
fn an_answer_is_addressed_to_who_asked() {
    let answer = sample::answer(&sample::query("tomcat.dev", 1, None), 0, &[[10, 96, 0, 1]], 30);
    let mut other = sample::query("TOMCAT.dev", 1, None);
    other[..2].copy_from_slice(&[9, 9]);
    let query = query(&other);

    assert!(query.is_answered_by(&answer));
    let addressed = query.addressed(answer);
    assert_eq!(addressed[..2], [9, 9]);
    assert_eq!(addressed[12..28], other[12..28]);
    let another = sample::answer(&sample::query("tomcat.prod", 1, None), 0, &[], 30);
    assert!(!query.is_answered_by(&another));
}

#[test]
fn too_large_an_answer_says_so_instead() {
    let addresses: Vec<[u8; 4]> = (0..60).map(|last| [10, 96, 0, last]).collect();
    let (plain, edns) = (sample::query("tomcat", 1, None), sample::query("tomcat", 1, Some(4096)));
    let answer = sample::answer(&plain, 0, &addresses, 30);

    let cut = query(&plain).fitted(answer.clone());

    assert!(is_cut(&cut) && !has_answers(&cut) && cut.len() <= 512);
    assert!(query(&plain).is_answered_by(&cut));
    assert_eq!(query(&edns).fitted(answer.clone()), answer);
}

#[test]
fn a_failure_keeps_the_question_and_edns() {
    let bytes = sample::query("tomcat", 1, Some(4096));

    let failure = query(&bytes).failure(SERVER_FAILURE);

    let packet = simple_dns::Packet::parse(&failure).expect("packet");
    assert_eq!(packet.rcode(), simple_dns::RCODE::ServerFailure);
    assert_eq!(packet.questions[0].qname.to_string(), "tomcat");
    assert!(packet.opt().is_some());
}
