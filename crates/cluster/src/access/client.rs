//! kube's client on our own connector.
//!
//! The layers are kube's own and in kube's order: base URI with its path prefix, retries, auth with
//! token refresh, extra headers; TLS settings, server name and proxy come out of its `Config`. Ours
//! are the socket, limits of time, and a look at each answer for clock and peer address.

use std::time::Duration;

use http::{HeaderValue, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config, Error};
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceBuilder};

use super::kubeconfig::Chosen;
use super::renew::Renewing;
use super::socket::Connector;
use super::{Access, Addresses, Clock};
use crate::Settings;

/// How long the head of any answer may take. Above the 10 s that an admission webhook has by
/// default; a watch answers its head at once.
const ANSWER: Duration = Duration::from_secs(20);

/// A client and what is known of its cluster.
pub(crate) struct Made {
    pub(crate) client: Client,
    pub(crate) chosen: Chosen,
    pub(crate) server: Uri,
    pub(crate) proxy: Option<Uri>,
    pub(crate) clock: Clock,
    pub(crate) addresses: Addresses,
}

/// Builds the client, which reads its credentials anew when they have expired; nothing is sent.
pub(super) fn make(
    access: &Access,
    config: &Config,
    chosen: Chosen,
    settings: &Settings,
) -> Result<Made, Error> {
    let (clock, addresses) = (Clock::default(), Addresses::default());
    let noted = Noted { clock: clock.clone(), addresses: addresses.clone() };
    let (server, proxy) = (config.cluster_url.clone(), config.proxy_url.clone());
    let present = with_credentials(config, &noted, settings)?;
    let again = Access { context: Some(chosen.context.clone()), ..access.clone() };
    let renewing = Renewing::new(present, config, again, noted, settings);
    let client = ClientBuilder::new(renewing, config.default_namespace.clone()).build();
    Ok(Made { client, chosen, server, proxy, clock, addresses })
}

/// A client with the credentials as they are now.
pub(super) fn with_credentials(config: &Config, noted: &Noted, settings: &Settings) -> Result<Client, Error> {
    let (tcp, noted) = (Connector::new(noted.addresses.clone(), settings.connect), noted.clone());
    let Some(proxy) = config.proxy_url.clone() else { return stack(config, tcp, noted, settings) };
    match proxy.scheme_str() {
        Some("http") => stack(config, tunnel(&proxy, tcp), noted, settings),
        Some("https") => {
            let secure = config.rustls_https_connector_with_connector(tcp)?;
            stack(config, tunnel(&proxy, secure), noted, settings)
        }
        _ => Err(Error::ProxyProtocolUnsupported { proxy_url: Box::new(proxy) }),
    }
}

fn stack<C>(config: &Config, tcp: C, noted: Noted, settings: &Settings) -> Result<Client, Error>
where
    C: 'static + Clone + Send + Sync + Service<Uri>,
    C::Response: 'static + Connection + Read + Write + Send + Unpin,
    C::Future: 'static + Send,
    C::Error: 'static + Into<BoxError> + Send + Sync + std::error::Error,
{
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let https = ServiceBuilder::new().map_future(Box::pin).timeout(settings.connect).service(https);
    let http: hyper_util::client::legacy::Client<_, Body> =
        hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_response(move |answer: Response<Incoming>| {
            noted.see(&answer);
            answer
        })
        .timeout(ANSWER)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// What is noted of each answer.
#[derive(Clone)]
pub(super) struct Noted {
    clock: Clock,
    addresses: Addresses,
}

impl Noted {
    fn see(&self, answer: &Response<Incoming>) {
        self.clock.see(answer.headers());
        if let Some(info) = answer.extensions().get::<HttpInfo>() {
            self.addresses.note("", info.remote_addr().ip());
        }
    }
}

/// `CONNECT` through `proxy`, with the user and password of its URL.
fn tunnel<C>(proxy: &Uri, connector: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.clone(), connector);
    match proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@')) {
        Some((user, _)) => match basic_auth(user) {
            Some(header) => tunnel.with_auth(header),
            None => tunnel,
        },
        None => tunnel,
    }
}

/// The header's value for `user:password`, percent-encoded as in a URL.
fn basic_auth(user: &str) -> Option<HeaderValue> {
    let encoded = crate::tunnel::base64(&percent_decoded(user));
    HeaderValue::try_from(format!("Basic {encoded}")).ok()
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_with_escapes_reaches_the_proxy_as_it_is() {
        let header = basic_auth("user:pa%40ss%3Aword").unwrap();

        // base64 of "user:pa@ss:word"
        assert_eq!(header, "Basic dXNlcjpwYUBzczp3b3Jk");
    }

    #[test]
    fn a_lone_percent_sign_stays() {
        assert_eq!(percent_decoded("100%+A"), b"100%+A");
    }
}
