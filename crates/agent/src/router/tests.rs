//! A router on the loopback, whose upstreams have addresses instead of names.

pub(super) mod bed;
mod commands;
mod edges;
mod http1;
mod http2;
mod live;
mod raw;
