//! The one way in which bytes go between a stream and a socket.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::frame::CHUNK;

/// Bytes read at once: what one wake-up may carry before others get their turn. Whole frames, so that no read leaves a small one over.
const BUFFER: usize = 4 * CHUNK;

/// How a relay ended.
#[derive(Debug)]
pub struct Ended {
    /// Bytes carried from the first to the second, and back.
    pub carried: (u64, u64),
    /// The first error, of whichever direction.
    pub error: Option<io::Error>,
}

/// What a relay has carried so far, for whoever looks while it goes on.
#[derive(Debug, Default)]
pub struct Moved {
    bytes: AtomicU64,
    forth: AtomicBool,
    writing: AtomicUsize,
}

impl Moved {
    /// Bytes of both directions together.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Did the first end say the last word, so that the second may still answer? Or is one of them
    /// slow to take what the other one said?
    pub fn is_under_way(&self) -> bool {
        self.forth.load(Relaxed) || self.writing.load(Relaxed) > 0
    }

    /// From here on it is under way: before anybody can answer.
    fn read(&self, direction: Direction) {
        self.forth.store(matches!(direction, Direction::Forth), Relaxed);
        self.writing.fetch_add(1, Relaxed);
    }

    fn written(&self, length: usize) {
        self.bytes.fetch_add(length as u64, Relaxed);
        self.writing.fetch_sub(1, Relaxed);
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Forth,
    Back,
}

/// Carries bytes both ways until both directions have ended. A half-close is handed on as one; an
/// error in one direction ends both.
///
/// Cancel safety: none. What was read and not yet written is lost, so drop it only when both sides
/// are to be dropped.
pub async fn relay<A, B>(a: A, b: B) -> Ended
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    relay_counted(a, b, &Moved::default()).await
}

/// A [`relay()`] whose bytes are counted while they go.
///
/// Cancel safety: nothing is lost when it is dropped while the count has not moved for longer than
/// a write takes.
pub async fn relay_counted<A, B>(a: A, b: B, moved: &Moved) -> Ended
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let ((a_read, a_write), (b_read, b_write)) = (tokio::io::split(a), tokio::io::split(b));
    let mut carried = (0, 0);
    let forth = carry(a_read, b_write, &mut carried.0, moved, Direction::Forth);
    let back = carry(b_read, a_write, &mut carried.1, moved, Direction::Back);
    let error = tokio::try_join!(forth, back).err();
    Ended { carried, error }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    carried: &mut u64,
    moved: &Moved,
    direction: Direction,
) -> io::Result<()> {
    // Grows to its full size only for those who fill it: most flows are short.
    let mut buffer = vec![0; CHUNK / 2];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        moved.read(direction);
        to.write_all(&buffer[..length]).await?;
        moved.written(length);
        *carried += length as u64;
        if length == buffer.len() && length < BUFFER {
            buffer.resize(BUFFER, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_under_way_until_its_answer_was_taken() {
        let (mut client, a) = tokio::io::duplex(4);
        let (b, mut server) = tokio::io::duplex(64);
        let moved = std::sync::Arc::new(Moved::default());
        let counted = moved.clone();
        tokio::spawn(async move { relay_counted(a, b, &counted).await });
        assert!(!moved.is_under_way());

        client.write_all(b"question").await.expect("write");
        server.read_exact(&mut [0; 8]).await.expect("question");
        assert!(moved.is_under_way(), "nobody has answered");
        server.write_all(b"answer").await.expect("answer");
        client.read_exact(&mut [0; 1]).await.expect("a part of the answer");
        assert!(moved.is_under_way(), "the answer does not fit in what the client takes");
        client.read_exact(&mut [0; 5]).await.expect("the rest of it");
        tokio::task::yield_now().await;

        assert!(!moved.is_under_way());
        assert_eq!(moved.bytes(), 14);
    }

    #[tokio::test]
    async fn a_half_close_lets_the_other_direction_go_on() {
        let (mut client, a) = tokio::io::duplex(64);
        let (b, mut server) = tokio::io::duplex(64);
        let relayed = tokio::spawn(relay(a, b));

        client.write_all(b"question").await.expect("write");
        client.shutdown().await.expect("shutdown");
        let mut question = String::new();
        server.read_to_string(&mut question).await.expect("question");
        server.write_all(b"answer").await.expect("answer");
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("answer");

        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
        let ended = relayed.await.expect("relay");
        assert_eq!(ended.carried, (8, 6));
        assert!(ended.error.is_none());
    }
}
