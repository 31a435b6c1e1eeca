//! Messages for tests.

use simple_dns::rdata::{A, OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

/// A query; with `size`, by EDNS.
pub(super) fn query(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut packet = Packet::new_query(0x4b54);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let kind = if kind == 252 { QTYPE::AXFR } else { QTYPE::TYPE(TYPE::from(kind)) };
    packet.questions.push(Question::new(Name::new_unchecked(name), kind, QCLASS::CLASS(CLASS::IN), false));
    *packet.opt_mut() = size.map(|udp_packet_size| OPT { opt_codes: vec![], udp_packet_size, version: 0 });
    packet.build_bytes_vec().expect("query")
}

/// The answer to a query.
pub(super) fn answer(query: &[u8], rcode: u8, addresses: &[[u8; 4]], ttl: u32) -> Vec<u8> {
    let query = Packet::parse(query).expect("query");
    let name = query.questions[0].qname.clone();
    let opt = query.opt().cloned();
    let mut answer = query.into_reply();
    *answer.opt_mut() = opt;
    *answer.rcode_mut() = RCODE::from(u16::from(rcode));
    for address in addresses {
        let address = RData::A(A { address: u32::from_be_bytes(*address) });
        answer.answers.push(ResourceRecord::new(name.clone(), CLASS::IN, ttl, address));
    }
    answer.build_bytes_vec_compressed().expect("answer")
}
