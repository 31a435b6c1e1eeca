//! What the user sees: log lines on stderr, in the shape that articles show.
//!
//! `<h:mmAM> <LVL> <text>`, with colour on a terminal only. Everything goes through `tracing`, so
//! that a debug log holds the same lines and more.

pub(crate) mod events;
pub(crate) mod status;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::IsTerminal;
use std::sync::Mutex;

use tracing::{Event, Level, Subscriber, field::Field};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// A line of dashes around what the user waits for.
const DASHES: &str = "---------------------------------------------------------------";

/// Sets up the log; with `debug` also the log file, whose path is returned.
pub(crate) fn start(debug: bool) -> Option<std::path::PathBuf> {
    status::start();
    let level = if debug { "debug" } else { "info" };
    // What the client library tells of each try, we tell once and in our words.
    let ours = format!(
        "warn,kube_client=error,kube_runtime=error,ktctl={level},kt_cluster={level},kt_host={level},kt_wire={level}"
    );
    let colour = std::io::stderr().is_terminal() && !cfg!(windows);
    let terminal = tracing_subscriber::fmt::layer()
        .event_format(Lines { colour, fields: debug })
        .with_writer(status::Above)
        .with_filter(EnvFilter::new(&ours));
    let path = debug.then(|| std::env::temp_dir().join(format!("kt-{}.log", std::process::id())));
    let file = path.as_ref().and_then(|path| {
        let _ = std::fs::remove_file(path); // of a process that had the same number, or a trap
        File::create_new(path).ok()
    });
    let background = file.map(|file| {
        tracing_subscriber::fmt::layer()
            .event_format(Lines { colour: false, fields: true })
            .with_writer(Mutex::new(file))
            .with_filter(EnvFilter::new(&ours))
    });
    tracing_subscriber::registry().with(terminal).with(background).init();
    path
}

/// What the user waits for, between two lines of dashes.
pub(crate) fn ready(texts: &[&str]) {
    status::done();
    tracing::info!("{DASHES}");
    for text in texts {
        tracing::info!("{text}");
    }
    tracing::info!("{DASHES}");
}

/// Text of others, such as an annotation, as one line that no terminal obeys: control characters and
/// those that turn the direction of writing become blanks.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad = |c: char| c.is_control() || turns(c);
    if text.contains(is_bad) { text.replace(is_bad, " ").into() } else { text.into() }
}

struct Lines {
    colour: bool,
    fields: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (level, colour) = match *event.metadata().level() {
            Level::ERROR => ("ERR", 31),
            Level::WARN => ("WRN", 33),
            Level::INFO => ("INF", 32),
            _ => ("DBG", 90),
        };
        let time = jiff::Zoned::now().strftime("%-I:%M%p").to_string();
        match self.colour {
            true => write!(out, "\x1b[90m{time}\x1b[0m \x1b[{colour}m{level}\x1b[0m ")?,
            false => write!(out, "{time} {level} ")?,
        }
        let mut text = Text { message: String::new(), fields: String::new() };
        event.record(&mut text);
        out.write_str(&plain(&text.message))?;
        if self.fields || *event.metadata().level() <= Level::WARN {
            out.write_str(&plain(&text.fields))?;
        }
        writeln!(out)
    }
}

struct Text {
    message: String,
    fields: String,
}

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_becomes_blanks() {
        assert_eq!(
            plain("ann\n10:00AM INF all is well\x1b[2J\u{9b}31m\u{202e}"),
            "ann 10:00AM INF all is well [2J 31m "
        );
        assert_eq!(plain("Müller 你好"), "Müller 你好");
    }
}
