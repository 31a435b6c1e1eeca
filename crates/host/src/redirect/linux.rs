//! Carrying the table out with `nft`, and asking a redirected call where it was meant to go.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use nftables::helper::{DEFAULT_ARGS, DEFAULT_NFT, NftablesError, apply_ruleset_raw};
use nix::sys::socket::{getsockopt, sockopt};
use serde_json::Value;

use super::ruleset::no_ruleset;
use super::{Error, Wanted, ruleset};

/// Replaces our table by the wanted one; blocks while `nft` runs (milliseconds).
pub(crate) fn make(wanted: &Wanted<'_>) -> Result<(), Error> {
    apply(&ruleset(wanted))
}

/// Removes our table; one that is gone already is fine.
pub(crate) fn undo() -> Result<(), Error> {
    apply(&no_ruleset())
}

fn apply(commands: &Value) -> Result<(), Error> {
    match apply_ruleset_raw(&commands.to_string(), DEFAULT_NFT, DEFAULT_ARGS.iter().copied()) {
        Ok(_) => Ok(()),
        Err(NftablesError::NftExecution { inner, .. }) => Err(Error::NoNft(inner)),
        Err(NftablesError::NftFailed { stderr, .. }) => Err(Error::Refused(stderr.trim().to_owned())),
        Err(other) => Err(Error::Refused(other.to_string())),
    }
}

/// Where a redirected TCP connection was meant to go.
///
/// # Errors
/// The connection was not redirected (somebody called the listener directly), or the kernel has
/// forgotten.
pub fn original_destination(socket: &impl AsFd) -> io::Result<SocketAddr> {
    if let Ok(v4) = getsockopt(socket, sockopt::OriginalDst) {
        let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
        return Ok((ip, u16::from_be(v4.sin_port)).into());
    }
    let v6 = getsockopt(socket, sockopt::Ip6tOriginalDst)?;
    let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
    Ok((ip, u16::from_be(v6.sin6_port)).into())
}
