//! The load, made on the laptop by this same program:
//!
//! - `load get URL SECONDS CONNECTIONS`: small requests on kept connections, one after the other
//!   on each; prints `<requests> <seconds> <median in µs>`.
//! - `load down URL`, `load up URL BYTES`: one transfer; prints `<bytes> <seconds>`.
//! - `load flows URL SECONDS FLOWS`: downloads side by side; after a third of the time prints
//!   `flowing`, in the end the bytes per second of each flow over the rest of the time.
//! - `load stall URL`: asks, reads nothing of the answer, prints `stalled` and waits to be ended.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What one read or write moves at most.
const CHUNK: usize = 256 << 10;
/// Nobody waits longer for a byte; a path that is stuck is an error, not a slow one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the load that the words ask for.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["get", url, seconds, connections] => get(url, number(seconds), number(connections)),
        ["down", url] => down(url),
        ["up", url, bytes] => up(url, number(bytes)),
        ["flows", url, seconds, flows] => flow(url, number(seconds), number(flows)),
        ["stall", url] => stall(url),
        _ => Err(io::Error::other("no such load")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
}

fn get(url: &str, seconds: u64, connections: u64) -> io::Result<()> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(|| requests(url, end))).collect();
        let all: io::Result<Vec<_>> =
            workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect();
        Ok::<_, io::Error>(all?.concat())
    })?;
    took.sort();
    let median = took.get(took.len() / 2).ok_or_else(|| io::Error::other("no answer in time"))?;
    println!("{} {} {}", took.len(), begin.elapsed().as_secs_f64(), median.as_micros());
    Ok(())
}

/// How long each request took. One that was begun in time is waited for.
fn requests(url: &str, end: Instant) -> io::Result<Vec<Duration>> {
    let mut http = Http::connect(url)?;
    let mut took = Vec::new();
    while Instant::now() < end {
        let begin = Instant::now();
        http.ask("GET", 0)?;
        let length = http.answer()?;
        http.read_all(length, |_| true)?;
        took.push(begin.elapsed());
    }
    Ok(took)
}

fn down(url: &str) -> io::Result<()> {
    let begin = Instant::now();
    let mut http = Http::connect(url)?;
    http.ask("GET", 0)?;
    let length = http.answer()?;
    http.read_all(length, |_| true)?;
    println!("{length} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Ends when the other side says that it has all bytes.
fn up(url: &str, bytes: u64) -> io::Result<()> {
    let begin = Instant::now();
    let mut http = Http::connect(url)?;
    http.ask("PUT", bytes)?;
    let chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(CHUNK as u64);
        http.stream.write_all(&chunk[..usize::try_from(part).map_err(io::Error::other)?])?;
        left -= part;
    }
    let length = http.answer()?;
    let counted = http.read_text(length)?;
    if counted.trim() != bytes.to_string() {
        return Err(io::Error::other(format!("{bytes} bytes were sent, {counted} came")));
    }
    println!("{bytes} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn flow(url: &str, seconds: u64, flows: u64) -> io::Result<()> {
    let got: Vec<AtomicU64> = (0..flows).map(|_| AtomicU64::new(0)).collect();
    let over = AtomicBool::new(false);
    let read = || -> Vec<u64> { got.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect() };
    thread::scope(|scope| {
        let workers: Vec<_> = got.iter().map(|got| scope.spawn(|| count(url, got, &over))).collect();
        let time = Duration::from_secs(seconds);
        thread::sleep(time / 3);
        println!("flowing");
        let (begin, before) = (Instant::now(), read());
        thread::sleep(time - time / 3);
        let (after, took) = (read(), begin.elapsed().as_secs_f64());
        over.store(true, Ordering::Relaxed);
        let rates = before.iter().zip(after).map(|(before, after)| (after - before) as f64 / took);
        println!("{}", rates.map(|rate| rate.to_string()).collect::<Vec<_>>().join(" "));
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })
}

/// Downloads until it is over, and adds up what has come so far.
fn count(url: &str, got: &AtomicU64, over: &AtomicBool) -> io::Result<()> {
    let mut http = Http::connect(url)?;
    http.ask("GET", 0)?;
    let length = http.answer()?;
    http.read_all(length, |bytes| {
        got.fetch_add(bytes as u64, Ordering::Relaxed);
        !over.load(Ordering::Relaxed)
    })
}

fn stall(url: &str) -> io::Result<()> {
    let mut http = Http::connect(url)?;
    http.ask("GET", 0)?;
    http.answer()?;
    println!("stalled");
    loop {
        thread::park();
    }
}

/// A client of one connection, for answers that tell their length.
struct Http {
    stream: TcpStream,
    host: String,
    path: String,
    /// What was read behind the last header, `chunk[from..to]`.
    chunk: Vec<u8>,
    from: usize,
    to: usize,
}

impl Http {
    fn connect(url: &str) -> io::Result<Self> {
        let rest = url.strip_prefix("http://").ok_or_else(|| io::Error::other("the URL is not http"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (host, path) = (host.to_owned(), format!("/{path}"));
        Ok(Self { stream, host, path, chunk: vec![0; CHUNK], from: 0, to: 0 })
    }

    fn ask(&mut self, method: &str, length: u64) -> io::Result<()> {
        let (host, path) = (&self.host, &self.path);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        self.stream.write_all(head.as_bytes())
    }

    /// Reads the head of an answer, and tells the length of its body.
    fn answer(&mut self) -> io::Result<u64> {
        self.chunk.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        loop {
            if let Some(end) = self.chunk[..self.to].windows(4).position(|part| part == b"\r\n\r\n") {
                self.from = end + 4;
                return length(&String::from_utf8_lossy(&self.chunk[..end]));
            }
            self.to += self.more()?;
        }
    }

    fn more(&mut self) -> io::Result<usize> {
        match self.stream.read(&mut self.chunk[self.to..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }

    /// Reads a body, and tells of each part; stops early when the answer is false.
    fn read_all(&mut self, length: u64, mut go_on: impl FnMut(usize) -> bool) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.from == self.to {
                (self.from, self.to) = (0, 0);
                self.to = self.more()?;
            }
            let part = (self.to - self.from).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.from += part;
            left -= part as u64;
            if !go_on(part) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a short body, of a few bytes.
    fn read_text(&mut self, length: u64) -> io::Result<String> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        while self.to - self.from < length {
            self.to += self.more()?;
        }
        let text = String::from_utf8_lossy(&self.chunk[self.from..][..length]).into_owned();
        self.from += length;
        Ok(text)
    }
}

/// The length of the body that follows the head of an answer with status 200.
pub(crate) fn length(head: &str) -> io::Result<u64> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("the answer is {status}")));
    }
    let told = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    told.ok_or_else(|| io::Error::other("the answer does not tell its length"))
}
