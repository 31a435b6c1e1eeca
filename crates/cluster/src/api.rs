//! Why the API server did not do what was asked: one classification for the whole crate.

use std::fmt;

use kube::core::Status;
use serde::{Deserialize, Serialize};

/// What an operation of the API ended with.
///
/// Topic errors carry it as their source, so its texts say the cause only.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such object (any more).
    #[error("{0}")]
    NotFound(String),
    /// The user lacks a right.
    #[error("{message}")]
    Forbidden {
        /// What would have to be granted.
        right: Box<Right>,
        /// The API server's words.
        message: String,
    },
    /// The credentials are not, or no longer, accepted.
    #[error("the API server does not accept the credentials: {0}")]
    Unauthorized(String),
    /// An object of this name exists.
    #[error("{0}")]
    Exists(String),
    /// Somebody else changed the object in between.
    #[error("{0}")]
    Conflict(String),
    /// Admission, a quota or validation refused the object.
    #[error("{0}")]
    Refused(String),
    /// No answer at all: no network, no server, no trust.
    #[error("the API server can not be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// The kubeconfig's way to credentials (exec plug-in, OIDC) failed.
    #[error("getting credentials: {0}")]
    Credentials(String),
    /// Anything else, in the words of whoever said it.
    #[error("{0}")]
    Other(String),
}

/// A right in the words of a role. It can be written into a journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    /// What is done, e.g. `list`.
    pub verb: String,
    /// To what, e.g. `pods/portforward`.
    pub resource: String,
    /// Of which API group; empty for the core.
    pub group: String,
    /// Where; nothing for the whole cluster.
    pub namespace: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => write!(f, " in the whole cluster"),
        }
    }
}

impl ApiError {
    /// Classifies a failure status of the API server.
    pub fn of_status(status: &Status) -> ApiError {
        let message = status.message.clone();
        match (status.code, status.reason.as_str()) {
            (404, _) => ApiError::NotFound(message),
            (401, _) => ApiError::Unauthorized(message),
            (403, _) => match missing_right(&message) {
                Some(right) => ApiError::Forbidden { right: Box::new(right), message },
                None => ApiError::Refused(message),
            },
            (409, "AlreadyExists") => ApiError::Exists(message),
            (409, _) => ApiError::Conflict(message),
            (400 | 422, _) => ApiError::Refused(message),
            (504, _) => ApiError::TimedOut,
            _ => ApiError::Other(message),
        }
    }

    /// Does the object not exist?
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::NotFound(_))
    }

    /// Does the user lack a right?
    pub fn is_forbidden(&self) -> bool {
        matches!(self, ApiError::Forbidden { .. })
    }

    /// Did somebody else change the object in between?
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Conflict(_))
    }

    /// Is an object of this name there already?
    pub fn exists(&self) -> bool {
        matches!(self, ApiError::Exists(_))
    }

    /// Did no API server answer?
    pub fn is_unreachable(&self) -> bool {
        matches!(self, ApiError::Unreachable(_) | ApiError::TimedOut)
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> ApiError {
        match error {
            kube::Error::Api(status) => ApiError::of_status(&status),
            kube::Error::Service(source) if source.is::<tower::timeout::error::Elapsed>() => {
                ApiError::TimedOut
            }
            kube::Error::Auth(source) => ApiError::Credentials(causes(&source)),
            kube::Error::Service(source) if source.is::<kube::client::AuthError>() => {
                ApiError::Credentials(causes(source.as_ref()))
            }
            kube::Error::Service(source) => ApiError::Unreachable(causes(source.as_ref())),
            kube::Error::HyperError(source) => ApiError::Unreachable(causes(&source)),
            kube::Error::ReadEvents(source) => ApiError::Unreachable(causes(&source)),
            other => ApiError::Other(causes(&other)),
        }
    }
}

/// An error with all its causes in one line, each said once.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// The right that an RBAC refusal names; nothing for other refusals with the same code (quota,
/// PodSecurity).
fn missing_right(message: &str) -> Option<Right> {
    let (_, deed) = message.split_once(" cannot ")?;
    let (verb, rest) = deed.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once('"')?;
    let group = quoted_after(rest, "in API group \"").unwrap_or_default();
    let namespace = quoted_after(rest, "in the namespace \"");
    Some(Right { verb: verb.into(), resource: resource.into(), group, namespace })
}

fn quoted_after(text: &str, words: &str) -> Option<String> {
    let (_, rest) = text.split_once(words)?;
    rest.split_once('"').map(|(quoted, _)| quoted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: &str) -> ApiError {
        ApiError::of_status(&Status::failure(message, "Forbidden").with_code(403))
    }

    #[test]
    fn a_missing_right_is_named_as_a_role_would_grant_it() {
        let error = refusal(
            "pods \"x\" is forbidden: User \"developer\" cannot create resource \
             \"pods/portforward\" in API group \"\" in the namespace \"dev\"",
        );

        let ApiError::Forbidden { right, .. } = error else { panic!("{error:?}") };
        assert_eq!(right.to_string(), "create pods/portforward in namespace dev");
    }

    #[test]
    fn a_right_in_the_whole_cluster_has_no_namespace() {
        let error = refusal(
            "deployments.apps is forbidden: User \"developer\" cannot list resource \
             \"deployments\" in API group \"apps\" at the cluster scope",
        );

        let ApiError::Forbidden { right, .. } = error else { panic!("{error:?}") };
        assert_eq!(right.to_string(), "list deployments.apps in the whole cluster");
    }

    #[test]
    fn a_quota_is_no_missing_right() {
        let error = refusal("pods \"x\" is forbidden: exceeded quota: quota, requested: pods=1");

        assert!(matches!(error, ApiError::Refused(_)), "{error:?}");
    }

    #[test]
    fn two_kinds_of_409_are_told_apart() {
        let exists = Status::failure("there", "AlreadyExists").with_code(409);
        let conflict = Status::failure("changed", "Conflict").with_code(409);

        assert!(ApiError::of_status(&exists).exists());
        assert!(ApiError::of_status(&conflict).is_conflict());
    }
}
