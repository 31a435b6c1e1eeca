//! What was done to the laptop and how to undo it, on disk before it is done.
//!
//! One file per run, `journal-<pid of the main process>.json`, in a folder for root only. It is
//! removed once everything is undone; a file whose helper is dead is a leftover, which the next
//! start undoes.

mod entry;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

pub use entry::Entry;

use crate::in_place;
use crate::process::Process;

/// Version of the file that is written; all up to it are read.
const VERSION: u32 = 1;

/// The journal of one run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    main: Process,
    helper: Process,
    /// The folder did not exist before this run.
    made_folder: bool,
    entries: Vec<Entry>,
}

/// The journal can not be kept, so nothing may be changed.
#[derive(Debug, thiserror::Error)]
#[error("{deed} journal {path}")]
pub struct Error {
    deed: &'static str,
    path: String,
    source: io::Error,
}

impl Journal {
    /// An empty journal; the file appears with the first entry.
    #[must_use]
    pub fn new(folder: &Path, main: Process, helper: Process) -> Self {
        let path = folder.join(format!("journal-{}.json", main.pid));
        let content = Content { version: VERSION, main, helper, made_folder: false, entries: Vec::new() };
        Self { path, content }
    }

    /// Reads the journal of another run.
    ///
    /// # Errors
    /// It is not readable, or of a newer version.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(failed("reading", path))?;
        let content: Content =
            serde_json::from_slice(&text).map_err(|error| failed("understanding", path)(error.into()))?;
        if content.version > VERSION {
            let newer = io::Error::other(format!("version {} is newer than this program", content.version));
            return Err(failed("understanding", path)(newer));
        }
        Ok(Self { path: path.to_owned(), content })
    }

    /// Whether the helper which wrote it is still there to undo it.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.content.helper.is_alive()
    }

    /// The run's main process.
    #[must_use]
    pub fn main(&self) -> &Process {
        &self.content.main
    }

    /// What was done, first thing first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.content.entries
    }

    /// Notes a change that is about to be made; it is on disk when this returns. A change of
    /// something that is noted already only widens what will be undone.
    ///
    /// # Errors
    /// The disk: the change must not be made.
    pub fn record(&mut self, entry: Entry) -> Result<(), Error> {
        if let Some(known) = self.content.entries.iter_mut().find(|known| known.is_about_same(&entry)) {
            known.widen(entry);
        } else {
            self.content.entries.push(entry);
        }
        self.save()
    }

    /// Notes that a change is undone; with the last one the file and our folder go.
    ///
    /// # Errors
    /// The disk: the undo may be repeated, which does no harm.
    pub fn forget(&mut self, entry: &Entry) -> Result<(), Error> {
        self.content.entries.retain(|known| known != entry);
        if self.content.entries.is_empty() { self.remove() } else { self.save() }
    }

    fn save(&mut self) -> Result<(), Error> {
        if let Some(folder) = self.path.parent() {
            self.content.made_folder |=
                make_folder(folder).map_err(failed("making the folder of", &self.path))?;
        }
        self.write().map_err(failed("writing", &self.path))
    }

    /// A reader meets the old or the new journal, also after a power cut.
    fn write(&self) -> io::Result<()> {
        let next = self.path.with_extension("json.new");
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec_pretty(&self.content)?)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn remove(&self) -> Result<(), Error> {
        in_place::remove(&self.path).map_err(failed("removing", &self.path))?;
        if let Some(folder) = self.path.parent().filter(|_| self.content.made_folder) {
            // Fails while journals of others are in it; the last one takes it away.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

/// Journals of runs whose helper is dead, oldest process first. One that can not be read is named
/// in the log and left alone.
#[must_use]
pub fn leftovers(folder: &Path) -> Vec<Journal> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut left: Vec<Journal> = files
        .filter(|path| is_journal(path))
        .filter_map(|path| Journal::read(&path).inspect_err(|error| warn!(?error, "skipping a journal")).ok())
        .filter(|journal| !journal.is_live())
        .collect();
    left.sort_by_key(|journal| journal.content.main.started);
    left
}

fn is_journal(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("journal-") && name.ends_with(".json")
}

/// Says whether the folder had to be made.
fn make_folder(folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    in_place::private_folder().recursive(true).create(folder)?;
    Ok(true)
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { deed, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests;
