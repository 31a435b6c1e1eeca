//! Whatever is done to a link, and however its carriers are cut: nothing is lost, doubled or mixed up.

use proptest::prelude::*;

use super::*;

/// What a test does to a pair.
#[derive(Clone, Debug)]
enum Deed {
    Open,
    Write { end: usize, stream: usize, length: usize },
    Read { end: usize, stream: usize, most: usize },
    Finish { end: usize, stream: usize },
    Step,
    CutAfter { bytes: [usize; 2] },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        1 => Just(Deed::Open),
        6 => (0..2usize, 0..4usize, 1..100_000usize).prop_map(|(end, stream, length)| Deed::Write { end, stream, length }),
        6 => (0..2usize, 0..4usize, 1..200_000usize).prop_map(|(end, stream, most)| Deed::Read { end, stream, most }),
        1 => (0..2usize, 0..4usize).prop_map(|(end, stream)| Deed::Finish { end, stream }),
        6 => Just(Deed::Step),
        2 => (0..50_000usize, 0..50_000usize).prop_map(|(a, b)| Deed::CutAfter { bytes: [a, b] }),
    ];
    proptest::collection::vec(deed, 1..150)
}

/// What was written to, and read from, one direction of one stream.
#[derive(Default)]
struct Flow {
    written: usize,
    finished: bool,
    read: usize,
    ended: bool,
}

/// The byte at a place of a stream, so that any loss, doubling or mixing-up shows.
fn byte(id: u32, from: usize, place: usize) -> u8 {
    (place as u32).wrapping_mul(2_654_435_761).wrapping_add(id * 7 + from as u32).to_be_bytes()[0]
}

#[derive(Default)]
struct Story {
    ids: Vec<u32>,
    flows: HashMap<(u32, usize), Flow>,
}

impl Story {
    fn write(&mut self, pair: &mut Pair, end: usize, id: u32, length: usize) {
        let flow = self.flows.entry((id, end)).or_default();
        if flow.finished {
            return;
        }
        let data: Vec<u8> = (flow.written..flow.written + length).map(|place| byte(id, end, place)).collect();
        flow.written += pair.ends[end].write(id, &data).expect("an open stream takes bytes");
    }

    fn read(&mut self, pair: &mut Pair, end: usize, id: u32, most: usize) {
        let flow = self.flows.entry((id, 1 - end)).or_default();
        match pair.ends[end].read(id, most, pair.now) {
            Read::Data(data) => {
                for (place, got) in data.iter().enumerate() {
                    assert_eq!(
                        *got,
                        byte(id, 1 - end, flow.read + place),
                        "stream {id} at {}",
                        flow.read + place
                    );
                }
                flow.read += data.len();
            }
            Read::End => flow.ended = true,
            Read::Wait => {}
            Read::Failed(why) => panic!("stream {id} failed: {why}"),
        }
    }

    fn act(&mut self, pair: &mut Pair, deed: &Deed) {
        let stream = |index: &usize, ids: &[u32]| ids.get(*index).copied();
        match deed {
            Deed::Open if self.ids.len() < 4 => {
                let id = pair.ends[LAPTOP].open(&Open::Names);
                self.ids.push(id);
            }
            Deed::Open => {}
            Deed::Write { end, stream: index, length } => {
                if let Some(id) = stream(index, &self.ids).filter(|id| pair.is_open(*end, *id)) {
                    self.write(pair, *end, id, *length);
                }
            }
            Deed::Read { end, stream: index, most } => {
                if let Some(id) = stream(index, &self.ids).filter(|id| pair.is_open(*end, *id)) {
                    self.read(pair, *end, id, *most);
                }
            }
            Deed::Finish { end, stream: index } => {
                if let Some(id) = stream(index, &self.ids).filter(|id| pair.is_open(*end, *id)) {
                    pair.ends[*end].finish(id);
                    self.flows.entry((id, *end)).or_default().finished = true;
                }
            }
            Deed::Step => {
                pair.step();
            }
            Deed::CutAfter { bytes } => {
                pair.left = *bytes;
                pair.step();
                pair.cut();
                pair.connect();
            }
        }
        pair.accept_all();
    }
}

impl Pair {
    fn is_open(&self, end: usize, id: u32) -> bool {
        self.ends[end].answer(id) == Some(Ok(()))
    }

    fn accept_all(&mut self) {
        while let Some(event) = self.ends[CLUSTER].next_event() {
            if let Event::Opened(id, _) = event {
                self.ends[CLUSTER].accept(id);
            }
        }
        while self.ends[LAPTOP].next_event().is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_mixed_up_however_carriers_are_cut(deeds in deeds()) {
        let mut pair = Pair::new();
        let mut story = Story::default();

        for deed in &deeds {
            story.act(&mut pair, deed);
        }
        for _ in 0..400 {
            pair.step();
            pair.accept_all();
            for id in story.ids.clone() {
                for end in [LAPTOP, CLUSTER] {
                    if pair.is_open(end, id) {
                        story.read(&mut pair, end, id, usize::MAX);
                    }
                }
            }
        }

        for ((id, from), flow) in &story.flows {
            prop_assert_eq!(flow.read, flow.written, "stream {} from {}", id, from);
            prop_assert_eq!(flow.ended, flow.finished, "stream {} from {}", id, from);
        }
    }

    #[test]
    fn arbitrary_bytes_never_make_an_end_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        feed(&bytes);
    }

    #[test]
    fn arbitrary_frames_never_make_an_end_panic(
        frames in proptest::collection::vec((1u8..14, 0u32..6, proptest::collection::vec(any::<u8>(), 0..24)), 0..200)
    ) {
        let mut bytes = Vec::new();
        for (kind, stream, payload) in frames {
            bytes.extend_from_slice(&((kind as u32) << 24 | payload.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&payload);
        }
        feed(&bytes);
    }
}

/// Hands bytes to an end which has a stream of its own, until it refuses them.
fn feed(bytes: &[u8]) {
    let mut mux = Mux::new(Side::Cluster, Settings::default());
    mux.carrier_up(0, Moment::ZERO).expect("new");
    let id = mux.open(&Open::Info);
    let _ = mux.write(id, b"data");
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(frame)) = Frame::decode(&mut input) {
        if mux.receive(frame, Moment::from_millis(1)).is_err() {
            break;
        }
        while mux.next_frame(Moment::from_millis(1)).is_some_and(|frame| frame.size() >= HEADER) {}
        let _ = mux.read(id, 10, Moment::from_millis(1));
    }
}
