//! The laptop's end: opens the link and finds a new carrier whenever one is lost.

use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Carrier, IncomingQueue, Link, LinkState, Shared};
use crate::hello::{self, HelloError};
use crate::message::{Reason, Refused};
use crate::mux::{Settings, Side};

/// Finds carriers.
pub trait Dialer: Send + Sync + 'static {
    /// A new carrier to the same shadow. [`io::ErrorKind::NotFound`] says that the shadow is gone
    /// for good; any other error is tried again.
    fn dial(&self) -> impl Future<Output = io::Result<Box<dyn Carrier>>> + Send;
}

/// Why a link has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The shadow is gone, or has lost its memory: a new link is needed, maybe a new shadow.
    #[error("the shadow is gone: {0}")]
    ShadowGone(String),
    /// One of the ends wanted it.
    #[error("{0}")]
    Ended(Refused),
}

/// Keeps a link alive; see [`serve`](Keeper::serve).
#[derive(Debug)]
pub struct Keeper<D> {
    link: Link,
    dialer: D,
    first: Option<Box<dyn Carrier>>,
}

impl std::fmt::Debug for dyn Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Carrier")
    }
}

impl Link {
    /// Opens a link. `name` (at most 255 bytes) tells the shadow who we are. Errors are final: the
    /// caller decides whether to try again. Nothing happens on the link before the keeper serves.
    pub async fn connect<D: Dialer>(
        dialer: D,
        name: &str,
        settings: Settings,
    ) -> Result<(Link, IncomingQueue, Keeper<D>), HelloError> {
        let (link, incoming) = Link::new(Side::Laptop, hello::random()?, hello::random()?, settings);
        let shared = &link.shared;
        let mut carrier = dialer.dial().await?;
        let opened = hello::open(&mut carrier, &shared.id, &shared.key, name);
        timeout(shared.settings.hello_within, opened).await.map_err(|_| no_answer())??;
        let keeper = Keeper { link: link.clone(), dialer, first: Some(carrier) };
        Ok((link, incoming, keeper))
    }
}

fn no_answer() -> HelloError {
    HelloError::Silent
}

impl<D: Dialer> Keeper<D> {
    /// Carries the link until it has ended, and tells why. Cancel safety: dropping it leaves the
    /// link without a carrier for ever.
    pub async fn serve(self) -> LinkEnd {
        let Keeper { link, dialer, mut first } = self;
        if let Some(carrier) = first.take() {
            link.shared.carry(carrier, 0).await;
        }
        loop {
            if let LinkState::Ended(why) = &*link.status().borrow() {
                return LinkEnd::Ended(why.clone());
            }
            match redial(&link.shared, &dialer).await {
                Ok((carrier, peer_received)) => link.shared.carry(carrier, peer_received).await,
                Err(end) => {
                    let text = end.to_string();
                    link.end(&Refused { reason: Reason::LinkLost, text });
                    return end;
                }
            };
        }
    }
}

async fn redial(shared: &Shared, dialer: &impl Dialer) -> Result<(Box<dyn Carrier>, u64), LinkEnd> {
    let (mut pause, longest) = shared.settings.redial;
    loop {
        match resume(shared, dialer).await {
            Ok(resumed) => return Ok(resumed),
            Err(HelloError::Carrier(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LinkEnd::ShadowGone(error.to_string()));
            }
            Err(error @ (HelloError::Unknown | HelloError::Proof)) => {
                return Err(LinkEnd::ShadowGone(error.to_string()));
            }
            Err(_) => {}
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(longest);
    }
}

async fn resume(shared: &Shared, dialer: &impl Dialer) -> Result<(Box<dyn Carrier>, u64), HelloError> {
    let attempt = async {
        let mut carrier = dialer.dial().await?;
        let received = shared.lock().mux.received();
        let peer_received = hello::resume(&mut carrier, &shared.id, &shared.key, received).await?;
        Ok((carrier, peer_received))
    };
    timeout(shared.settings.hello_within * 2, attempt).await.map_err(|_| no_answer())?
}

/// Between three and five quarters of a pause, so that many laptops do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let [random] = hello::random::<1>().unwrap_or([128]);
    pause * (192 + u32::from(random) / 2) / 256
}
