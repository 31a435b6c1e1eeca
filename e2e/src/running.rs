//! A program that runs on a laptop: its words as they come, signals to it, and its end.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What is left to a program for its clean-up when a test drops it.
const GRACE: Duration = Duration::from_secs(15);

/// A program on a laptop. Dropped while it runs, it gets TERM, and KILL 15 s later.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    said: Arc<Said>,
    ended: Option<i32>,
}

/// What an ended program leaves.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: i32,
    /// What it said on standard output and standard error, in the order it came.
    pub text: String,
}

/// The lines said so far, and how many of the two streams are still open.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<(Vec<String>, usize)>,
    changed: Condvar,
}

impl Running {
    /// Starts the command and listens to what it says.
    pub(crate) fn start(mut command: Command) -> Self {
        let line = format!("{command:?}").replace('"', "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {line}: {e}"));
        let said = Arc::new(Said::default());
        said.listen(child.stdout.take());
        said.listen(child.stderr.take());
        Self { line, child, said, ended: None }
    }

    /// Waits until a line contains `text`, and returns the line. Lines said before count.
    ///
    /// # Panics
    /// When it has not come within `secs`, or when the program ended without it.
    pub fn wait_for(&mut self, text: &str, secs: u64) -> String {
        let deadline = Instant::now() + Duration::from_secs(secs);
        let found = self.said.wait(deadline, |lines| lines.iter().find(|line| line.contains(text)).cloned());
        found.unwrap_or_else(|| {
            let how = if self.is_running() { "has not said" } else { "ended without saying" };
            panic!("{} {how} {text:?} within {secs} s, but:\n{}", self.line, self.text())
        })
    }

    /// What it has said so far.
    pub fn text(&self) -> String {
        self.said.lines().join("\n")
    }

    /// Tells whether it runs still.
    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && self.poll().is_none()
    }

    /// Sends a signal by its name, such as `INT`; it reaches the program also under `sudo`.
    pub fn signal(&mut self, name: &str) {
        if self.is_running() {
            let pid = self.child.id().to_string();
            let sent = Command::new("kill").args([format!("-{name}"), pid]).status().expect("run kill");
            assert!(sent.success(), "send {name} to {}", self.line);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it still runs after `secs`.
    pub fn wait(&mut self, secs: u64) -> Ended {
        let code = self.end_by(Instant::now() + Duration::from_secs(secs));
        let code =
            code.unwrap_or_else(|| panic!("{} still runs after {secs} s:\n{}", self.line, self.text()));
        // The last words may arrive after the end. Who inherited the streams may keep them open.
        let _ = self.said.wait(Instant::now() + Duration::from_secs(1), |_| None::<()>);
        Ended { code, text: self.text() }
    }

    /// Interrupts it as Ctrl+C does and waits for its end.
    ///
    /// # Panics
    /// When it still runs after `secs`.
    pub fn interrupt(&mut self, secs: u64) -> Ended {
        self.signal("INT");
        self.wait(secs)
    }

    fn end_by(&mut self, deadline: Instant) -> Option<i32> {
        loop {
            if let Some(code) = self.ended.or_else(|| self.poll()) {
                return Some(code);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The driver of the test bed ends as the program on the laptop did.
    fn poll(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("ask for the end of a program")?;
        self.ended = Some(status.code().unwrap_or(-1));
        self.ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal("TERM");
        if self.end_by(Instant::now() + GRACE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- {} said:\n{}\n----", self.line, self.text());
        }
    }
}

impl Ended {
    /// The words of a program that ended well.
    ///
    /// # Panics
    /// When it did not.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "a program failed: {}", self.text);
        self.text
    }
}

impl Said {
    fn listen(self: &Arc<Self>, stream: Option<impl Read + Send + 'static>) {
        let stream = stream.expect("the stream is a pipe");
        self.state.lock().expect("no listener panics").1 += 1;
        let said = Arc::clone(self);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                said.state
                    .lock()
                    .expect("no listener panics")
                    .0
                    .push(String::from_utf8_lossy(&line).into_owned());
                said.changed.notify_all();
            }
            said.state.lock().expect("no listener panics").1 -= 1;
            said.changed.notify_all();
        });
    }

    fn lines(&self) -> Vec<String> {
        self.state.lock().expect("no listener panics").0.clone()
    }

    /// Waits until `look` finds something, the streams are closed, or time is up.
    fn wait<T>(&self, deadline: Instant, look: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock().expect("no listener panics");
        loop {
            let found = look(&state.0);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || state.1 == 0 || left.is_zero() {
                return found;
            }
            state = self.changed.wait_timeout(state, left).expect("no listener panics").0;
        }
    }
}
