//! The status line: below the log of a terminal it says what is being waited for, and since when.
//!
//! Where stderr is no terminal there is none; the log says the same, less often.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

const TURN_EVERY: Duration = Duration::from_millis(250);

static LINE: OnceLock<ProgressBar> = OnceLock::new();

/// What is being waited for from now on. The clock goes on when only the words change.
pub(crate) fn waiting_for(what: &str) {
    let line = LINE.get_or_init(ProgressBar::hidden);
    let is_new = line.message().is_empty();
    line.set_message(super::plain(what).into_owned());
    if is_new {
        line.reset();
        line.enable_steady_tick(TURN_EVERY);
    }
}

/// It has come, or nobody waits any more.
pub(crate) fn done() {
    if let Some(line) = LINE.get() {
        line.disable_steady_tick();
        line.finish_and_clear(); // first: new words are drawn at once
        line.set_message("");
    }
}

/// Begins to show the line.
pub(super) fn start() {
    let line = ProgressBar::new_spinner(); // draws on terminals only
    if let Ok(style) = ProgressStyle::with_template("{spinner} waiting for {msg} ({elapsed})") {
        line.set_style(style);
    }
    drop(LINE.set(line));
}

/// Writes to stderr, above the line.
pub(super) struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write_all(text);
        match LINE.get().filter(|line| !line.message().is_empty()) {
            Some(line) => line.suspend(write)?,
            None => write()?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Above {
    type Writer = Above;

    fn make_writer(&self) -> Above {
        Above
    }
}
