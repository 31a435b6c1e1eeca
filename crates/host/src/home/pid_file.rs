//! `~/.kt/pid/<component>-<pid>.pid`: scripts stop a run by removing it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Error, Home, files, owner_of};
use crate::in_place;
use crate::process::Process;

/// A look at one file costs microseconds; a stop request should not feel slow.
const INTERVAL: Duration = Duration::from_millis(200);

/// The pid file of this process; removed with its empty folders when dropped.
#[derive(Debug)]
pub struct PidFile {
    home: Home,
    path: PathBuf,
}

impl PidFile {
    pub(super) fn create(home: &Home, component: &str) -> Result<Self, Error> {
        let pid = std::process::id();
        let path = home.folder().join("pid").join(format!("{component}-{pid}.pid"));
        home.write_in("pid", &path, pid.to_string().as_bytes())?;
        Ok(Self { home: home.clone(), path })
    }

    /// Waits until somebody asks this run to stop by removing the file. Cancel safety: may be
    /// called again.
    pub async fn wait_until_removed(&self) {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if matches!(self.path.try_exists(), Ok(false)) {
                return;
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = in_place::remove(&self.path);
        self.home.remove_if_empty("pid");
    }
}

pub(super) fn remove_dead(home: &Home) -> Vec<PathBuf> {
    let living: Vec<u32> =
        home.runs().iter().filter(|run| run.is_alive()).map(|run| run.process.pid).collect();
    let is_dead = |path: &PathBuf| {
        owner_of(path).is_some_and(|(_, pid)| Process::of(pid).is_err() && !living.contains(&pid))
    };
    let mut dead = files(&home.folder().join("pid"), "pid");
    dead.retain(is_dead);
    dead.retain(|path| in_place::remove(path).is_ok());
    home.remove_if_empty("pid");
    dead
}
