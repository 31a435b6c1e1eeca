//! The numbers of a link in one place.

use std::time::Duration;

use crate::frame::CHUNK;

/// Sizes in bytes. Both ends may have different ones, but for [`first_window`](Settings::first_window).
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much the peer may send on a new stream before it has heard of more credit. Part of the
    /// protocol: both ends begin with 256 KiB.
    pub first_window: u64,
    /// The most credit of one stream.
    pub window_most: u64,
    /// The most credit of all streams together beyond which windows do not grow.
    pub window_total: u64,
    /// How much an application may write ahead of what was sent.
    pub send_buffer: usize,
    /// Received bytes after which an acknowledgement is sent.
    pub acknowledge_every: u64,
    /// The least and the most that may be on its way unacknowledged.
    pub in_flight: (u64, u64),
    /// Streams of the peer beyond which more are refused.
    pub streams_most: usize,
    /// Datagrams that may wait, on a stream and on the link, before more are dropped.
    pub datagrams_most: usize,
    /// The peer is asked for a sign of life this often.
    pub ping_every: Duration,
    /// And this often while bytes are sent, to know how long a round trip takes.
    pub ping_busy: Duration,
    /// A carrier on which nothing was heard for so long is dead.
    pub dead_after: Duration,
    /// The pause before the first and the longest one before a later try for a new carrier.
    pub redial: (Duration, Duration),
    /// The longest time for taking a carrier into use.
    pub hello_within: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            first_window: 256 << 10,
            window_most: 16 << 20,
            window_total: 64 << 20,
            send_buffer: 8 * CHUNK,
            acknowledge_every: 128 << 10,
            in_flight: (256 << 10, 32 << 20),
            streams_most: 16 << 10,
            datagrams_most: 256,
            ping_every: Duration::from_secs(5),
            ping_busy: Duration::from_millis(500),
            dead_after: Duration::from_secs(15),
            redial: (Duration::from_millis(200), Duration::from_secs(10)),
            hello_within: Duration::from_secs(5),
        }
    }
}
