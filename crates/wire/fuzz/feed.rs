//! Whatever bytes a carrier brings: an end may refuse them, and must not panic, loop or grow.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kt_wire::frame::Frame;
use kt_wire::mux::{Mux, Settings, Side};
use kt_wire::{Open, Refused};

/// Feeds these bytes to both ends of a link.
pub(crate) fn feed(input: &[u8]) {
    let _ = Open::decode(input);
    let _ = Refused::decode(input);
    for side in [Side::Laptop, Side::Cluster] {
        let mut mux = Mux::new(side, Settings::default());
        mux.carrier_up(0, Duration::ZERO).expect("a new link");
        let own = mux.open(&Open::Names);
        let _ = mux.write(own, b"data");
        let mut bytes = BytesMut::from(input);
        let mut now = Duration::ZERO;
        while let Ok(Some(frame)) = Frame::decode(&mut bytes) {
            now += Duration::from_millis(1);
            let stream = frame.stream;
            if mux.receive(frame, now).is_err() {
                break;
            }
            let _ = mux.read(stream, 100, now);
            mux.accept(stream);
            mux.send_datagram(own, Bytes::from_static(b"datagram"));
            while mux.next_frame(now).is_some() {}
            while mux.next_event().is_some() {}
        }
    }
}
