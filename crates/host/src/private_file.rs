//! A file with secrets in it, at a place that the user chose: readable by him alone, and gone with the
//! run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::in_place;

/// The file. Dropping it removes it.
#[derive(Debug)]
pub struct PrivateFile {
    path: PathBuf,
    is_ours: IsOurs,
}

/// Tells by its content whether a file was made by a run of ours.
pub type IsOurs = fn(&str) -> bool;

impl PrivateFile {
    /// Writes a new file. One that `is_ours`, which a dead run may have left, is replaced; any other one
    /// is not.
    ///
    /// # Errors
    /// There is a file of somebody else, or the folder is not writable.
    pub fn create(path: &Path, is_ours: IsOurs, text: &str) -> io::Result<Self> {
        remove(path, is_ours)?;
        let mut file = new(path)?;
        let made = Self { path: path.to_owned(), is_ours };
        file.write_all(text.as_bytes())?;
        Ok(made)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = remove(&self.path, self.is_ours); // somebody has put his own in its place
    }
}

/// Removes a file that `is_ours`. Content when there is none.
///
/// # Errors
/// The file is somebody else's, or can not be removed.
pub fn remove(path: &Path, is_ours: IsOurs) -> io::Result<()> {
    let content = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        content => content?,
    };
    match is_ours(&String::from_utf8_lossy(&content)) {
        true => in_place::remove(path),
        false => Err(io::Error::new(ErrorKind::AlreadyExists, "the file exists, and was not made by ktctl")),
    }
}

#[cfg(unix)]
fn new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}

/// Who may read it is inherited from its folder.
#[cfg(not(unix))]
fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The whole path, for whoever removes the file from another folder.
///
/// # Errors
/// There is no working folder.
pub fn whole(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
    Ok(fs::canonicalize(folder)?.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: IsOurs = |text| text.starts_with("# by ktctl");

    #[cfg(unix)]
    #[test]
    fn it_is_readable_by_its_owner_alone_and_goes_with_its_run() {
        use std::os::unix::fs::PermissionsExt;
        let path = tempfile::tempdir().unwrap().keep().join("app.env");

        let file = PrivateFile::create(&path, MARK, "# by ktctl\nA=1\n").unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "# by ktctl\nA=1\n");
        drop(file);
        assert!(!path.exists());
        fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_of_the_user_stays_and_one_of_a_dead_run_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (own, left) = (folder.path().join("own"), folder.path().join("left"));
        fs::write(&own, "A=mine\n").unwrap();
        fs::write(&left, "# by ktctl, long ago\nA=0\n").unwrap();

        assert_eq!(PrivateFile::create(&own, MARK, "x").unwrap_err().kind(), ErrorKind::AlreadyExists);
        let _file = PrivateFile::create(&left, MARK, "# by ktctl\nA=1\n").unwrap();

        assert_eq!(fs::read_to_string(&own).unwrap(), "A=mine\n");
        assert_eq!(fs::read_to_string(&left).unwrap(), "# by ktctl\nA=1\n");
    }
}
