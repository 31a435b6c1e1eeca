//! What `-o json` tells programs: one JSON object a line, on stdout. README.md has the schema; keys are
//! only ever added to it.
//!
//! A thread writes. What it can not write in time is left out and counted: a program that does not
//! read must not hold up the callers of a service.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kt_cluster::Cluster;
use serde::Serialize;

/// Version of the lines.
const VERSION: u32 = 1;
/// How many lines may wait for a reader.
const BACKLOG: usize = 4096;
/// How long the last lines may take.
const LAST: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// What happens to a run.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Event<'a> {
    /// Calls take their new way.
    Ready(Ready<'a>),
    /// Somebody calls the program on this laptop.
    Caller {
        peer: std::net::IpAddr,
        peer_port: u16,
        protocol: &'static str,
        /// The port of the shadow.
        port: u16,
        laptop_port: u16,
        /// Left out where it is not known, as of datagrams.
        #[serde(skip_serializing_if = "Option::is_none")]
        delivered: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// No carrier leads to this pod at present.
    Lost { pod: &'a str, why: String },
    /// One does again.
    Restored { pod: &'a str },
    /// A shadow is gone, and this one takes its place.
    Shadow { pod: &'a str, replaces: &'a str },
    /// So many lines were left out, because nobody read.
    Missed { count: u64 },
    /// The last line.
    End {
        exit_code: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Commands for what could not be undone, as the log names them.
        remains: Vec<String>,
    },
}

/// What a run stands for from now on.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready<'a> {
    pub(crate) command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<&'a str>,
    pub(crate) context: &'a str,
    pub(crate) namespace: &'a str,
    /// As `service/NAME`, `deployment/NAME`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    pub(crate) ports: Vec<Port>,
    /// By which requests come here, as `key:value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
    /// What requests must have instead of the mark, as typed.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) rules: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<std::net::SocketAddr>,
}

impl<'a> Ready<'a> {
    pub(crate) fn new(cluster: &'a Cluster, command: &'a str, mode: Option<&'a str>) -> Ready<'a> {
        Ready {
            command,
            mode,
            context: cluster.context(),
            namespace: cluster.namespace(),
            ..Ready::default()
        }
    }

    /// With a target, as `service/NAME`.
    pub(crate) fn of(self, kind: impl std::fmt::Display, name: &str) -> Ready<'a> {
        Ready { target: Some(format!("{kind}/{name}")), ..self }
    }
}

/// A port of the shadow, and the program's.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Port {
    pub(crate) laptop: u16,
    pub(crate) cluster: u16,
    pub(crate) protocol: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    /// Of this laptop.
    time: String,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

#[derive(Default)]
struct Sink {
    /// Started with the first line: the program gives up root before it has threads.
    writer: Option<(SyncSender<String>, JoinHandle<()>)>,
    missed: u64,
    remains: Vec<String>,
}

/// From now on events are told. Without this, they are not.
pub(crate) fn start() {
    *sink() = Some(Sink::default());
}

/// Tells an event.
pub(crate) fn say(event: &Event<'_>) {
    if let Some(sink) = sink().as_mut() {
        sink.say(event);
    }
}

/// Keeps for the last line what undoes something that could not be undone.
pub(crate) fn note_remains(commands: impl IntoIterator<Item = String>) {
    if let Some(sink) = sink().as_mut() {
        sink.remains.extend(commands);
    }
}

/// Tells the end, and returns when all is written, or nobody reads it.
pub(crate) fn finish(exit_code: u8, error: Option<String>) {
    let Some(mut sink) = sink().take() else { return };
    let end = Event::End { exit_code, error, remains: std::mem::take(&mut sink.remains) };
    let deadline = Instant::now() + LAST;
    while !sink.say(&end) && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    if let Some((lines, writer)) = sink.writer {
        drop(lines);
        while !writer.is_finished() && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn sink() -> MutexGuard<'static, Option<Sink>> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// False when there was no room.
    fn say(&mut self, event: &Event<'_>) -> bool {
        let (lines, _) = self.writer.get_or_insert_with(|| {
            let (send, lines) = sync_channel(BACKLOG);
            (send, thread::spawn(move || write(&lines, io::stdout())))
        });
        send(lines, &mut self.missed, event)
    }
}

fn send(lines: &SyncSender<String>, missed: &mut u64, event: &Event<'_>) -> bool {
    if *missed > 0 {
        let count = *missed;
        if let Err(TrySendError::Full(_)) = lines.try_send(line(&Event::Missed { count })) {
            *missed += u64::from(!matches!(event, Event::End { .. })); // which is said again
            return false;
        }
        *missed = 0;
    }
    let is_full = matches!(lines.try_send(line(event)), Err(TrySendError::Full(_)));
    *missed += u64::from(is_full && !matches!(event, Event::End { .. }));
    !is_full
}

/// Until there are no more, or the reader has gone.
fn write(lines: &Receiver<String>, mut out: impl Write) {
    for line in lines {
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn line(event: &Event<'_>) -> String {
    let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    serde_json::to_string(&Line { version: VERSION, time, event }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Without its time.
    fn shown(event: &Event<'_>) -> Value {
        let mut line: Value = serde_json::from_str(&line(event)).expect("JSON");
        let time = line.as_object_mut().and_then(|keys| keys.remove("time"));
        let time = time.as_ref().and_then(Value::as_str).expect("each line has a time");
        time.parse::<jiff::Timestamp>().expect("a time");
        line
    }

    #[test]
    fn each_event_is_shown_as_the_readme_says() {
        let rules = ["path:/api".to_owned()];
        let ready = Ready {
            command: "mesh",
            mode: Some("auto"),
            context: "test",
            namespace: "dev",
            target: Some("service/tomcat".into()),
            ports: vec![Port { laptop: 8099, cluster: 8080, protocol: "tcp" }],
            mark: Some("version:v2".into()),
            rules: &rules,
            proxy: None,
        };
        let caller = |delivered, error| Event::Caller {
            peer: [10, 244, 1, 9].into(),
            peer_port: 40112,
            protocol: "tcp",
            port: 8080,
            laptop_port: 8099,
            delivered,
            error,
        };
        let end = Event::End {
            exit_code: 1,
            error: Some("lost".into()),
            remains: vec!["ktctl recover tomcat".into()],
        };
        let events = [
            Event::Ready(ready),
            caller(Some(true), None),
            caller(Some(false), Some("Connection refused".into())),
            Event::Lost { pod: "a", why: "closed".into() },
            Event::Restored { pod: "a" },
            Event::Shadow { pod: "b", replaces: "a" },
            Event::Missed { count: 3 },
            end,
        ];

        let shown: Vec<Value> = events.iter().map(shown).collect();

        let peer = json!({"version": 1, "event": "caller", "peer": "10.244.1.9", "peerPort": 40112,
            "protocol": "tcp", "port": 8080, "laptopPort": 8099, "delivered": true});
        let mut refused = peer.clone();
        refused["delivered"] = json!(false);
        refused["error"] = json!("Connection refused");
        let wanted = json!([
            {"version": 1, "event": "ready", "command": "mesh", "mode": "auto", "context": "test",
             "namespace": "dev", "target": "service/tomcat", "mark": "version:v2", "rules": ["path:/api"],
             "ports": [{"laptop": 8099, "cluster": 8080, "protocol": "tcp"}]},
            peer, refused,
            {"version": 1, "event": "lost", "pod": "a", "why": "closed"},
            {"version": 1, "event": "restored", "pod": "a"},
            {"version": 1, "event": "shadow", "pod": "b", "replaces": "a"},
            {"version": 1, "event": "missed", "count": 3},
            {"version": 1, "event": "end", "exitCode": 1, "error": "lost", "remains": ["ktctl recover tomcat"]},
        ]);
        assert_eq!(Value::from(shown), wanted);
    }

    #[test]
    fn who_does_not_read_misses_events_and_is_told_how_many() {
        let (lines, unread) = sync_channel(1);
        let mut missed = 0;
        let restored = Event::Restored { pod: "a" };

        let said: Vec<bool> = (0..3).map(|_| send(&lines, &mut missed, &restored)).collect();
        let first = unread.recv().expect("a line");
        send(&lines, &mut missed, &restored);

        assert_eq!(said, [true, false, false]);
        assert!(first.contains("restored"), "{first}");
        let next: Value = serde_json::from_str(&unread.recv().expect("a line")).expect("JSON");
        assert_eq!((&next["event"], &next["count"]), (&json!("missed"), &json!(2)));
    }

    #[test]
    fn a_reader_who_has_gone_ends_the_writing() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, read) = sync_channel(2);
        for _ in 0..2 {
            lines.try_send(String::new()).expect("room");
        }

        write(&read, Gone);

        drop(read);
        assert!(send(&lines, &mut 0, &Event::Restored { pod: "a" }), "nothing is waited for");
    }
}
