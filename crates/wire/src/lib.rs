//! What laptop and pod say to each other: frames, messages, streams, and links that outlive a
//! cut connection.
//!
//! A [`Link`] joins one run of `ktctl` with one shadow. It is carried by one byte stream at a
//! time, its *carrier*; when that breaks, both ends keep every stream and go on over the next
//! carrier from where the peer had got to. `docs/protocol.md` describes the bytes.
//!
//! From the inside out: [`frame`] is the format, [`mux`] the state machine of one end, without
//! I/O and without a clock, [`hello`] how a carrier is taken into use, [`link`] what ties these
//! to real carriers, and [`relay`](relay()) what carries bytes between a stream and a socket.

pub mod frame;
pub mod hello;
pub mod link;
pub mod message;
pub mod mux;
mod relay;
pub mod rules;

pub use link::{Carrier, Dialer, Incoming, IncomingQueue, Link, LinkState, Stream};
pub use message::{Open, Protocol, Reason, Refused, Target};
pub use mux::Settings;
pub use relay::{Ended, Moved, relay, relay_counted};

/// The versions of the protocol which this end speaks, least and greatest.
pub const VERSIONS: (u8, u8) = (1, 1);
