//! Cluster to laptop: callers of a service reach a program on this laptop.

pub(crate) mod deliver;
