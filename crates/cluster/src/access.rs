//! Which cluster, as whom: the kubeconfig's rules and the HTTP client made of them.
//!
//! Neighbours: `kubeconfig` chooses, `client` builds kube's client on our own connector, `renew` around
//! it reads credentials anew, `socket` is the connection below, `resolver` and `clock` note what passes by.

mod client;
mod clock;
mod kubeconfig;
mod renew;
mod resolver;
mod socket;

use std::path::PathBuf;

use http::Uri;

pub(crate) use client::Made;
pub(crate) use clock::Clock;
pub(crate) use resolver::Addresses;

use crate::api::ApiError;

/// What the user said about which cluster to use; everything may be left out.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// A kubeconfig file; it goes before everything else.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig instead of the current one.
    pub context: Option<String>,
    /// A namespace instead of the context's.
    pub namespace: Option<String>,
    /// The text of a kubeconfig that was built into the program.
    pub embedded: Option<String>,
}

/// Why there is no access to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig can not be used.
    #[error("reading the kubeconfig{}: {cause}", .path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file that the user named.
        path: Option<PathBuf>,
        /// What is wrong with it.
        cause: String,
    },
    /// The user named a context that is not there.
    #[error("context '{0}' not exist, check your kubeconfig file please")]
    NoSuchContext(String),
    /// No context was named, and none is current.
    #[error("no context is chosen in the kubeconfig (choose one with --context)")]
    NoContext,
    /// Keys, certificates or the proxy of the kubeconfig can not be used.
    #[error("preparing the connection to {server}: {cause}")]
    Client {
        /// URL of the API server, and the proxy before it.
        server: String,
        /// What is wrong.
        cause: String,
    },
    /// The API server did not greet us.
    #[error("connecting to the API server {server}")]
    Server {
        /// URL of the API server, and the proxy before it.
        server: String,
        /// What it said, or that it did not.
        source: ApiError,
    },
}

impl Access {
    /// Builds the client that the user's words lead to; nothing is sent yet.
    pub(crate) async fn open(&self, settings: &crate::Settings) -> Result<Made, Error> {
        let chosen = kubeconfig::choose(self)?;
        let config = kubeconfig::config(self, &chosen).await?;
        let server = way(&config.cluster_url, config.proxy_url.as_ref());
        let made = client::make(self, &config, chosen, settings);
        made.map_err(|error| match log_in_failure(&config, &error) {
            Some(source) => Error::Server { server, source },
            None => Error::Client { server, cause: crate::api::causes(&error) },
        })
    }
}

/// The URL of the API server, and of the proxy before it without its password.
pub(crate) fn way(server: &Uri, proxy: Option<&Uri>) -> String {
    let Some(proxy) = proxy else { return server.to_string() };
    let host = proxy.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{server} through the proxy {}://{host}", proxy.scheme_str().unwrap_or("http"))
}

/// What is wrong with the kubeconfig's way to credentials, with the name of its program if it has one.
fn log_in_failure(config: &kube::Config, error: &kube::Error) -> Option<ApiError> {
    let kube::Error::Auth(source) = error else { return None };
    let cause = crate::api::causes(source);
    let program = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
    Some(ApiError::Credentials(match program {
        Some(program) => format!("log-in program {program}: {cause}"),
        None => cause,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let (server, proxy) =
            (Uri::from_static("https://api:6443/"), Uri::from_static("http://me:secret@proxy:3128/"));

        assert_eq!(way(&server, Some(&proxy)), "https://api:6443/ through the proxy http://proxy:3128");
        assert_eq!(way(&server, None), "https://api:6443/");
    }
}
