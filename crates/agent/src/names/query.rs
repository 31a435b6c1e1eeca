//! Queries under another name, and their answers under the name that was asked for.

use simple_dns::{Name, Packet, RCODE};

/// What became of one candidate, worst first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No server answered, or it failed.
    Failed,
    /// The name does not exist.
    NoSuchName(Vec<u8>),
    /// The name exists, but has nothing of what was asked for.
    Nothing(Vec<u8>),
    /// Records.
    Found(Vec<u8>),
}

impl Answer {
    pub(super) fn better_of(self, other: Answer) -> Answer {
        let rank = |answer: &Answer| match answer {
            Answer::Failed => 0,
            Answer::NoSuchName(_) => 1,
            Answer::Nothing(_) => 2,
            Answer::Found(_) => 3,
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    pub(super) fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Answer::Failed => None,
            Answer::NoSuchName(bytes) | Answer::Nothing(bytes) | Answer::Found(bytes) => Some(bytes),
        }
    }
}

/// Tells what an answer says.
pub(super) fn judge(answer: Vec<u8>) -> Answer {
    let kind = Packet::parse(&answer).ok().map(|packet| (packet.rcode(), packet.answers.is_empty()));
    match kind {
        Some((RCODE::NoError, false)) => Answer::Found(answer),
        Some((RCODE::NoError, true)) => Answer::Nothing(answer),
        Some((RCODE::NameError, _)) => Answer::NoSuchName(answer),
        _ => Answer::Failed,
    }
}

/// The query, for another name.
pub(super) fn renamed(query: &Packet, name: &str) -> Option<Vec<u8>> {
    let name = Name::new(name).ok()?;
    let mut other = query.clone();
    other.questions.first_mut()?.qname = name;
    other.build_bytes_vec_compressed().ok()
}

/// The answer, for the name that was asked for: question and records of the candidate carry it,
/// what aliases lead to keeps its own.
pub(super) fn restored(answer: &[u8], candidate: &str, asked: &Packet) -> Option<Vec<u8>> {
    let candidate = Name::new(candidate).ok()?;
    let mut packet = Packet::parse(answer).ok()?;
    let name = asked.questions.first()?.qname.clone();
    packet.questions = asked.questions.clone();
    for record in packet.answers.iter_mut().filter(|record| record.name == candidate) {
        record.name = name.clone();
    }
    packet.build_bytes_vec_compressed().ok()
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, CNAME, RData};
    use simple_dns::{CLASS, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

    use super::*;

    fn name(text: &str) -> Name<'_> {
        Name::new(text).expect("name")
    }

    fn query(text: &str) -> Packet<'_> {
        let mut query = Packet::new_query(7);
        query.questions.push(Question::new(
            name(text),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        query
    }

    #[test]
    fn an_answer_carries_the_name_that_was_asked_for() {
        let asked = query("tomcat");
        let bytes = renamed(&asked, "tomcat.dev.svc.cluster.local").expect("query");
        let seen = Packet::parse(&bytes).expect("packet");
        let mut reply = seen.clone().into_reply();
        let alias = RData::CNAME(CNAME(name("other.dev.svc.cluster.local")));
        let address = RData::A(A { address: 0x0a60_0001 });
        reply.answers = vec![
            ResourceRecord::new(name("tomcat.dev.svc.cluster.local"), CLASS::IN, 5, alias),
            ResourceRecord::new(name("other.dev.svc.cluster.local"), CLASS::IN, 5, address),
        ];
        let reply = reply.build_bytes_vec().expect("reply");

        let restored = restored(&reply, "tomcat.dev.svc.cluster.local", &asked).expect("restored");

        let packet = Packet::parse(&restored).expect("packet");
        assert_eq!((packet.id(), &packet.questions[0].qname), (7, &name("tomcat")));
        let owners: Vec<String> = packet.answers.iter().map(|record| record.name.to_string()).collect();
        assert_eq!(owners, ["tomcat", "other.dev.svc.cluster.local"]);
    }

    #[test]
    fn a_name_without_such_records_is_better_than_no_name_and_that_better_than_a_failure() {
        let (no_name, nothing) = (|| Answer::NoSuchName(vec![1]), || Answer::Nothing(vec![2]));

        assert_eq!(Answer::Failed.better_of(no_name()), no_name());
        assert_eq!(no_name().better_of(nothing()), nothing());
        assert_eq!(nothing().better_of(no_name()), nothing());
        assert_eq!(no_name().better_of(Answer::Failed), no_name());
    }
}
