//! What is not HTTP goes to the original as it is.

use kt_wire::Refused;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::caller::{Caller, Replayed};
use super::sniff::Speech;
use super::{http, http2};
use crate::sockets::{relay_or_reset, reset};

/// Relays between a caller and the original.
pub(super) async fn serve(caller: Caller, socket: Replayed) {
    match dial_original(&caller).await {
        Ok(original) => relay(original, socket).await,
        Err(_) => reset(socket.socket),
    }
}

/// Serves a caller who waits: for the original to speak first, or for nothing (a connection that
/// is made in advance).
pub(super) async fn serve_silent(caller: Caller, mut socket: Replayed) {
    let original = dial_original(&caller).await;
    let mut ending = caller.router.ending.subscribe();
    let heard = tokio::select! {
        biased;
        heard = socket.listen() => heard.unwrap_or(Speech::Raw),
        () = spoken(&original) => Speech::Raw,
        _ = ending.wait_for(|ending| *ending), if original.is_err() => Speech::Raw,
    };
    match (heard, original) {
        (Speech::Http1, _) => http::serve(caller, socket).await,
        (Speech::Http2, _) => http2::serve(caller, socket).await,
        (_, Ok(original)) => relay(original, socket).await,
        (_, Err(_)) => reset(socket.socket),
    }
}

/// Returns when the original has sent something, or has ended the connection.
async fn spoken(original: &Result<TcpStream, Refused>) {
    match original {
        Ok(original) => drop(original.peek(&mut [0]).await),
        Err(_) => std::future::pending().await,
    }
}

async fn dial_original(caller: &Caller) -> Result<TcpStream, Refused> {
    let none = || Refused::from(kt_wire::Reason::Refused);
    let original = caller.router.table().original(caller.listen).ok_or_else(none)?;
    original.dial().await
}

async fn relay(mut original: TcpStream, socket: Replayed) {
    let (first, socket) = socket.into_parts();
    match original.write_all(&first).await {
        Ok(()) => relay_or_reset(original, socket).await,
        Err(_) => reset(socket),
    }
}
