//! The table of the pod's packet filter that leads its ports to our listeners.
//!
//! It belongs to the socket that made it (`NFT_TABLE_F_OWNER`, Linux 5.12): when that closes, however
//! this program ends, the kernel takes the table away. Older kernels keep it until it is replaced.
//!
//! It stays for as long as there may be connections that were led here, with a rule which has the
//! kernel follow connections at all: without such a rule it forgets where their packets go.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::message::{Attributes, Batch, answers};
use super::probes::Probes;
use super::rule::{Redirect, rules};

/// The name of the table, and of the chain in it.
const TABLE: &str = "kt_exchange";
const CHAIN: &str = "redirects";
/// `AF_NETLINK` and `NETLINK_NETFILTER`.
const NETLINK: i32 = 16;
const NETFILTER: i32 = 12;
/// `NFT_MSG_NEWTABLE` and so on.
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const DELETE_RULE: u16 = 8;
/// `NLM_F_CREATE` and `NLM_F_APPEND`.
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 0x2;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `EINVAL` and `EOPNOTSUPP`: what kernels say who do not know that a table can have an owner.
const UNKNOWN: [i32; 2] = [22, 95];
/// `MSG_DONTWAIT`.
const DO_NOT_WAIT: i32 = 0x40;
/// The kernel answers before it lets go of the message.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// The table. Gone when dropped, where the kernel is new enough.
pub(super) struct Table {
    socket: Socket,
}

impl Table {
    /// Makes it, without any rule, in the place of what is there.
    pub(super) fn make() -> io::Result<Table> {
        let table = Table::open()?;
        match table.carry_out(&made(OWNER)) {
            Err(error) if is_unknown(&error) => table.carry_out(&made(0))?,
            made => made?,
        }
        Ok(table)
    }

    fn open() -> io::Result<Table> {
        let socket = Socket::new(Domain::from(NETLINK), Type::RAW, Some(NETFILTER.into()))?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Table { socket })
    }

    /// Has exactly these redirects in it from now on; probes are not led away.
    pub(super) fn set(&self, probes: &Probes, redirects: &[Redirect]) -> io::Result<()> {
        self.carry_out(&replaced(probes, redirects))
    }

    /// Takes it away, and so cuts the connections that were led here.
    pub(super) fn remove(self) -> io::Result<()> {
        self.carry_out(&Batch::new().add(DELETE_TABLE, 0, INET, &name()).end())
    }

    fn carry_out(&self, batch: &Batch) -> io::Result<()> {
        self.socket.send(&batch.bytes)?;
        let heard = self.hear(batch.answers);
        if heard.is_err() {
            self.hear_the_rest();
        }
        heard
    }

    /// Fails with the first error.
    fn hear(&self, mut left: usize) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while left > 0 {
            let length = (&self.socket).read(&mut buffer)?;
            let answers = answers(&buffer[..length]);
            if let Some(error) = answers.iter().find(|error| **error != 0) {
                return Err(io::Error::from_raw_os_error(*error));
            }
            left = left.saturating_sub(answers.len());
        }
        Ok(())
    }

    /// A refused batch is answered message by message, too: the next one shall not take what is left
    /// for its own answers. All are there by now.
    fn hear_the_rest(&self) {
        while self.socket.recv_with_flags(&mut [MaybeUninit::uninit(); 64], DO_NOT_WAIT).is_ok() {}
    }
}

fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|error| UNKNOWN.contains(&error))
}

fn name() -> Attributes {
    Attributes::default().text(1, TABLE) // NFTA_TABLE_NAME
}

fn made(flags: u32) -> Batch {
    let table = name().number(2, flags); // NFTA_TABLE_FLAGS
    // What is to be deleted must be there.
    let none = Batch::new().add(NEW_TABLE, CREATE, INET, &table).add(DELETE_TABLE, 0, INET, &name());
    none.add(NEW_TABLE, CREATE, INET, &table).add(NEW_CHAIN, CREATE, INET, &chain()).end()
}

/// Takes all rules away, and makes those that are wanted.
fn replaced(probes: &Probes, redirects: &[Redirect]) -> Batch {
    let none = Batch::new().add(DELETE_RULE, 0, INET, &place());
    let made = rules(probes, redirects).fold(none, |batch, rule| {
        let rule = place().nested(4, &rule.expressions()); // NFTA_RULE_EXPRESSIONS
        batch.add(NEW_RULE, CREATE | APPEND, INET, &rule)
    });
    made.end()
}

/// Where rules are.
fn place() -> Attributes {
    Attributes::default().text(1, TABLE).text(2, CHAIN) // NFTA_RULE_TABLE, _CHAIN
}

/// `type nat hook prerouting priority dstnat`
fn chain() -> Attributes {
    let hook = Attributes::default().number(1, 0).number(2, -100i32 as u32); // NFTA_HOOK_HOOKNUM, _PRIORITY
    let names = Attributes::default().text(1, TABLE).text(3, CHAIN); // NFTA_CHAIN_TABLE, _NAME
    names.nested(4, &hook).text(7, "nat") // NFTA_CHAIN_HOOK, _TYPE
}

#[cfg(test)]
mod tests;
