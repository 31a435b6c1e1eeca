//! Name look-ups of the API server and of a proxy before it, remembered.
//!
//! What was ever found is what must never be routed into the tunnel. It also answers when the
//! laptop's name server is gone for a while, e.g. after sleep.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// The addresses seen so far, by name. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    found: Arc<Mutex<BTreeMap<String, BTreeSet<IpAddr>>>>,
}

impl Addresses {
    /// Every address seen.
    pub(crate) fn all(&self) -> BTreeSet<IpAddr> {
        self.lock().values().flatten().copied().collect()
    }

    /// Notes an address of `name`.
    pub(crate) fn note(&self, name: &str, address: IpAddr) {
        self.lock().entry(name.to_owned()).or_default().insert(address);
    }

    /// Looks `host` up, which may be an address (also in brackets), and notes what is found.
    pub(crate) async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            self.note(host, address);
            return Ok(vec![address]);
        }
        match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => Ok(found.map(|socket| socket.ip()).inspect(|ip| self.note(host, *ip)).collect()),
            Err(error) => self.remembered(host).ok_or(error),
        }
    }

    fn remembered(&self, host: &str) -> Option<Vec<IpAddr>> {
        self.lock().get(host).map(|found| found.iter().copied().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<IpAddr>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Name> for Addresses {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let addresses = self.clone();
        Box::pin(async move {
            let found = addresses.look_up(name.as_str()).await?;
            let sockets: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(sockets.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let addresses = Addresses::default();

        let found = addresses.look_up("[fd00::1]").await.unwrap();

        assert_eq!(found, ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses.all().len(), 1);
    }

    #[tokio::test]
    async fn what_was_found_once_answers_when_nobody_else_does() {
        let addresses = Addresses::default();
        addresses.note("api.invalid", IpAddr::from([192, 0, 2, 1]));

        let found = addresses.look_up("api.invalid").await.unwrap();

        assert_eq!(found, [IpAddr::from([192, 0, 2, 1])]);
    }
}
