//! What main process and helper say to each other. Both are the same build, the version guards
//! against a program that was replaced between the two starts.

use serde::{Deserialize, Serialize};

use super::{FailureKind, Heir, Undone};
use crate::change::RoutesMade;
use crate::process::Process;
use crate::resolver::Backend;
use crate::{Change, Paths};

pub(super) const VERSION: u32 = 1;

/// First message, sent by root; carries the descriptor of the instance lock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) version: u32,
    pub(super) paths: Paths,
    pub(super) main: Process,
    pub(super) heir: Option<Heir>,
}

/// All further messages of the main process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    Make(Change),
    UndoAll,
}

/// What the helper says, once to the setup and once to each [`Ask`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To the setup: what dead runs had left.
    Ready {
        recovered: Vec<Undone>,
    },
    Made(Report),
    Undone(Vec<Undone>),
    Failed {
        kind: FailureKind,
        text: String,
    },
}

/// [`Made`](crate::Made) without descriptors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// Its descriptor comes with the message unless it was handed out before.
    Device {
        offload: bool,
    },
    Routes(RoutesMade),
    Resolver(Backend),
    Hosts,
    Redirect,
}
