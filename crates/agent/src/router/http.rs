//! A caller who speaks HTTP/1: each request is routed by itself.
//!
//! What every request costs is kept small: heads are read in place and written once, bodies go on
//! as they come, both ends are driven by one task, and who waits holds no buffer.

mod answered;
mod asked;
mod chunks;
mod exchange;
mod fields;
mod flow;
mod line;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::Response;
use kt_wire::relay;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::caller::{Caller, Replayed};
use super::failure::{self, Told};
use crate::sockets::reset;
use asked::{Asked, Wrong};
use exchange::{After, pass};
pub(super) use line::{Buffers, Line};

/// Memory for heads that a waiting connection keeps.
const HEADS_KEPT: usize = 2048;
/// How long a caller who is still sending may go on, to get the answer that it has.
const LINGER: Duration = Duration::from_secs(2);

/// What comes next on a connection.
enum Next {
    Request(Asked),
    /// Something that is not passed on.
    Wrong(Wrong),
    /// Nothing, as the router is to end.
    Ending,
    /// Nothing, as the caller has ended.
    End,
}

/// Serves a caller until its end.
pub(super) async fn serve(caller: Caller, socket: Replayed) {
    let mut ending = caller.router.ending.subscribe();
    let mut ending = pin!(async move { drop(ending.wait_for(|ending| *ending).await) });
    let peer = caller.peer.ip().to_string();
    let mut line = Line::replayed(socket, caller.router.buffers.clone());
    let mut heads = [Vec::new(), Vec::new()];
    loop {
        let asked = match next(&caller, &peer, &mut line, &mut heads[0], ending.as_mut()).await {
            Next::Request(asked) => asked,
            Next::Wrong(wrong) => return refuse(line, wrong.into()).await,
            Next::Ending => return linger(line.into_socket()).await,
            Next::End => return,
        };
        match pass(&caller.router, &mut line, &asked, &mut heads).await {
            After::Next => heads.iter_mut().for_each(forget),
            After::Close => return,
            After::Linger => return linger(line.into_socket()).await,
            After::Reset => return reset(line.into_socket()),
            After::Wrong(wrong) => return refuse(line, wrong.into()).await,
            After::Unanswered(status, why) => {
                return refuse(line, failure::failure(status, &why, asked.grpc)).await;
            }
            // It has no end that a router which is to end could wait for.
            After::Switched(upstream) => {
                spawn_local(relay(line.into_replayed(), upstream.into_replayed()));
                return;
            }
        }
    }
}

/// Waits for a request, and writes the head for the upstream.
async fn next<E: Future<Output = ()>>(
    caller: &Caller,
    peer: &str,
    line: &mut Line,
    head: &mut Vec<u8>,
    mut ending: Pin<&mut E>,
) -> Next {
    poll_fn(|context| {
        loop {
            if !line.ahead().is_empty() {
                match asked::read(line.ahead(), caller, peer, head) {
                    Ok(Some((asked, length))) => {
                        line.use_up(length);
                        return Poll::Ready(Next::Request(asked));
                    }
                    Ok(None) if line.is_full() => return Poll::Ready(Next::Wrong(asked::too_large())),
                    Ok(None) => {}
                    Err(wrong) => return Poll::Ready(Next::Wrong(wrong)),
                }
            }
            match line.poll_read(context) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Next::End),
                Poll::Pending if line.ahead().is_empty() => {
                    return ending.as_mut().poll(context).map(|()| Next::Ending);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Gives memory back that few requests need.
fn forget(head: &mut Vec<u8>) {
    head.clear();
    if head.capacity() > HEADS_KEPT {
        *head = Vec::new();
    }
}

/// Answers instead of the upstream, and ends the connection.
async fn refuse(line: Line, answer: Response<Told>) {
    let mut socket = line.into_socket();
    if socket.write_all(&failure::written(answer)).await.is_ok() {
        linger(socket).await;
    }
}

/// Reads what still comes for a while: closed at once, the caller may lose what it was answered.
async fn linger(mut socket: TcpStream) {
    let read = async {
        socket.shutdown().await?;
        let mut rest = vec![0; 4096];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(LINGER, read).await; // whoever goes on is cut
}
