//! A transfer over one connection, to see whether all its bytes arrive as they were sent.

use std::time::Duration;

use crate::{Laptop, Running, wait_until};

/// Sends blocks to a pod's echo service, each of them other bytes, and compares what comes back
/// block by block; ends with code 1 at the first difference. Told to end, it sends no more, and
/// ends with code 0 when all has come back.
#[derive(Debug)]
pub struct Transfer {
    run: Running,
}

impl Transfer {
    /// Starts to exchange so many bytes per second with the pod at this address, both ways, and
    /// returns after the first ones have come back.
    pub fn start(laptop: &Laptop, address: &str, rate: u64) -> Self {
        let mut run = laptop.start(&["python3", "-c", BLOCKS, address, &rate.to_string()]);
        run.wait_for(" bytes", 15);
        Self { run }
    }

    /// Waits until more bytes have come back.
    ///
    /// # Panics
    /// When they have not within `secs`.
    pub fn goes_on(&self, secs: u64) {
        self.reaches(self.bytes() + 1, secs);
    }

    /// Waits until so many bytes have come back since it began.
    ///
    /// # Panics
    /// When they have not within `secs`.
    pub fn reaches(&self, bytes: u64, secs: u64) {
        wait_until("the transfer goes on", Duration::from_secs(secs), || {
            (self.bytes() >= bytes).then_some(())
        });
    }

    /// How many bytes have come back as they were sent.
    pub fn bytes(&self) -> u64 {
        let text = self.run.text();
        let last = text.lines().rev().find_map(|line| line.strip_suffix(" bytes")?.parse().ok());
        last.unwrap_or_default()
    }

    /// Ends it, and shows that every byte came back as it was sent.
    ///
    /// # Panics
    /// When one did not within `secs`.
    pub fn ends_whole(mut self, secs: u64) {
        self.run.signal("TERM");
        let ended = self.run.wait(secs);
        assert!(ended.code == 0 && ended.text.ends_with("all came back"), "{}", ended.text);
    }
}

const BLOCKS: &str = r#"
import random, signal, socket, sys, threading, time
SIZE = 1 << 16
address, rate = sys.argv[1], int(sys.argv[2])
ending = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ending.set())
flow = socket.create_connection((address, 7000), 5)
flow.settimeout(None)
sent = 0

def block(number):
    return random.Random(number).randbytes(SIZE)

def send():
    global sent
    begin = time.monotonic()
    while not ending.is_set():
        flow.sendall(block(sent))
        sent += 1
        ending.wait(max(0, sent * SIZE / rate - (time.monotonic() - begin)))
    flow.shutdown(socket.SHUT_WR)

def compare():
    back = flow.makefile("rb")
    back.readline() # the greeting
    got = 0
    while data := back.read(SIZE):
        if data != block(got):
            sys.exit(f"block {got} is not what was sent: {len(data)} bytes")
        got += 1
        if got % 8 == 0:
            print(got * SIZE, "bytes", flush=True)
    if not ending.is_set() or got != sent:
        sys.exit(f"{got} of {sent} blocks came back")
    print("all came back", flush=True)

threading.Thread(target=send, daemon=True).start()
compare()
"#;
