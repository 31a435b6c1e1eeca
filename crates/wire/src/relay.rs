//! The one way in which bytes go between a stream and a socket.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

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
    relay_counted(a, b, &AtomicU64::new(0)).await
}

/// A [`relay()`] whose bytes, of both directions together, are counted while they go.
///
/// Cancel safety: nothing is lost when it is dropped while the count has not moved for longer than
/// a write takes.
pub async fn relay_counted<A, B>(a: A, b: B, moved: &AtomicU64) -> Ended
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let ((a_read, a_write), (b_read, b_write)) = (tokio::io::split(a), tokio::io::split(b));
    let mut carried = (0, 0);
    let forth = carry(a_read, b_write, &mut carried.0, moved);
    let back = carry(b_read, a_write, &mut carried.1, moved);
    let error = tokio::try_join!(forth, back).err();
    Ended { carried, error }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    carried: &mut u64,
    moved: &AtomicU64,
) -> io::Result<()> {
    // Grows to its full size only for those who fill it: most flows are short.
    let mut buffer = vec![0; CHUNK / 2];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        *carried += length as u64;
        moved.fetch_add(length as u64, Ordering::Relaxed);
        if length == buffer.len() && length < BUFFER {
            buffer.resize(BUFFER, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
