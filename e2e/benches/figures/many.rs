//! A load of many connections in one thread: one request after the other on each of them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::load::length;

/// Nobody waits longer for any answer.
const PATIENCE_MS: u16 = 30_000;
/// What one read takes at most.
const CHUNK: usize = 256 << 10;
/// The longest head of an answer that comes in more than one part.
const HEAD: usize = 8 << 10;

/// What was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
}

/// Connections that are open to one server.
pub(crate) struct Many {
    poll: Epoll,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    /// The head of an answer, as far as it has come.
    head: Vec<u8>,
    /// Bytes of the body that have to come.
    left: usize,
}

impl Many {
    pub(crate) fn open(to: SocketAddr, count: usize) -> io::Result<Self> {
        let poll = Epoll::new(EpollCreateFlags::empty())?;
        let mut connections = Vec::new();
        for id in 0..count {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, id as u64))?;
            connections.push(Connection { stream, head: Vec::new(), left: 0 });
        }
        Ok(Self { poll, connections })
    }

    /// One request after the other on each, until the time is over; those begun are waited for.
    pub(crate) fn ask_for(&mut self, path: &str, time: Duration) -> io::Result<Made> {
        let (begin, end) = (Instant::now(), Instant::now() + time);
        let requests = self.ask_while(path, || Instant::now() < end)?;
        Ok(Made { requests: requests as f64, seconds: begin.elapsed().as_secs_f64() })
    }

    /// One request on each, all at once.
    pub(crate) fn ask_once(&mut self, path: &str) -> io::Result<()> {
        self.ask_while(path, || false).map(drop)
    }

    fn ask_while(&mut self, path: &str, go_on: impl Fn() -> bool) -> io::Result<usize> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: tomcat\r\nUser-Agent: figures\r\nAccept: */*\r\n\r\n");
        for connection in &mut self.connections {
            connection.ask(&request)?;
        }
        let (mut open, mut done) = (self.connections.len(), 0);
        let mut events = [EpollEvent::empty(); 256];
        let mut chunk = vec![0; CHUNK];
        while open > 0 {
            let count = self.poll.wait(&mut events, PATIENCE_MS)?;
            if count == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            for event in &events[..count] {
                let connection = &mut self.connections[event.data() as usize];
                if !connection.read(&mut chunk)? {
                    continue;
                }
                done += 1;
                match go_on() {
                    true => connection.ask(&request)?,
                    false => open -= 1,
                }
            }
        }
        Ok(done)
    }
}

impl Connection {
    fn ask(&mut self, request: &str) -> io::Result<()> {
        self.stream.write_all(request.as_bytes()) // short: it fits into any buffer of a socket
    }

    /// Reads what has come; tells whether the answer is complete.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<bool> {
        let got = match self.stream.read(chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.left > 0 {
            self.left = self.left.checked_sub(got).ok_or_else(too_much)?;
            return Ok(self.left == 0);
        }
        self.begin(&chunk[..got])
    }

    fn begin(&mut self, part: &[u8]) -> io::Result<bool> {
        self.head.extend_from_slice(part);
        let Some(end) = self.head.windows(4).take(HEAD).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(false);
        };
        let body = usize::try_from(length(&String::from_utf8_lossy(&self.head[..end]))?)
            .map_err(io::Error::other)?;
        self.left = (body + end + 4).checked_sub(self.head.len()).ok_or_else(too_much)?;
        self.head.clear();
        Ok(self.left == 0)
    }
}

fn too_much() -> io::Error {
    io::Error::other("an answer is longer than it says")
}
