//! Programs of other hands, as `scripts/setup.sh peers` leaves them in the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bed::{checkout, skip};
use crate::cache;

/// Where one of them is; nothing, and the test is skipped, when it is not there.
pub fn peer(test: &str, path: &str) -> Option<PathBuf> {
    let found = cache().join("ktctl").join(path);
    if !found.exists() {
        skip(test, &format!("{path} is missing (scripts/setup.sh peers)"));
        return None;
    }
    Some(found)
}

/// A copy of a program where laptops can see it.
///
/// # Panics
/// When it can not be made.
pub fn for_laptops(program: &Path) -> String {
    let name = program.file_name().expect("a program has a name").to_string_lossy();
    let copy = checkout().join(format!("target/{name}"));
    let new = checkout().join(format!("target/{name}-{}", std::process::id()));
    std::fs::copy(program, &new).expect("copy a program");
    std::fs::rename(&new, &copy).expect("put it in its place"); // also while another one runs from there
    copy.display().to_string()
}

/// A program and the libraries that it needs, as an image wants them: `HERE:THERE`. Some of the
/// libraries may lie in a folder of their own.
///
/// # Panics
/// When one of them is missing.
pub fn with_libraries(program: &Path, there: &str, folder: &Path) -> Vec<String> {
    let listed = Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", folder).output().expect("run ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("libc.so") && !listed.contains("not found"), "{listed}");
    let library = |line: &str| {
        let line = line.rsplit_once(" (").map_or(line, |(line, _)| line).trim();
        match line.split_once(" => ") {
            Some((name, path)) => Some(format!("{path}:/lib/x86_64-linux-gnu/{name}")),
            None => line.starts_with('/').then(|| format!("{line}:{line}")),
        }
    };
    let program = format!("{}:{there}", program.display());
    std::iter::once(program).chain(listed.lines().filter_map(library)).collect()
}
