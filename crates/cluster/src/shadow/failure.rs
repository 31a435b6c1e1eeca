//! Why a shadow did not come to life.

use std::fmt;

use super::wanted::ShadowWanted;
use crate::api::ApiError;

/// Why there is no shadow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image was named, and none can be borrowed.
    #[error(
        "no running pod in namespace {namespace} has an image that could be used, \
         please name one with --image"
    )]
    NoImage {
        /// Where it was looked for.
        namespace: String,
    },
    /// No image was named, and the pods can not be looked at.
    #[error("looking for an image among the pods of namespace {namespace} (or use --image)")]
    Images {
        /// Where it was looked for.
        namespace: String,
        /// Why not.
        source: ApiError,
    },
    /// This build does not carry a program for the nodes.
    #[error("this ktctl carries no shadow for {arch} nodes, please name an image with --image")]
    NoProgram {
        /// In Kubernetes' words.
        arch: &'static str,
    },
    /// The API server refused an object.
    #[error("creating {kind} {name}")]
    Creating {
        /// Pod, Deployment or config map.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The refusal.
        source: ApiError,
    },
    /// A pod that must be made differently can not be removed.
    #[error("removing pod {name}")]
    Removing {
        /// Its name.
        name: String,
        /// The refusal.
        source: ApiError,
    },
    /// Kubernetes reported a reason why the pod will not run.
    #[error("pod {pod} failed to start: {failure}")]
    Failed {
        /// Its name.
        pod: String,
        /// The reason.
        failure: Failure,
    },
    /// It took too long.
    #[error("pod {pod} failed to start within {seconds} s: {last}")]
    NotInTime {
        /// Its name.
        pod: String,
        /// The limit.
        seconds: u64,
        /// What was being waited for.
        last: String,
    },
    /// The pod can not be looked at.
    #[error("waiting for pod {pod}")]
    Waiting {
        /// Its name.
        pod: String,
        /// Why not.
        source: ApiError,
    },
}

impl Error {
    /// Was it told before anything was made? The config map is the first object, or the pod where
    /// the image has the program.
    pub fn made_nothing(&self, wanted: &ShadowWanted) -> bool {
        match self {
            Error::NoImage { .. } | Error::Images { .. } | Error::NoProgram { .. } => true,
            Error::Creating { kind, source, .. } if source.exists() => {
                *kind != "pod" || wanted.image.is_some() // what is there is somebody else's
            }
            Error::Creating { kind, source, .. } => {
                source.is_forbidden() && (*kind == "config map" || wanted.image.is_some())
            }
            _ => false,
        }
    }
}

/// What Kubernetes reported against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The image can not be had.
    Image {
        /// Which.
        image: String,
        /// The node's words.
        message: String,
    },
    /// The container can not be made.
    Container(String),
    /// The node refuses a sysctl.
    Sysctl(String),
    /// The program is for another kind of processor than the node's.
    WrongArch(String),
    /// No node of that kind of processor exists.
    NoSuchNode(String),
    /// The program ended.
    Crashed {
        /// Its exit code.
        code: i32,
        /// What it said, or the node.
        message: String,
    },
    /// The pod was evicted or failed otherwise.
    Evicted(String),
    /// Somebody deleted it.
    Deleted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Image { image, message } => write!(f, "image {image} can not be pulled: {message}"),
            Failure::Container(message) => write!(f, "the container can not be made: {message}"),
            Failure::Sysctl(message) => write!(f, "the node refuses a kernel setting: {message}"),
            Failure::WrongArch(message) => write!(f, "the node has another processor: {message}"),
            Failure::NoSuchNode(message) => write!(f, "no node fits: {message}"),
            Failure::Crashed { code, message } if message.is_empty() => {
                write!(f, "its program ended with code {code}")
            }
            Failure::Crashed { code, message } => {
                write!(f, "its program ended with code {code}: {message}")
            }
            Failure::Evicted(message) => message.fmt(f),
            Failure::Deleted => f.write_str("somebody deleted it"),
        }
    }
}
