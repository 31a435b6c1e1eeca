//! The cluster's end: opens and continues the links of laptops.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::timeout;

use super::{Carrier, IncomingQueue, Link};
use crate::VERSIONS;
use crate::hello::{self, Hello, HelloError, Id, Intent, Key, Status};
use crate::mux::{Settings, Side};

/// The links of a shadow.
#[derive(Debug)]
pub struct Links {
    name: String,
    settings: Settings,
    known: Mutex<HashMap<Id, Link>>,
}

/// What a carrier was for.
#[derive(Debug)]
pub enum Accepted {
    /// A new link; its incoming streams are the caller's to serve.
    New(Link, IncomingQueue),
    /// A link goes on.
    Resumed(Link),
}

impl Links {
    /// None yet. `name` (at most 255 bytes) tells laptops what we are.
    pub fn new(name: &str, settings: Settings) -> Arc<Links> {
        Arc::new(Links { name: name.into(), settings, known: Mutex::new(HashMap::new()) })
    }

    /// Takes a carrier into use, and tells for which link. What it returns besides is the carrier's
    /// life: it must be polled for anything to happen, and ends when the carrier is lost.
    pub async fn accept<C: Carrier>(
        &self,
        mut carrier: C,
    ) -> Result<(Accepted, impl Future<Output = std::io::Error> + Send + use<C>), HelloError> {
        let within = self.settings.hello_within;
        let taken = timeout(within, self.take(&mut carrier));
        let (accepted, peer_received) =
            taken.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        let link = match &accepted {
            Accepted::New(link, _) | Accepted::Resumed(link) => link.clone(),
        };
        Ok((accepted, async move { link.shared.carry(carrier, peer_received).await }))
    }

    /// Forgets a link; a laptop that comes back is told so.
    pub fn forget(&self, link: &Link) {
        self.lock().remove(&link.shared.id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Link>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self, carrier: &mut impl Carrier) -> Result<(Accepted, u64), HelloError> {
        let hello = hello::read_hello(carrier).await?;
        if hello.versions.0 > VERSIONS.1 || hello.versions.1 < VERSIONS.0 {
            let text = format!("{} speaks {} to {}", self.name, VERSIONS.0, VERSIONS.1);
            hello::decline(carrier, Status::Version, &text).await?;
            return Err(HelloError::Version(text));
        }
        match hello.intent {
            Intent::Open(key) => Ok((self.open(carrier, &hello, key).await?, 0)),
            Intent::Resume => self.resume(carrier, &hello).await,
        }
    }

    async fn open(
        &self,
        carrier: &mut impl Carrier,
        hello: &Hello,
        key: Key,
    ) -> Result<Accepted, HelloError> {
        let (link, incoming) = Link::new(Side::Cluster, hello.id, key, self.settings.clone());
        let taken = {
            let mut known = self.lock();
            let taken = known.contains_key(&hello.id);
            if !taken {
                known.insert(hello.id, link.clone());
            }
            taken
        };
        if taken {
            let text = "the link exists already";
            hello::decline(carrier, Status::Declined, text).await?;
            return Err(HelloError::Declined(text.into()));
        }
        if let Err(error) = hello::welcome(carrier, hello, &key, &self.name).await {
            self.forget(&link);
            return Err(error);
        }
        Ok(Accepted::New(link, incoming))
    }

    async fn resume(&self, carrier: &mut impl Carrier, hello: &Hello) -> Result<(Accepted, u64), HelloError> {
        let known = self.lock().get(&hello.id).cloned();
        let Some(link) = known else {
            hello::decline(carrier, Status::Unknown, "").await?;
            return Err(HelloError::Unknown);
        };
        let nonce = hello::welcome(carrier, hello, &link.shared.key, &self.name).await?;
        let peer_received = hello::read_proof(carrier, hello, &link.shared.key, &nonce).await?;
        // From here on nothing may arrive over the old carrier any more, or we would receive twice.
        let without_carrier = link.shared.abandon_carrier();
        let received = link.shared.lock().mux.received();
        hello::resumed(carrier, received).await?;
        without_carrier.disarm();
        Ok((Accepted::Resumed(link), peer_received))
    }
}
