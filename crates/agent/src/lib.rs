//! The programs that run in pods: `shadow`, the cluster end of every tunnel, and `router`, which
//! sends the requests of a meshed Service to whom they are for.

mod info;
mod links;
mod names;
pub mod router;
pub mod shadow;
mod sockets;
