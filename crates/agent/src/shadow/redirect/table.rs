//! The table of the pod's packet filter that leads its ports to our listeners.
//!
//! It belongs to the socket that made it (`NFT_TABLE_F_OWNER`, Linux 5.12): when that closes, however
//! this program ends, the kernel takes the table away. Older kernels keep it until it is replaced.
//!
//! It stays for as long as there may be connections that were led here, with a rule which has the
//! kernel follow connections at all: without such a rule it forgets where their packets go.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use kt_wire::Protocol;
use socket2::{Domain, Socket, Type};

use super::message::{Attributes, Batch, answers};
use super::probes::Probes;

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
/// `NFT_CT_STATE`.
const STATE: u32 = 0;
/// `NFT_PAYLOAD_NETWORK_HEADER` and `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
/// Of TCP's flags FIN, SYN, RST and ACK, and the only one of them which a connection begins with.
const FLAGS: u8 = 0x17;
const SYN: u8 = 0x02;
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
}

impl Table {
    /// Makes it, without any rule, in the place of what is there.
    pub(super) fn make() -> io::Result<Table> {
        let socket = Socket::new(Domain::from(NETLINK), Type::RAW, Some(NETFILTER.into()))?;
        socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
        let table = Table { socket };
        match table.carry_out(&made(OWNER)) {
            Err(error) if is_unknown(&error) => table.carry_out(&made(0))?,
            made => made?,
        }
        Ok(table)
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
    let none = Batch::new().add(DELETE_RULE, 0, INET, &Rule::place());
    let always = [follow_connections(), of_the_pod_itself()].into_iter();
    let rules = always.chain(redirects.iter().flat_map(|redirect| spare(probes, redirect)));
    let rules = rules.chain(redirects.iter().map(redirect));
    rules.fold(none, |batch, rule| batch.add(NEW_RULE, CREATE | APPEND, INET, &rule.attributes())).end()
}

/// `type nat hook prerouting priority dstnat`
fn chain() -> Attributes {
    let hook = Attributes::default().number(1, 0).number(2, -100i32 as u32); // NFTA_HOOK_HOOKNUM, _PRIORITY
    let names = Attributes::default().text(1, TABLE).text(3, CHAIN); // NFTA_CHAIN_TABLE, _NAME
    names.nested(4, &hook).text(7, "nat") // NFTA_CHAIN_HOOK, _TYPE
}

/// `ct state`, which is compared with nothing.
fn follow_connections() -> Rule {
    Rule::default().with("ct", &Attributes::default().number(1, REGISTER).number(2, STATE)) // NFTA_CT_DREG, _KEY
}

/// `iifname "lo" return`: what calls from the pod itself, and the API server's port-forward.
fn of_the_pod_itself() -> Rule {
    Rule::default().meta(DEVICE).equals(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0").returns()
}

/// `ip saddr ADDRESS tcp dport FROM return`, for each address of the node.
fn spare(probes: &Probes, redirect: &Redirect) -> impl Iterator<Item = Rule> {
    let is_probed = redirect.protocol == Protocol::Tcp && probes.ports.contains(&redirect.from);
    let from = if is_probed { &probes.from[..] } else { &[] };
    from.iter().map(|from| to_port(of_address(*from), redirect).returns())
}

fn of_address(from: IpAddr) -> Rule {
    match from {
        IpAddr::V4(from) => of_family(IPV4).payload(NETWORK_HEADER, 12, 4).equals(&from.octets()),
        IpAddr::V6(from) => of_family(IPV6).payload(NETWORK_HEADER, 8, 16).equals(&from.octets()),
    }
}

fn of_family(family: u8) -> Rule {
    Rule::default().meta(FAMILY).equals(&[family])
}

/// `meta l4proto PROTOCOL th dport FROM redirect to :TO`; of TCP only what begins: to a table that is
/// new all packets are of connections which it has not seen before.
fn redirect(redirect: &Redirect) -> Rule {
    let port = to_port(Rule::default(), redirect);
    let first = match redirect.protocol {
        Protocol::Tcp => port.payload(TRANSPORT_HEADER, 13, 1).masked(FLAGS).equals(&[SYN]),
        Protocol::Udp => port,
    };
    first.leads_to(redirect.to)
}

fn to_port(rule: Rule, redirect: &Redirect) -> Rule {
    let protocol = rule.meta(TRANSPORT).equals(&[redirect.protocol as u8]);
    protocol.payload(TRANSPORT_HEADER, 2, 2).equals(&redirect.from.to_be_bytes())
}

/// Expressions that the kernel evaluates one after the other.
#[derive(Default)]
struct Rule(Attributes);

impl Rule {
    fn place() -> Attributes {
        Attributes::default().text(1, TABLE).text(2, CHAIN) // NFTA_RULE_TABLE, _CHAIN
    }

    fn attributes(self) -> Attributes {
        Rule::place().nested(4, &self.0) // NFTA_RULE_EXPRESSIONS
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

    /// NFTA_BITWISE_SREG, _DREG, _LEN, _MASK, _XOR; the values are NFTA_DATA_VALUE.
    fn masked(self, mask: u8) -> Rule {
        let registers = Attributes::default().number(1, REGISTER).number(2, REGISTER).number(3, 1);
        let mask = registers.nested(4, &Attributes::default().bytes(1, &[mask]));
        self.with("bitwise", &mask.nested(5, &Attributes::default().bytes(1, &[0])))
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
