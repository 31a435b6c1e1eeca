//! Why a pod is not exchanged.

use crate::api::ApiError;
use crate::shadow::Failure;

/// Why a pod is not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster is too old.
    #[error("mode ephemeral needs Kubernetes 1.23 or newer, this is {0}")]
    TooOld(String),
    /// There is no such pod.
    #[error("pod '{name}' does not exist in namespace {namespace}")]
    NoPod {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The pod is there, but does not run.
    #[error("pod '{0}' does not run")]
    NotRunning(String),
    /// It has no network of its own.
    #[error("pod '{0}' uses the network of its node, its callers can not be told from those of others")]
    NodeNetwork(String),
    /// A proxy in the pod takes its callers before us.
    #[error("the sidecar {sidecar} of pod '{pod}' takes its callers, they can not be led away before it")]
    Sidecar {
        /// The pod.
        pod: String,
        /// The container.
        sidecar: String,
    },
    /// Somebody else is there already.
    #[error("{what} is already exchanging by another user ({by}), cannot apply {deed}")]
    Taken {
        /// The pod, or whatever has it, in words.
        what: String,
        /// Who.
        user: String,
        /// Who, where and since when, in words.
        by: String,
        /// What was to be done.
        deed: &'static str,
    },
    /// The namespace allows no such container.
    #[error("a container with the right NET_ADMIN is not allowed in pod '{pod}': {message}")]
    Denied {
        /// The pod.
        pod: String,
        /// In the cluster's words.
        message: String,
    },
    /// The API server refused the container.
    #[error("adding a container to pod '{pod}'")]
    Adding {
        /// The pod.
        pod: String,
        /// Why not.
        source: ApiError,
    },
    /// Kubernetes reported a reason why the container does not run.
    #[error("container {container} of pod '{pod}' failed to start: {failure}")]
    Failed {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The reason.
        failure: Failure,
    },
    /// It took too long.
    #[error("container {container} of pod '{pod}' failed to start within {seconds} s: {last}")]
    NotInTime {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// The limit.
        seconds: u64,
        /// What was being waited for.
        last: String,
    },
    /// The API server did not tell.
    #[error("reading {what}")]
    Reading {
        /// What was asked for.
        what: String,
        /// Why not.
        source: ApiError,
    },
}

/// A refusal of the container.
pub(super) fn refused(pod: &str, source: ApiError) -> Error {
    let pod = pod.to_owned();
    match source {
        ApiError::Refused(message) if message.contains("PodSecurity") || message.contains("NET_ADMIN") => {
            Error::Denied { pod, message: violations(&message).to_owned() }
        }
        source => Error::Adding { pod, source },
    }
}

pub(super) fn reading(pod: &str) -> impl FnOnce(ApiError) -> Error {
    let what = format!("pod {pod}");
    move |source| Error::Reading { what, source }
}

/// What of a refusal says why: behind the name of the policy.
fn violations(message: &str) -> &str {
    message.split_once("is forbidden: ").map_or(message, |(_, why)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_without_its_long_beginning() {
        let message = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsUser=0";

        assert_eq!(violations(message), "violates PodSecurity \"restricted:latest\": runAsUser=0");
    }
}
