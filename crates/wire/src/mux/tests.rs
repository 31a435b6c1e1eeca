//! Two ends in memory, with a made-up clock and carriers that are cut at any place.

mod cuts;

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::frame::HEADER;
use crate::message::Target;

/// Two ends and what is on its way between them, as bytes.
struct Pair {
    ends: [Mux; 2],
    wires: [BytesMut; 2],
    now: Moment,
    /// Bytes which a carrier still lets through before it is cut, for each direction.
    left: [usize; 2],
}

const LAPTOP: usize = 0;
const CLUSTER: usize = 1;

impl Pair {
    fn new() -> Pair {
        Pair::with(Settings::default())
    }

    fn with(settings: Settings) -> Pair {
        let ends = [Mux::new(Side::Laptop, settings.clone()), Mux::new(Side::Cluster, settings)];
        let mut pair = Pair { ends, wires: Default::default(), now: Moment::ZERO, left: [usize::MAX; 2] };
        pair.connect();
        pair
    }

    /// A new carrier: both ends have told each other what they had received.
    fn connect(&mut self) {
        let received = [self.ends[0].received(), self.ends[1].received()];
        for end in [LAPTOP, CLUSTER] {
            self.ends[end].carrier_up(received[1 - end], self.now).expect("offset");
        }
        self.left = [usize::MAX; 2];
    }

    fn cut(&mut self) {
        self.wires = Default::default();
        self.ends.iter_mut().for_each(Mux::carrier_down);
    }

    /// Sends and delivers once in each direction; tells whether anything moved.
    fn step(&mut self) -> bool {
        self.now += Moment::from_millis(1);
        let mut moved = false;
        for from in [LAPTOP, CLUSTER] {
            while let Some(frame) = self.ends[from].next_frame(self.now) {
                let mut bytes = BytesMut::new();
                frame.encode(&mut bytes);
                bytes.truncate(self.left[from]);
                self.left[from] -= bytes.len();
                self.wires[from].extend_from_slice(&bytes);
                moved = true;
            }
        }
        for from in [LAPTOP, CLUSTER] {
            while let Some(frame) = Frame::decode(&mut self.wires[from]).expect("frames") {
                self.ends[1 - from].heard(self.now);
                self.ends[1 - from].receive(frame, self.now).expect("protocol");
            }
        }
        moved
    }

    fn settle(&mut self) {
        while self.step() {}
    }

    /// Opens a stream from the laptop which the cluster accepts.
    fn stream(&mut self) -> u32 {
        let id = self.ends[LAPTOP].open(&Open::Tcp(Target::Name("tomcat".into(), 8080)));
        self.settle();
        while self.ends[CLUSTER].next_event()
            != Some(Event::Opened(id, Open::Tcp(Target::Name("tomcat".into(), 8080))))
        {}
        self.ends[CLUSTER].accept(id);
        self.settle();
        assert_eq!(self.ends[LAPTOP].answer(id), Some(Ok(())));
        id
    }

    fn read_all(&mut self, end: usize, id: u32) -> (Vec<u8>, Read) {
        let mut all = Vec::new();
        loop {
            match self.ends[end].read(id, usize::MAX, self.now) {
                Read::Data(data) => all.extend_from_slice(&data),
                other => return (all, other),
            }
        }
    }
}

#[test]
fn bytes_go_both_ways_and_each_direction_ends_for_itself() {
    let mut pair = Pair::new();
    let id = pair.stream();

    assert_eq!(pair.ends[LAPTOP].write(id, b"question"), Ok(8));
    pair.ends[LAPTOP].finish(id);
    pair.settle();
    assert_eq!(pair.read_all(CLUSTER, id), (b"question".to_vec(), Read::End));
    assert_eq!(pair.read_all(LAPTOP, id), (vec![], Read::Wait));
    assert_eq!(pair.ends[CLUSTER].write(id, b"answer"), Ok(6));
    pair.ends[CLUSTER].finish(id);
    pair.settle();

    assert_eq!(pair.read_all(LAPTOP, id), (b"answer".to_vec(), Read::End));
    for end in [LAPTOP, CLUSTER] {
        pair.ends[end].release(id);
        assert_eq!(pair.ends[end].streams(), 0);
    }
}

#[test]
fn a_stream_that_was_opened_and_ended_at_once_still_counts_as_opened() {
    let mut pair = Pair::new();
    let id = pair.ends[LAPTOP].open(&Open::Info);
    pair.settle();

    pair.ends[CLUSTER].accept(id);
    let _ = pair.ends[CLUSTER].write(id, b"all of it");
    pair.ends[CLUSTER].finish(id);
    pair.settle();
    pair.ends[CLUSTER].release(id);
    pair.settle();

    assert_eq!(pair.ends[LAPTOP].answer(id), Some(Ok(())));
    assert_eq!(pair.read_all(LAPTOP, id), (b"all of it".to_vec(), Read::End));
}

#[test]
fn a_refusal_says_why() {
    let mut pair = Pair::new();
    let id = pair.ends[LAPTOP].open(&Open::Names);
    pair.settle();
    let why = Refused { reason: Reason::Refused, text: "nobody home".into() };

    pair.ends[CLUSTER].refuse(id, &why);
    pair.settle();

    assert_eq!(pair.ends[LAPTOP].answer(id), Some(Err(why.clone())));
    assert_eq!(pair.ends[LAPTOP].write(id, b"x"), Err(why));
    assert_eq!(pair.ends[CLUSTER].streams(), 0);
}

