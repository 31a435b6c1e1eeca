//! A small HTTP server for the router's figures, of one thread, which costs as little as it can.
//!
//! `/N` is answered with N bytes, at once. `/hold/N` is answered when N such requests have come.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::thread;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The longest request.
const HEAD: usize = 8 << 10;
/// What a held request is answered with.
const HELD: &str = "100";

/// A caller, and what it still has to get.
struct Caller {
    stream: TcpStream,
    head: Vec<u8>,
    /// The answer, and how much of it was sent.
    answer: Rc<[u8]>,
    sent: usize,
}

struct Origin {
    poll: Epoll,
    listener: TcpListener,
    callers: HashMap<i32, Caller>,
    held: Vec<i32>,
    /// All answers so far, by their length.
    answers: HashMap<String, Rc<[u8]>>,
}

/// Starts it on any port of the address, in a thread that lives as long as the program.
pub(crate) fn start(address: Ipv4Addr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0))?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    let poll = Epoll::new(EpollCreateFlags::empty())?;
    poll.add(&listener, event(EpollFlags::EPOLLIN, listener.as_raw_fd()))?;
    thread::spawn(move || {
        let (callers, answers) = (HashMap::new(), HashMap::new());
        let mut origin = Origin { poll, listener, callers, held: Vec::new(), answers };
        origin.serve().expect("the origin goes on");
    });
    Ok(at)
}

fn event(what: EpollFlags, of: i32) -> EpollEvent {
    EpollEvent::new(what, of as u64)
}

impl Origin {
    fn serve(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        loop {
            let count = self.poll.wait(&mut events, EpollTimeout::NONE)?;
            for event in &events[..count] {
                self.look_at(event.data() as i32)?;
            }
        }
    }

    fn look_at(&mut self, id: i32) -> io::Result<()> {
        if id == self.listener.as_raw_fd() {
            return self.accept();
        }
        // Whoever breaks off is forgotten, and with its socket closed.
        if !self.go_on(id).unwrap_or(false) {
            self.callers.remove(&id);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let id = stream.as_raw_fd();
            self.poll
                .add(&stream, event(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, id))?;
            self.callers.insert(id, Caller { stream, head: Vec::new(), answer: Rc::default(), sent: 0 });
        }
    }

    /// Sends what goes, and reads what has come; tells whether the caller is still there.
    fn go_on(&mut self, id: i32) -> io::Result<bool> {
        let Some(caller) = self.callers.get_mut(&id) else { return Ok(true) };
        caller.flush()?;
        loop {
            let mut part = [0; HEAD];
            match caller.stream.read(&mut part) {
                Ok(0) => return Ok(false),
                Ok(length) => caller.head.extend_from_slice(&part[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            while caller.head.ends_with(b"\r\n\r\n") {
                let path = path(&caller.head);
                caller.head.clear();
                match path.strip_prefix("hold/") {
                    Some(wanted) => {
                        self.held.push(id);
                        let all = self.held.len().to_string() == wanted;
                        return if all { self.release() } else { Ok(true) };
                    }
                    None => caller.answer(&answer(&mut self.answers, &path))?,
                }
            }
        }
    }

    fn release(&mut self) -> io::Result<bool> {
        for id in self.held.drain(..) {
            if let Some(caller) = self.callers.get_mut(&id) {
                caller.answer(&answer(&mut self.answers, HELD))?;
            }
        }
        Ok(true)
    }
}

impl Caller {
    fn answer(&mut self, answer: &Rc<[u8]>) -> io::Result<()> {
        (self.answer, self.sent) = (answer.clone(), 0);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.answer.len() {
            match self.stream.write(&self.answer[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn answer(known: &mut HashMap<String, Rc<[u8]>>, length: &str) -> Rc<[u8]> {
    let make = || {
        let count: usize = length.parse().unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {count}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; count]].concat().into()
    };
    known.entry(length.to_owned()).or_insert_with(make).clone()
}

/// What is asked for, without the first `/`.
fn path(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    String::from_utf8_lossy(target).trim_start_matches('/').to_owned()
}
