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
    #[error("reading the kubeconfig{}", .path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file that the user named.
        path: Option<PathBuf>,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
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
        /// URL of the API server.
        server: String,
        /// What is wrong.
        cause: String,
    },
    /// The API server did not greet us.
    #[error("connecting to the API server {server}")]
    Server {
        /// URL of the API server.
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
        let server = config.cluster_url.to_string();
        let made = client::make(self, &config, chosen, settings);
        made.map_err(|error| match log_in_failure(&config, &error) {
            Some(source) => Error::Server { server, source },
            None => Error::Client { server, cause: crate::api::causes(&error) },
        })
    }
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