#[test]
fn a_reader_that_stalls_stops_its_sender_and_nobody_else() {
    let mut pair = Pair::new();
    let (stalled, other) = (pair.stream(), pair.stream());
    let data = vec![7; 64 << 10];
    let window = Settings::default().first_window;

    let mut taken = 0;
    for _ in 0..100 {
        taken += pair.ends[LAPTOP].write(stalled, &data).expect("write") as u64;
        pair.settle();
    }
    assert_eq!(pair.ends[LAPTOP].write(other, b"hello"), Ok(5));
    pair.settle();

    assert_eq!(taken, window + Settings::default().send_buffer as u64);
    assert_eq!(pair.read_all(CLUSTER, other).0, b"hello");
    assert_eq!(pair.read_all(CLUSTER, stalled).0.len() as u64, window);
    pair.settle();
    assert_eq!(pair.read_all(CLUSTER, stalled).0.len() as u64, taken - window, "credit came back");
}

#[test]
fn more_than_the_credit_is_a_violation() {
    let mut pair = Pair::new();
    let id = pair.stream();
    let data = Bytes::from(vec![0; 100 << 10]);

    let results: Vec<_> = (0..3)
        .map(|_| pair.ends[CLUSTER].receive(Frame::new(Kind::Data, id, data.clone()), pair.now))
        .collect();

    assert_eq!(results, [Ok(()), Ok(()), Err(Violation("more data than credit"))]);
}

#[test]
fn a_fast_reader_gets_a_larger_window() {
    let settings = Settings { send_buffer: 4 << 20, ..Settings::default() };
    let mut pair = Pair::with(settings);
    let id = pair.stream();
    let data = vec![0; 4 << 20];

    for _ in 0..200 {
        let _ = pair.ends[LAPTOP].write(id, &data);
        pair.step();
        pair.read_all(CLUSTER, id);
    }

    assert!(
        pair.ends[CLUSTER].windows > 4 * Settings::default().first_window,
        "{}",
        pair.ends[CLUSTER].windows
    );
    assert!(pair.ends[CLUSTER].windows <= Settings::default().window_most);
}

#[test]
fn what_was_written_before_a_reset_by_the_peer_is_still_read() {
    let mut pair = Pair::new();
    let id = pair.stream();

    let _ = pair.ends[CLUSTER].write(id, b"last words");
    pair.settle();
    pair.ends[CLUSTER].reset(id, &Reason::Refused.into());
    pair.settle();

    assert_eq!(pair.read_all(LAPTOP, id), (b"last words".to_vec(), Read::Failed(Reason::Refused.into())));
}

#[test]
fn a_stream_that_was_written_and_let_go_is_still_delivered() {
    let mut pair = Pair::new();
    let id = pair.stream();
    pair.ends[CLUSTER].finish(id);
    pair.settle();

    let _ = pair.ends[LAPTOP].write(id, &vec![1; 100 << 10]);
    pair.ends[LAPTOP].finish(id);
    pair.ends[LAPTOP].release(id);
    pair.settle();

    assert_eq!(pair.ends[LAPTOP].streams(), 0);
    let (data, end) = pair.read_all(CLUSTER, id);
    assert_eq!((data.len(), end), (100 << 10, Read::End));
}

#[test]
fn without_a_carrier_streams_wait_and_datagrams_do_not() {
    let mut pair = Pair::new();
    let id = pair.stream();
    pair.cut();

    let _ = pair.ends[LAPTOP].write(id, b"patience");
    pair.ends[LAPTOP].send_datagram(id, Bytes::from_static(b"lost"));
    pair.settle();
    assert_eq!(pair.read_all(CLUSTER, id), (vec![], Read::Wait));
    pair.connect();
    pair.settle();

    assert_eq!(pair.read_all(CLUSTER, id), (b"patience".to_vec(), Read::Wait));
    assert_eq!(pair.ends[CLUSTER].receive_datagram(id), None);
}

#[test]
fn datagrams_are_dropped_rather_than_queued() {
    let mut pair = Pair::new();
    let id = pair.stream();
    let most = Settings::default().datagrams_most;

    for number in 0..2 * most {
        pair.ends[LAPTOP].send_datagram(id, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    pair.settle();

    let got = std::iter::from_fn(|| pair.ends[CLUSTER].receive_datagram(id)).count();
    assert_eq!(got, most);
}

#[test]
fn a_carrier_on_which_nothing_is_heard_is_dead() {
    let mut pair = Pair::new();
    let settings = Settings::default();

    for _ in 0..20 {
        pair.now += settings.ping_every;
        pair.ends.iter_mut().for_each(|end| end.tick(pair.now));
        pair.settle();
    }
    let heard = pair.now;
    assert!(!pair.ends[LAPTOP].is_dead(pair.now), "pings are answered");

    assert!(!pair.ends[LAPTOP].is_dead(heard + settings.dead_after / 2));
    assert!(pair.ends[LAPTOP].is_dead(heard + settings.dead_after * 2));
}

#[test]
fn the_end_of_a_link_ends_its_streams_at_both_ends() {
    let mut pair = Pair::new();
    let id = pair.stream();
    let why = Refused { reason: Reason::LinkLost, text: "going home".into() };

    pair.ends[LAPTOP].end(&why);
    pair.settle();

    for end in [LAPTOP, CLUSTER] {
        assert_eq!(pair.read_all(end, id).1, Read::Failed(why.clone()));
    }
    let late = pair.ends[LAPTOP].open(&Open::Names);
    assert_eq!(pair.ends[LAPTOP].answer(late), Some(Err(why)));
}
