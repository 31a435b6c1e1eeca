//! The table of the pod's packet filter that leads its ports to our listeners.
//!
//! It belongs to the socket that made it (`NFT_TABLE_F_OWNER`, Linux 5.12): when that closes, however
//! this program ends, the kernel takes the table away. Older kernels keep it until it is replaced.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use kt_wire::Protocol;
use socket2::{Domain, Socket, Type};

use super::message::{Attributes, Batch, answers};

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
/// `NLM_F_CREATE` and `NLM_F_APPEND`.
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 0x2;
/// `NFPROTO_INET`, `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `NFT_REG_VERDICT` and `NFT_REG_1`.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_META_IIFNAME`, `NFT_META_NFPROTO` and `NFT_META_L4PROTO`.
const DEVICE: u32 = 6;
const FAMILY: u32 = 15;
const TRANSPORT: u32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// `NFT_RETURN`.
const RETURN: i32 = -5;
/// `EINVAL` and `EOPNOTSUPP`: what kernels say who do not know that a table can have an owner.
const UNKNOWN: [i32; 2] = [22, 95];
/// The kernel answers before it lets go of the message.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Where the callers of a port of the pod are led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) protocol: Protocol,
    pub(super) from: u16,
    pub(super) to: u16,
}

/// The table. Gone when dropped, where the kernel is new enough.
pub(super) struct Table {
    socket: Socket,
    has_owner: bool,
}

impl Table {
    /// Nothing is there yet.
    pub(super) fn open() -> io::Result<Table> {
        let socket = Socket::new(Domain::from(NETLINK), Type::RAW, Some(NETFILTER.into()))?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        Ok(Table { socket, has_owner: true })
    }

    /// Has exactly these redirects in it from now on; those who call from `spared` are not led away.
    pub(super) fn set(&mut self, spared: &[IpAddr], redirects: &[Redirect]) -> io::Result<()> {
        let done = self.carry_out(&replaced(self.has_owner, spared, redirects));
        match done {
            Err(error) if self.has_owner && is_unknown(&error) => {
                self.has_owner = false;
                self.carry_out(&replaced(false, spared, redirects))
            }
            done => done,
        }
    }

    fn carry_out(&self, batch: &Batch) -> io::Result<()> {
        self.socket.send(&batch.bytes)?;
        let (mut left, mut buffer) = (batch.answers, [0; 4096]);
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
}

fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|error| UNKNOWN.contains(&error))
}

/// Takes away what was there, and makes what is wanted; a table without redirects is not made.
fn replaced(has_owner: bool, spared: &[IpAddr], redirects: &[Redirect]) -> Batch {
    let table = Attributes::default().text(1, TABLE); // NFTA_TABLE_NAME
    let owned = match has_owner {
        true => Attributes::default().text(1, TABLE).number(2, OWNER), // NFTA_TABLE_FLAGS
        false => Attributes::default().text(1, TABLE),
    };
    // What is to be deleted must be there.
    let batch = Batch::new().add(NEW_TABLE, CREATE, INET, &owned).add(DELETE_TABLE, 0, INET, &table);
    if redirects.is_empty() {
        return batch.end();
    }
    let made = batch.add(NEW_TABLE, CREATE, INET, &owned).add(NEW_CHAIN, CREATE, INET, &chain());
    let rules = [of_the_pod_itself()].into_iter().chain(spared.iter().map(|from| spare(*from)));
    let rules = rules.chain(redirects.iter().map(redirect));
    rules.fold(made, |batch, rule| batch.add(NEW_RULE, CREATE | APPEND, INET, &rule.attributes())).end()
}

/// `type nat hook prerouting priority dstnat`
fn chain() -> Attributes {
    let hook = Attributes::default().number(1, 0).number(2, -100i32 as u32); // NFTA_HOOK_HOOKNUM, _PRIORITY
    let names = Attributes::default().text(1, TABLE).text(3, CHAIN); // NFTA_CHAIN_TABLE, _NAME
    names.nested(4, &hook).text(7, "nat") // NFTA_CHAIN_HOOK, _TYPE
}

/// `iifname "lo" return`: what calls from the pod itself, and the API server's port-forward.
fn of_the_pod_itself() -> Rule {
    Rule::default().meta(DEVICE).equals(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0").returns()
}

/// `ip saddr ADDRESS return`
fn spare(from: IpAddr) -> Rule {
    match from {
        IpAddr::V4(from) => of_family(IPV4).payload(NETWORK_HEADER, 12, 4).equals(&from.octets()).returns(),
        IpAddr::V6(from) => of_family(IPV6).payload(NETWORK_HEADER, 8, 16).equals(&from.octets()).returns(),
    }
}

fn of_family(family: u8) -> Rule {
    Rule::default().meta(FAMILY).equals(&[family])
}

/// `meta l4proto PROTOCOL th dport FROM redirect to :TO`
fn redirect(redirect: &Redirect) -> Rule {
    let protocol = Rule::default().meta(TRANSPORT).equals(&[redirect.protocol as u8]);
    let port = protocol.payload(TRANSPORT_HEADER, 2, 2).equals(&redirect.from.to_be_bytes());
    port.leads_to(redirect.to)
}

/// Expressions that the kernel evaluates one after the other.
#[derive(Default)]
struct Rule(Attributes);

impl Rule {
    fn attributes(self) -> Attributes {
        let names = Attributes::default().text(1, TABLE).text(2, CHAIN); // NFTA_RULE_TABLE, _CHAIN
        names.nested(4, &self.0) // NFTA_RULE_EXPRESSIONS
    }

    fn with(self, name: &str, data: &Attributes) -> Rule {
        let expression = Attributes::default().text(1, name).nested(2, data); // NFTA_EXPR_NAME, _DATA
        Rule(self.0.nested(1, &expression)) // NFTA_LIST_ELEM
    }

    fn meta(self, key: u32) -> Rule {
        self.with("meta", &Attributes::default().number(1, REGISTER).number(2, key)) // NFTA_META_DREG, _KEY
    }

    /// NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN
    fn payload(self, base: u32, offset: u32, length: u32) -> Rule {
        let place = Attributes::default().number(1, REGISTER).number(2, base);
        self.with("payload", &place.number(3, offset).number(4, length))
    }

    /// NFTA_CMP_SREG, _OP (NFT_CMP_EQ), _DATA
    fn equals(self, value: &[u8]) -> Rule {
        let compared = Attributes::default().number(1, REGISTER).number(2, 0);
        self.with("cmp", &compared.nested(3, &Attributes::default().bytes(1, value))) // NFTA_DATA_VALUE
    }

    /// NFTA_IMMEDIATE_DREG, _DATA
    fn load(self, register: u32, data: &Attributes) -> Rule {
        self.with("immediate", &Attributes::default().number(1, register).nested(2, data))
    }

    fn returns(self) -> Rule {
        let code = Attributes::default().number(1, RETURN as u32); // NFTA_VERDICT_CODE
        self.load(VERDICT, &Attributes::default().nested(2, &code)) // NFTA_DATA_VERDICT
    }

    fn leads_to(self, port: u16) -> Rule {
        let value = Attributes::default().bytes(1, &port.to_be_bytes()); // NFTA_DATA_VALUE
        self.load(REGISTER, &value).with("redir", &Attributes::default().number(1, REGISTER)) // NFTA_REDIR_REG_PROTO_MIN
    }
}

#[cfg(test)]
mod tests;
