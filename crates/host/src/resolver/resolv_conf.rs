//! Our name server in `/etc/resolv.conf`, and the file as it was.
//!
//! All that is needed to go back stands in the file itself: each foreign `nameserver` line is kept
//! behind a mark, each line of ours carries one. So the file is restored byte for byte, and when a
//! DHCP client rewrote it meanwhile only lines of ours that are left are taken away. The marks are
//! those of the original program: old and new versions clean up after each other.

use std::net::IpAddr;
use std::path::Path;

use super::{Error, file_error};
use crate::in_place;

/// Ends each line which is ours.
const ADDED: &str = "# Added by KtConnect";
/// Ends each line which was there before and is switched off.
const REMOVED: &str = " # Removed by KtConnect";
/// Stands before our search line: whatever follows on that line itself would be read as a domain.
const SEARCH_MARK: &str = "# Search list of the next line # Added by KtConnect";

/// Puts the name server in place; a missing file is created.
///
/// # Errors
/// The file can not be read or written, it is as before then.
pub fn make(path: &Path, server: IpAddr, search: &[String]) -> Result<(), Error> {
    let before = in_place::read(path).map_err(file_error("reading", path))?.unwrap_or_default();
    let wanted = with_server(&before, server, search);
    if wanted != before {
        write(path, &wanted)?;
    }
    Ok(())
}

/// Whether the file says what [`make`] would write: false when another program rewrote it.
///
/// # Errors
/// The file can not be read.
pub fn is_in_place(path: &Path, server: IpAddr, search: &[String]) -> Result<bool, Error> {
    let present = in_place::read(path).map_err(file_error("reading", path))?.unwrap_or_default();
    Ok(with_server(&present, server, search) == present)
}

/// Takes everything of ours away. `created`: the file did not exist before us, and goes when
/// nothing else is in it.
///
/// # Errors
/// The file can not be read or written. A missing file is fine.
pub fn undo(path: &Path, created: bool) -> Result<(), Error> {
    let Some(present) = in_place::read(path).map_err(file_error("reading", path))? else {
        return Ok(());
    };
    let before = restored(&present);
    if created && before.is_empty() {
        return in_place::remove(path).map_err(file_error("removing", path));
    }
    if before != present { write(path, &before) } else { Ok(()) }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let file = in_place::open(path).map_err(file_error("opening", path))?;
    in_place::write(&file, content).map_err(file_error("writing", path))
}

/// The content with our name server as the only one, and with our endings before the laptop's own.
///
/// Lines of ours in `content`, also those of a dead run, are replaced.
#[must_use]
pub fn with_server(content: &[u8], server: IpAddr, search: &[String]) -> Vec<u8> {
    let before = restored(content);
    let line_end: &[u8] = if before.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let complete = before.is_empty() || before.ends_with(b"\n");

    let mut after: Vec<u8> = before.split_inclusive(|byte| *byte == b'\n').flat_map(switched_off).collect();
    if !complete {
        after.extend_from_slice(line_end);
    }
    if !search.is_empty() {
        let line = search_line(search, &super::upstream::parse(&before).search);
        for line in [SEARCH_MARK, &line] {
            after.extend_from_slice(line.as_bytes());
            after.extend_from_slice(line_end);
        }
    }
    after.extend_from_slice(format!("nameserver {server} {ADDED}").as_bytes());
    // A missing line end of ours tells `restored` that the last foreign line had none.
    if complete {
        after.extend_from_slice(line_end);
    }
    after
}

/// The content as it was before us.
#[must_use]
pub fn restored(content: &[u8]) -> Vec<u8> {
    let mut before = Vec::with_capacity(content.len());
    let mut search_is_ours = false;
    let mut ends_in_ours = false;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let (text, line_end) = split_line_end(line);
        let ours = text.ends_with(ADDED.as_bytes()) || (search_is_ours && text.starts_with(b"search "));
        search_is_ours = text == SEARCH_MARK.as_bytes();
        ends_in_ours = ours && line_end.is_empty();
        if !ours {
            before.extend_from_slice(switched_on(text));
            before.extend_from_slice(line_end);
        }
    }
    if ends_in_ours {
        let text = split_line_end(&before).0.len();
        before.truncate(text);
    }
    before
}

fn search_line(ours: &[String], theirs: &[String]) -> String {
    let mut domains: Vec<&str> = Vec::new();
    for domain in ours.iter().chain(theirs) {
        if !domains.contains(&domain.as_str()) {
            domains.push(domain);
        }
    }
    format!("search {}", domains.join(" "))
}

fn switched_off(line: &[u8]) -> Vec<u8> {
    let (text, line_end) = split_line_end(line);
    if is_name_server(text) { [b"#", text, REMOVED.as_bytes(), line_end].concat() } else { line.to_vec() }
}

fn switched_on(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"#").and_then(|text| text.strip_suffix(REMOVED.as_bytes())).unwrap_or(text)
}

fn is_name_server(text: &[u8]) -> bool {
    text.trim_ascii_start()
        .strip_prefix(b"nameserver")
        .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
}

fn split_line_end(line: &[u8]) -> (&[u8], &[u8]) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").filter(|_| text.len() < line.len()).unwrap_or(text);
    line.split_at(text.len())
}

#[cfg(test)]
#[path = "resolv_conf_tests.rs"]
mod tests;
