//! Whom the packet filter leads away, as rules of it: what `nft` would be told stands beside each.

use std::net::IpAddr;

use kt_wire::Protocol;

use super::message::Attributes;
use super::probes::Probes;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
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

/// Where the callers of a port of the pod are led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) protocol: Protocol,
    pub(super) from: u16,
    pub(super) to: u16,
}

/// The rules, in their order.
pub(super) fn rules(probes: &Probes, redirects: &[Redirect]) -> impl Iterator<Item = Rule> {
    let always = [follow_connections(), of_the_pod_itself()].into_iter();
    let spared = redirects.iter().flat_map(|redirect| spare(probes, redirect));
    always.chain(spared).chain(redirects.iter().map(redirect))
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
pub(super) struct Rule(Attributes);

impl Rule {
    pub(super) fn expressions(self) -> Attributes {
        self.0
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
