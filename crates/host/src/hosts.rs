//! Our block of the hosts file. Foreign text stays byte for byte as it is.

use std::fs::{File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::in_place;

const BEGIN: &[u8] = b"# Kt Hosts Begin";
const END: &[u8] = b"# Kt Hosts End";

/// How long another program may hold the file (lifecycle.md 8), and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// The hosts file is as before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run of ours is writing.
    #[error("failed to require hosts lock")]
    Locked,
    /// One mark without the other, or in the wrong order: nobody can say what is ours.
    #[error(
        "the marks '# Kt Hosts Begin' and '# Kt Hosts End' in the hosts file do not match, please repair it by hand"
    )]
    BrokenMarks,
    /// Reading or writing.
    #[error("{deed} hosts file {path}")]
    File {
        /// What was tried.
        deed: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes `entries` our whole block; none take it away. Blocks for up to 2 s while another run writes.
///
/// The lock is on the file itself, which keeps its inode: no lock file is left behind.
///
/// # Errors
/// The file is locked, broken or not writable; it is as before then.
pub fn write(path: &Path, entries: &[(IpAddr, String)]) -> Result<(), Error> {
    let failed = |deed| move |source| Error::File { deed, path: path.display().to_string(), source };
    if entries.is_empty() && in_place::read(path).map_err(failed("reading"))?.is_none() {
        return Ok(());
    }
    let file = in_place::open(path).map_err(failed("opening"))?;
    lock(&file, failed("locking"))?;
    let before = in_place::read(path).map_err(failed("reading"))?.unwrap_or_default();
    let after = with_block(&before, entries)?;
    if after != before {
        in_place::write(&file, &after).map_err(failed("writing"))?;
    }
    Ok(())
}

fn lock(file: &File, failed: impl FnOnce(io::Error) -> Error) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if since.elapsed() >= PATIENCE => return Err(Error::Locked),
            Err(TryLockError::WouldBlock) => sleep(PAUSE),
        }
    }
}

/// The content with exactly these entries in our block.
///
/// # Errors
/// The marks of the block do not match.
pub fn with_block(content: &[u8], entries: &[(IpAddr, String)]) -> Result<Vec<u8>, Error> {
    let foreign = without_block(content)?;
    if entries.is_empty() {
        return Ok(foreign);
    }
    let line_end: &str = if foreign.windows(2).any(|pair| pair == b"\r\n") { "\r\n" } else { "\n" };
    let complete = foreign.is_empty() || foreign.ends_with(b"\n");

    let mut lines = vec![String::new()];
    lines.push(String::from_utf8_lossy(BEGIN).into_owned());
    lines.extend(entries.iter().map(|(ip, name)| format!("{ip} {name}")));
    lines.push(String::from_utf8_lossy(END).into_owned());
    let mut after = foreign;
    if !complete {
        after.extend_from_slice(line_end.as_bytes());
    }
    after.extend_from_slice(lines.join(line_end).as_bytes());
    // A missing line end of ours tells `without_block` that the last foreign line had none.
    if complete {
        after.extend_from_slice(format!("{line_end}{line_end}").as_bytes());
    }
    Ok(after)
}

/// The content without our block and the blank lines around it.
fn without_block(content: &[u8]) -> Result<Vec<u8>, Error> {
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let at = |mark: &[u8]| -> Vec<usize> {
        let marks = lines.iter().enumerate().filter(|(_, line)| line.trim_ascii() == mark);
        marks.map(|(index, _)| index).collect()
    };
    let (begin, end) = match (at(BEGIN)[..].as_ref(), at(END)[..].as_ref()) {
        ([], []) => return Ok(content.to_vec()),
        ([begin], [end]) if begin < end => (*begin, *end),
        _ => return Err(Error::BrokenMarks),
    };
    let is_blank = |index: usize| lines.get(index).is_some_and(|line| line.trim_ascii().is_empty());
    let first = if begin > 0 && is_blank(begin - 1) { begin - 1 } else { begin };
    let next = if is_blank(end + 1) { end + 2 } else { end + 1 };

    let mut before = lines[..first].concat();
    if !lines[end].ends_with(b"\n") {
        let text = before.strip_suffix(b"\n").unwrap_or(&before);
        let text = text.strip_suffix(b"\r").unwrap_or(text).len();
        before.truncate(text);
    }
    before.extend(lines[next.min(lines.len())..].concat());
    Ok(before)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_block_stands_between_blank_lines() {
        let after = with_block(b"127.0.0.1 localhost\n", &entries()).unwrap();

        assert_eq!(
            text(&after),
            "127.0.0.1 localhost\n\n# Kt Hosts Begin\n10.96.0.7 tomcat\n10.96.0.8 db\n# Kt Hosts End\n\n"
        );
    }

    #[test]
    fn foreign_text_comes_back_byte_for_byte() {
        for before in [
            "",
            "127.0.0.1 a",
            "127.0.0.1 a\n",
            "\n\n\n1.1.1.1 b\n\n\n",
            "1.1.1.1 a\r\n2.2.2.2 b\r\n",
            "\r\n x",
        ] {
            let with = with_block(before.as_bytes(), &entries()).unwrap();

            assert_eq!(text(&with_block(&with, &[]).unwrap()), before);
        }
    }

    #[test]
    fn what_others_append_after_our_block_stays() {
        let mut content = with_block(b"1.1.1.1 a\n", &entries()).unwrap();
        content.extend_from_slice(b"2.2.2.2 b\n");

        assert_eq!(text(&with_block(&content, &[]).unwrap()), "1.1.1.1 a\n2.2.2.2 b\n");
    }

    #[test]
    fn writing_twice_replaces_the_block() {
        let once = with_block(b"1.1.1.1 a\n", &entries()).unwrap();

        assert_eq!(with_block(&once, &entries()).unwrap(), once);
        assert_eq!(
            with_block(&once, &entries()[..1]).unwrap(),
            with_block(b"1.1.1.1 a\n", &entries()[..1]).unwrap()
        );
    }

    #[test]
    fn broken_marks_are_an_error_and_the_file_is_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        for broken in ["# Kt Hosts Begin\n", "# Kt Hosts End\n", "# Kt Hosts End\n# Kt Hosts Begin\n"] {
            fs::write(&path, broken).unwrap();

            assert!(matches!(write(&path, &entries()), Err(Error::BrokenMarks)));
            assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        }
    }

    #[test]
    fn a_locked_file_is_waited_for_and_then_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        fs::write(&path, "1.1.1.1 a\n").unwrap();
        let other = File::open(&path).unwrap();
        other.lock().unwrap();

        assert!(matches!(write(&path, &entries()), Err(Error::Locked)));
        other.unlock().unwrap();
        write(&path, &entries()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("tomcat"));
    }

    #[test]
    fn taking_away_from_a_missing_file_does_not_create_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");

        write(&path, &[]).unwrap();

        assert!(!path.exists());
    }

    fn entries() -> Vec<(IpAddr, String)> {
        let entry = |ip: &str, name: &str| (ip.parse().unwrap(), name.to_owned());
        vec![entry("10.96.0.7", "tomcat"), entry("10.96.0.8", "db")]
    }

    fn text(content: &[u8]) -> String {
        String::from_utf8(content.to_vec()).unwrap()
    }
}
