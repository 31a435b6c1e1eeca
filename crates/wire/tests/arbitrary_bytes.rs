//! What the fuzz target does, with bytes that every run of the tests makes up.

#[path = "../fuzz/feed.rs"]
mod feed;

use feed::feed;
use proptest::prelude::*;

const SAMPLE: &[u8] = include_bytes!("../samples/frames.v1");

proptest! {
    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        feed(&bytes);
    }

    #[test]
    fn frames_with_a_few_wrong_bytes_do_no_harm(
        changes in proptest::collection::vec((0..SAMPLE.len(), any::<u8>()), 1..8),
        times in 1..4usize,
    ) {
        let mut bytes = SAMPLE.repeat(times);
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        feed(&bytes);
    }

    #[test]
    fn frames_in_any_order_do_no_harm(
        kinds in proptest::collection::vec((0..16u8, 0..8u32, proptest::collection::vec(any::<u8>(), 0..40)), 0..40),
    ) {
        let mut bytes = Vec::new();
        for (kind, stream, payload) in kinds {
            bytes.extend([kind, 0, 0, payload.len() as u8]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(payload);
        }
        feed(&bytes);
    }
}
