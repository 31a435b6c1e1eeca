//! `--jvmrc`: the local proxy for Java programs which read a file `.jvmrc` of their folder.

use std::path::{Path, PathBuf};

use kt_host::private_file::{self, PrivateFile};
use tracing::{debug, info};

use crate::failure::Advised;
use crate::run::Journal;

const NAME: &str = ".jvmrc";

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
    let file = PrivateFile::create(&path, is_ours, &text(&port.to_string())).map_err(refused)?;
    info!("Proxy for Java programs written to {}", path.display());
    Ok(Some(file))
}

fn text(port: &str) -> String {
    format!("-DsocksProxyHost=127.0.0.1\n-DsocksProxyPort={port}\n")
}

/// Nothing but what we write: a user may well have begun his own file with the same line.
fn is_ours(content: &str) -> bool {
    let port = content.trim_end().rsplit('=').next().unwrap_or_default();
    port.parse::<u16>().is_ok() && content == text(port)
}

/// Removes what a dead run has left.
pub(crate) fn remove_left(path: Option<&PathBuf>) {
    if let Some(path) = path
        && let Err(error) = private_file::remove(path, is_ours)
    {
        debug!(%error, path = %path.display(), "the file stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_user_is_not_taken_for_ours_by_its_first_line() {
        let ours = text("2223");

        assert!(is_ours(&ours));
        let own = ["-DsocksProxyHost=127.0.0.1\n", "-DsocksProxyHost=127.0.0.1\n-Xmx1g\n", ""];
        let more = [format!("{ours}-Xmx1g\n"), format!("{ours}-DmyPort=8080\n")];
        for own in own.into_iter().chain(more.iter().map(String::as_str)) {
            assert!(!is_ours(own), "{own:?}");
        }
    }
}
