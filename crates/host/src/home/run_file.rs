//! `~/.kt/run/<component>-<pid>.json`: what a run does, for overviews, and which things outside
//! the laptop it must take away, for whoever comes after it if it dies.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, Home, failed, files, owner_of};
use crate::in_place;
use crate::process::Process;

/// Version of the file that is written; all up to it are read.
const VERSION: u32 = 1;

/// The status file of this run; removed with its empty folders when dropped.
#[derive(Debug)]
pub struct RunFile {
    home: Home,
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    process: Process,
    /// `~/.kt` did not exist before.
    made_home: bool,
    status: Value,
}

/// A run of this user on this laptop.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// connect, exchange, mesh, preview or forward.
    pub component: String,
    /// Its main process.
    pub process: Process,
    /// What it last wrote to [`RunFile::update`].
    pub status: Value,
    pub(super) path: PathBuf,
    pub(super) made_home: bool,
}

impl Run {
    /// Whether its process is still there; a dead one has left what `status` names.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }
}

impl RunFile {
    pub(super) fn create<T: Serialize>(home: &Home, component: &str, status: &T) -> Result<Self, Error> {
        let path = home.folder().join("run").join(format!("{component}-{}.json", std::process::id()));
        let process = Process::current().map_err(failed("naming the process in", &path))?;
        let content = Content { version: VERSION, process, made_home: false, status: Value::Null };
        let mut file = Self { home: home.clone(), path, content };
        file.update(status)?;
        Ok(file)
    }

    /// Replaces the status; it is on disk when this returns, and never half.
    ///
    /// # Errors
    /// The home is not writable, or the status is nothing that JSON can say.
    pub fn update<T: Serialize>(&mut self, status: &T) -> Result<(), Error> {
        self.home.ensure("run")?;
        self.content.made_home = self.home.made.load(Relaxed);
        write(&self.home, &self.path, &mut self.content, status)
    }
}

fn write<T: Serialize>(home: &Home, path: &Path, content: &mut Content, status: &T) -> Result<(), Error> {
    let said = |error: serde_json::Error| failed("putting into words", path)(error.into());
    content.status = serde_json::to_value(status).map_err(said)?;
    let text = serde_json::to_vec_pretty(content).map_err(said)?;
    let next = path.with_extension("json.new");
    home.write_in("run", &next, &text)?;
    let on_disk = fs::File::open(&next).and_then(|file| file.sync_all());
    on_disk.and_then(|()| fs::rename(&next, path)).map_err(failed("writing", path))
}

pub(super) fn rewrite<T: Serialize>(home: &Home, run: &Run, status: &T) -> Result<(), Error> {
    let Run { process, made_home, .. } = run.clone();
    let mut content = Content { version: VERSION, process, made_home, status: Value::Null };
    write(home, &run.path, &mut content, status)
}

impl Drop for RunFile {
    fn drop(&mut self) {
        let _ = in_place::remove(&self.path);
        self.home.remove_if_empty("run");
    }
}

/// Files that can not be read, or are of a newer version, are passed over.
pub(super) fn read_all(home: &Home) -> Vec<Run> {
    files(&home.folder().join("run"), "json").into_iter().filter_map(read).collect()
}

fn read(path: PathBuf) -> Option<Run> {
    let content: Content = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let (component, _) = owner_of(&path)?;
    let Content { version, process, made_home, status } = content;
    (version <= VERSION).then_some(Run { component, process, status, path, made_home })
}
