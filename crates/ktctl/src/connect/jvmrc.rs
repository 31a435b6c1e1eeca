//! `--jvmrc`: the local proxy for Java programs which read a file `.jvmrc` of their folder.

use std::path::{Path, PathBuf};

use kt_host::private_file::{self, PrivateFile};
use tracing::{debug, info};

use crate::failure::Advised;
use crate::run::Journal;

const NAME: &str = ".jvmrc";
/// The first line tells our file from one that the user wrote.
const FIRST: &str = "-DsocksProxyHost=127.0.0.1";

/// Writes the file into the folder, if one was named. It goes when what is returned is dropped.
pub(super) fn write(
    folder: Option<&Path>,
    port: u16,
    journal: &Journal,
) -> Result<Option<PrivateFile>, Advised> {
    let Some(folder) = folder else { return Ok(None) };
    let refused = |error: std::io::Error| {
        let text = format!("writing {}: {error}", folder.join(NAME).display());
        Advised::new(text, "move your own file away, or name another folder with --jvmrc")
    };
    let path = private_file::whole(&folder.join(NAME)).map_err(refused)?;
    journal.note_jvmrc(&path);
    let text = format!("{FIRST}\n-DsocksProxyPort={port}\n");
    let file = PrivateFile::create(&path, FIRST, &text).map_err(refused)?;
    info!("Proxy for Java programs written to {}", path.display());
    Ok(Some(file))
}

/// Removes what a dead run has left.
pub(crate) fn remove_left(path: Option<&PathBuf>) {
    if let Some(path) = path
        && let Err(error) = private_file::remove(path, FIRST)
    {
        debug!(%error, path = %path.display(), "the file stays");
    }
}
