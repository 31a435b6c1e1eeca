//! Queries under another name, and their answers under the name that was asked for.

use std::net::IpAddr;

use simple_dns::rdata::RData;
use simple_dns::{Name, Packet};

/// The query, for another name.
pub(super) fn renamed(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::parse(query).ok()?;
    packet.questions.first_mut()?.qname = Name::new(name).ok()?;
    packet.build_bytes_vec().ok()
}

/// The answer, for the name that was asked for: the question and the records of the other name
/// carry it, what aliases lead to keeps its own.
pub(super) fn restored(answer: &[u8], query: &[u8]) -> Option<Vec<u8>> {
    let mut packet = Packet::parse(answer).ok()?;
    let asked = Packet::parse(query).ok()?.questions.into_iter().next()?;
    let other = std::mem::replace(packet.questions.first_mut()?, asked.clone()).qname;
    for record in packet.answers.iter_mut().filter(|record| record.name == other) {
        record.name = asked.qname.clone();
    }
    packet.build_bytes_vec_compressed().ok()
}

/// The addresses that an answer leads to.
pub(super) fn addresses(answer: &[u8]) -> Vec<IpAddr> {
    let Ok(packet) = Packet::parse(answer) else { return Vec::new() };
    let records = packet.answers.iter().chain(&packet.additional_records);
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    };
    records.filter_map(|record| address(&record.rdata)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn an_answer_carries_the_name_that_was_asked_for() {
        let asked = sample::query("tomcat.shop", 1, Some(1232));

        let other = renamed(&asked, "tomcat.shop.svc.cluster.local").expect("query");
        let answer = sample::answer(&other, 0, &[[10, 96, 0, 7]], 5);
        let restored = restored(&answer, &asked).expect("answer");

        let packet = Packet::parse(&restored).expect("packet");
        assert_eq!(packet.questions[0].qname.to_string(), "tomcat.shop");
        assert_eq!(packet.answers[0].name.to_string(), "tomcat.shop");
        assert_eq!(addresses(&restored), ["10.96.0.7".parse::<IpAddr>().expect("address")]);
        assert!(packet.opt().is_some());
    }

    #[test]
    fn what_can_not_be_read_leads_nowhere() {
        assert_eq!(renamed(b"nonsense", "a"), None);
        assert_eq!(restored(b"nonsense", &sample::query("a", 1, None)), None);
        assert_eq!(addresses(b"nonsense"), Vec::<IpAddr>::new());
    }
}
