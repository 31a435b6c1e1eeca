//! `~/.kt`: pid files that stop a run when they are removed, and the status of each run.
//!
//! Folders are made when the first file goes in and removed with the last one, so that a run leaves
//! the home as it was. Under sudo the folder is the invoking user's, whoever makes it.

mod identity;
mod pid_file;
mod run_file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub use identity::{host_name, user_name};
pub use pid_file::PidFile;
pub use run_file::{Run, RunFile};

use crate::in_place;
use crate::privilege::User;

/// How often a file is written again when its folder has gone meanwhile.
const TRIES: usize = 10;

/// A file or folder of the home could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{deed} {path}")]
pub struct Error {
    deed: &'static str,
    path: String,
    source: io::Error,
}

/// The folder `~/.kt` of a user. Nothing is made before something is put in.
/// Clones are the same home.
#[derive(Clone, Debug)]
pub struct Home {
    folder: PathBuf,
    owner: Option<(u32, u32)>,
    /// `~/.kt` itself was made by this run, or by one that goes on and leaves it to this one.
    made: Arc<AtomicBool>,
}

impl Home {
    /// `~/.kt` of the user whom this process runs as, by `HOME`.
    ///
    /// # Errors
    /// The process has no home.
    pub fn of_user() -> Result<Self, Error> {
        let none = || failed("finding", Path::new("~/.kt"))(io::Error::other("HOME is not set"));
        let base = std::env::home_dir().filter(|home| home.is_absolute()).ok_or_else(none)?;
        Ok(Self::new(base.join(".kt"), None))
    }

    /// `owner` gets what is made here; it is only needed while this process is still root.
    #[must_use]
    pub fn new(folder: PathBuf, owner: Option<&User>) -> Self {
        let owner = owner.map(|user| (user.uid, user.gid));
        Self { folder, owner, made: Arc::default() }
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the pid file of this process for a component (connect, exchange, mesh, preview, forward).
    ///
    /// # Errors
    /// The home is not writable.
    pub fn pid_file(&self, component: &str) -> Result<PidFile, Error> {
        PidFile::create(self, component)
    }

    /// Writes the status of this run.
    ///
    /// # Errors
    /// The home is not writable.
    pub fn run_file<T: serde::Serialize>(&self, component: &str, status: &T) -> Result<RunFile, Error> {
        RunFile::create(self, component, status)
    }

    /// Runs on this laptop that have a status file, the dead ones too.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        run_file::read_all(self)
    }

    /// Removes the pid files of processes which are gone; returns their paths.
    pub fn remove_dead_pid_files(&self) -> Vec<PathBuf> {
        pid_file::remove_dead(self)
    }

    /// Removes the status file of a dead run once its leftovers are gone, and its empty folders.
    ///
    /// # Errors
    /// The home is not writable.
    pub fn remove_run(&self, run: &Run) -> Result<(), Error> {
        in_place::remove(&run.path).map_err(failed("removing", &run.path))?;
        self.made.fetch_or(run.made_home, Relaxed);
        self.remove_if_empty("run");
        Ok(())
    }

    /// Replaces what a dead run wrote, for whoever comes next.
    ///
    /// # Errors
    /// The home is not writable, or the status is nothing that JSON can say.
    pub fn rewrite_run<T: serde::Serialize>(&self, run: &Run, status: &T) -> Result<(), Error> {
        run_file::rewrite(self, run, status)
    }

    /// Makes a folder inside.
    fn ensure(&self, sub: &str) -> Result<(), Error> {
        let made = self.make_folder(&self.folder)? || self.runs().iter().any(|run| run.made_home);
        self.made.fetch_or(made, Relaxed);
        self.make_folder(&self.folder.join(sub)).map(drop)
    }

    fn make_folder(&self, folder: &Path) -> Result<bool, Error> {
        match in_place::private_folder().create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            result => result.map_err(failed("making folder", folder))?,
        }
        self.own(folder)?;
        Ok(true)
    }

    /// Writes a file in a folder inside, which another run that ends may remove at any time.
    fn write_in(&self, sub: &str, path: &Path, content: &[u8]) -> Result<(), Error> {
        for _ in 0..TRIES {
            match self.ensure(sub).and_then(|()| self.write(path, content)) {
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                written => return written,
            }
        }
        self.write(path, content)
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        fs::write(path, content).map_err(failed("writing", path))?;
        self.own(path)
    }

    #[cfg(unix)]
    fn own(&self, path: &Path) -> Result<(), Error> {
        match self.owner {
            Some((uid, gid)) if crate::privilege::is_root() => {
                std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(failed("handing over", path))
            }
            _ => Ok(()),
        }
    }

    #[cfg(not(unix))]
    fn own(&self, _path: &Path) -> Result<(), Error> {
        let _ = self.owner;
        Ok(())
    }

    /// `pid` and `run` are always ours; `~/.kt` only goes when we made it. Not empty means in use.
    fn remove_if_empty(&self, sub: &str) {
        let _ = fs::remove_dir(self.folder.join(sub));
        if self.made.load(Relaxed) {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Removes log files `kt-*` of the folder for temporary files which nobody has written to for
/// `age`; returns their paths. Those of other users stay.
pub fn remove_old_logs(folder: &Path, age: Duration) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_log = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("kt-");
    let is_old = |file: &fs::DirEntry| {
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file); // not of what a link leads to
        let written = metadata.and_then(|metadata| metadata.modified().ok());
        written.and_then(|written| written.elapsed().ok()).is_some_and(|since| since > age)
    };
    let mut old: Vec<PathBuf> = files.filter(is_log).filter(is_old).map(|file| file.path()).collect();
    old.sort();
    old.retain(|path| fs::remove_file(path).is_ok());
    old
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { deed, path: path.display().to_string(), source }
}

/// `<component>-<pid>` in front of the ending.
fn owner_of(path: &Path) -> Option<(String, u32)> {
    let (component, pid) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    Some((component.to_owned(), pid.parse().ok()?))
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
