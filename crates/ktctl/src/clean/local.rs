//! The laptop's side of `clean`.

use std::time::Duration;

use kt_host::Helper;
use kt_host::home::{Home, remove_old_logs};
use tracing::{debug, info};

use crate::{env_file, leftovers};

/// A log that nobody has written to for so long belongs to no run.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes pid files of dead processes and old logs, and says what the root helper has put back.
/// With `alone`, journals of dead runs that name things in a cluster stay, and are named. Tells
/// whether everything could be put back.
pub(super) async fn clean(helper: Option<Helper>, alone: bool) -> bool {
    if let Ok(home) = Home::of_user() {
        say("pid files of dead processes", &home.remove_dead_pid_files());
        if alone {
            remove_empty_journals(&home);
        }
    }
    say("old logs", &remove_old_logs(&std::env::temp_dir(), OLD));
    put_back(helper).await
}

/// By the helper of this run, which has undone what dead runs have left before it answered.
async fn put_back(helper: Option<Helper>) -> bool {
    let Some(mut helper) = helper else { return true };
    leftovers::say_recovered(&helper);
    let is_complete = helper.recovered().iter().all(|undone| undone.failure.is_none());
    if let Err(error) = helper.undo_all().await {
        debug!(%error, "the helper has ended already");
    }
    is_complete
}

fn remove_empty_journals(home: &Home) {
    for (run, status) in leftovers::dead_runs() {
        env_file::remove_left(status.env_file.as_ref());
        if status.is_empty() {
            leftovers::forget(home, &run);
        } else {
            let (component, pid) = (&run.component, run.process.pid);
            info!(
                "{component} {pid}, which was killed, has left things in namespace {}: `ktctl clean` removes them",
                status.namespace
            );
        }
    }
}

fn say(what: &str, removed: &[std::path::PathBuf]) {
    if !removed.is_empty() {
        info!("Removing {} {what}", removed.len());
    }
    for path in removed {
        info!(" * {}", path.display());
    }
}
