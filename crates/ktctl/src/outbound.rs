//! Laptop to cluster: the ways in which programs' traffic is taken, and the one way on which it
//! goes.
//!
//! [`capture`] takes it from the device, [`redirect`] from the packet filter, [`proxy`] from
//! programs that know of it. All of them open flows with [`dial`], whose other half is
//! `agent/shadow/outbound`.

pub(crate) mod capture;
pub(crate) mod dial;
pub(crate) mod proxy;
pub(crate) mod redirect;
