//! Credentials that are no longer accepted are read anew: a token lives for an hour or so, a run for a
//! day.
//!
//! kube renews by itself what says when it expires (exec plug-ins) or lies in a file of its own. This is
//! for the rest: a token, a password or a certificate that the kubeconfig holds, and that a log-in
//! writes there; a plug-in that did not say when.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode, Uri};
use kube::client::Body;
use kube::{Client, Config, Error};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{BoxError, Service};
use tracing::{debug, info, warn};

use super::client::{Noted, with_credentials};
use super::{Access, kubeconfig};
use crate::Settings;

/// Between two looks at the kubeconfig.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where a plug-in is run, which may open a window each time.
const PAUSE_OF_PLUGIN: Duration = Duration::from_secs(60);

/// A client around the one that has the present credentials. Clones share it.
#[derive(Clone)]
pub(super) struct Renewing {
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    server: Uri,
    noted: Noted,
    settings: Settings,
    /// The client, and how many there were before.
    present: RwLock<(Client, u64)>,
    pause: Duration,
    /// When the kubeconfig was read last. Held while it is read.
    read: Mutex<Instant>,
    /// Were credentials ever accepted?
    greeted: AtomicBool,
    /// Was the user told that they are not any more?
    told: AtomicBool,
}

impl Renewing {
    /// A client that begins with `present`, which was made of `config`. `access` leads to the same context
    /// of the same cluster.
    pub(super) fn new(
        present: Client,
        config: &Config,
        access: Access,
        noted: Noted,
        settings: &Settings,
    ) -> Renewing {
        let shared = Shared {
            access,
            server: config.cluster_url.clone(),
            noted,
            settings: settings.clone(),
            pause: if config.auth_info.exec.is_some() { PAUSE_OF_PLUGIN } else { PAUSE },
            present: RwLock::new((present, 0)),
            read: Mutex::new(Instant::now()),
            greeted: AtomicBool::new(false),
            told: AtomicBool::new(false),
        };
        Renewing { shared: Arc::new(shared) }
    }

    fn present(&self) -> (Client, u64) {
        self.shared.present.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, and once more where new credentials may help. A body that can not be sent twice is
    /// sent once.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        let again = copied(&request);
        let (client, number) = self.present();
        let mut answer = client.send(request).await?;
        if let Some(again) = again
            && is_refused(&answer)
            && self.renew(number).await
        {
            answer = self.present().0.send(again).await?;
        }
        self.tell(!is_refused(&answer));
        Ok(answer)
    }

    /// Tells whether there is a newer client than that of this number.
    async fn renew(&self, number: u64) -> bool {
        let mut read = self.shared.read.lock().await;
        if self.present().1 > number {
            return true;
        }
        if read.elapsed() < self.shared.pause {
            return false;
        }
        *read = Instant::now();
        match self.read().await {
            Ok(client) => {
                let mut present = self.shared.present.write().unwrap_or_else(PoisonError::into_inner);
                *present = (client, number + 1);
                true
            }
            Err(error) => {
                debug!(error, "the credentials can not be read anew");
                false
            }
        }
    }

    /// A client with the credentials that the kubeconfig has now.
    async fn read(&self) -> Result<Client, String> {
        let access = &self.shared.access;
        let text = |error: super::Error| crate::api::causes(&error);
        let chosen = kubeconfig::choose(access).map_err(text)?;
        let config = kubeconfig::config(access, &chosen).await.map_err(text)?;
        if config.cluster_url != self.shared.server {
            return Err(format!("its context leads to another cluster now, {}", config.cluster_url));
        }
        let (noted, settings) = (self.shared.noted.clone(), self.shared.settings.clone());
        // A plug-in may take its time.
        let made = tokio::task::spawn_blocking(move || with_credentials(&config, &noted, &settings));
        made.await.map_err(|error| error.to_string())?.map_err(|error| crate::api::causes(&error))
    }

    /// Tells the user when credentials are lost that were accepted before, and when they are found again.
    fn tell(&self, accepted: bool) {
        let Shared { greeted, told, .. } = &*self.shared;
        if accepted {
            greeted.store(true, Ordering::Relaxed);
            if told.swap(false, Ordering::Relaxed) {
                info!("the API server accepts the credentials again");
            }
        } else if greeted.load(Ordering::Relaxed) && !told.swap(true, Ordering::Relaxed) {
            warn!(
                "the API server does not accept the credentials any more: log in again, they are read anew"
            );
        }
    }
}

impl Service<Request<Body>> for Renewing {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.send(request).await.map_err(BoxError::from) })
    }
}

fn is_refused(answer: &Response<Body>) -> bool {
    answer.status() == StatusCode::UNAUTHORIZED
}

fn copied(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
