use bytes::Bytes;
use proptest::prelude::*;

use super::super::chunks::{Chunks, Nonsense, Piece};

/// What a reader says of a body that comes in pieces: the content, and what is behind the end.
#[derive(Debug, PartialEq)]
struct Read {
    content: Vec<u8>,
    rest: Vec<u8>,
    ended: bool,
}

fn read(pieces: &[&[u8]]) -> Result<Read, Nonsense> {
    let mut chunks = Chunks::new();
    let mut read = Read { content: Vec::new(), rest: Vec::new(), ended: false };
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() {
            let count = match chunks.next(piece)? {
                Piece::Frame(count) => count,
                Piece::Data(count) => {
                    read.content.extend_from_slice(&piece[..count]);
                    count
                }
                Piece::Ended => {
                    read.rest.extend_from_slice(piece);
                    piece.len()
                }
            };
            assert!(count > 0, "it goes on");
            piece = &piece[count..];
        }
    }
    read.ended = chunks.has_ended();
    Ok(read)
}

#[test]
fn chunks_with_extensions_and_trailers_are_read() {
    let body = b"5;a=\"b\"\r\nhello\r\n0006 \r\n world\r\n0\r\nSum: 7\r\nx:\r\n\r\nGET /";

    let read = read(&[body]).expect("chunks");

    assert_eq!((read.content, read.rest, read.ended), (b"hello world".to_vec(), b"GET /".to_vec(), true));
}

#[test]
fn what_could_be_understood_in_two_ways_is_refused() {
    for body in [
        &b"\r\n"[..],
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"g\r\n",
        b" 1\r\n",
        b"1\n",
        b"1\rx",
        b"1;a\nb\r\n",
        b"1;a\0\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r1",
        b"1000000000000000\r\n",
        b"0000000000000001\r\n",
        b"0\r\n folded: 1\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\n: 1\r\n",
        b"0\r\na : 1\r\n",
        b"0\r\na: 1\n",
        b"0\r\nContent-Length: 1\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\nHost: other\r\n",
        b"0\r\n\n",
    ] {
        assert_eq!(read(&[body]), Err(Nonsense), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn extensions_and_trailers_have_a_limit() {
    for begin in ["1;", "0\r\na:", "0\r\n"] {
        let body = format!("{begin}{}", "x".repeat(17 << 10));
        assert_eq!(read(&[body.as_bytes()]), Err(Nonsense), "{begin}");
    }
}

/// Cuts a text at these places.
pub(super) fn cut<'a>(text: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

fn chunked(parts: &[Vec<u8>], trailer: &str) -> Bytes {
    let mut body = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        body.extend(format!("{:X}\r\n", part.len()).bytes());
        body.extend(part);
        body.extend(b"\r\n");
    }
    body.extend(format!("0\r\n{trailer}\r\n").bytes());
    body.into()
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_content(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        trailer in prop::sample::select(vec!["", "a: 1\r\n", "a: 1\r\nb:\r\n"]),
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut body = chunked(&parts, trailer).to_vec();
        body.extend(b"next");

        let read = read(&cut(&body, &places)).expect("chunks");

        prop_assert_eq!(read, Read { content: parts.concat(), rest: b"next".to_vec(), ended: true });
    }

    /// Bytes near those of real chunks, which are more often almost right than any bytes are.
    #[test]
    fn any_cut_of_anything_is_judged_the_same(
        body in prop::collection::vec(prop::sample::select(b"0012aF;:\r\n\r\n\r\n x\t\0".to_vec()), 0..60),
        places in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        prop_assert_eq!(read(&cut(&body, &places)), read(&[&body]));
    }
}
