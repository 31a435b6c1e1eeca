//! Messages of the DNS as bytes: what is looked at and patched without building them anew, so that
//! what we do not know passes unchanged. Never trusts a length.

use std::ops::Range;

/// Bytes of a message's header.
const HEADER: usize = 12;
/// Type of the record that carries EDNS.
const OPT: u16 = 41;
/// Types of questions that ask for a whole zone.
const TRANSFERS: [u16; 2] = [251, 252];
/// The size of answers over UDP that we take ourselves (the common choice since DNS flag day 2020).
const OUR_SIZE: u16 = 1232;
/// What those get over UDP who do not say what they take (RFC 1035).
const LEAST_SIZE: usize = 512;

/// "The query can not be read."
pub(super) const FORMAT_ERROR: u8 = 1;
/// "I could not find out."
pub(super) const SERVER_FAILURE: u8 = 2;
/// "The name does not exist."
pub(super) const NO_SUCH_NAME: u8 = 3;
/// "I do not know how."
pub(super) const NOT_IMPLEMENTED: u8 = 4;
/// "I do not want to."
pub(super) const REFUSED: u8 = 5;

/// A query with one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) bytes: &'a [u8],
    /// The name in lower case, without a dot at its end; `None` when it is no host name, e.g. as a
    /// label holds a dot.
    pub(super) name: Option<String>,
    /// Where the question ends.
    end: usize,
    edns: Option<Edns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edns {
    size: u16,
    dnssec: bool,
}

/// What is done with a message that comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Query(Query<'a>),
    /// The query gets no other answer.
    Answer(Vec<u8>),
    /// It is no query.
    Silence,
}

/// Reads a query.
pub(super) fn read(bytes: &[u8]) -> Read<'_> {
    if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
        return Read::Silence;
    }
    if bytes[2] & 0x78 != 0 {
        return Read::Answer(failure(&bytes[..HEADER], NOT_IMPLEMENTED));
    }
    match read_query(bytes) {
        None => Read::Answer(failure(&bytes[..HEADER], FORMAT_ERROR)),
        Some(query) if TRANSFERS.contains(&query.kind()) => Read::Answer(query.failure(REFUSED)),
        Some(query) => Read::Query(query),
    }
}

fn read_query(bytes: &[u8]) -> Option<Query<'_>> {
    if counts(bytes)?[..2] != [1, 0] {
        return None;
    }
    let (name, end) = read_name(bytes)?;
    let end = end + 4;
    let records = records(bytes)?;
    let opt = records.iter().find(|record| record.kind == OPT);
    let edns = opt.map(|opt| Edns { size: opt.class, dnssec: opt.ttl & 0x8000 != 0 });
    Some(Query { bytes, name, end, edns })
}

impl Query<'_> {
    /// Type of what is asked for.
    pub(super) fn kind(&self) -> u16 {
        word(self.bytes, self.end - 4).unwrap_or(0)
    }

    /// What an answer must have been asked with to answer this query, too.
    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = self.question().to_ascii_lowercase();
        let edns = self.edns.map_or(0, |edns| 1 | u8::from(edns.dnssec) << 1);
        key.push(edns | self.bytes[3] & 0x30); // AD and CD
        key.push(self.bytes[2] & 1); // RD
        key
    }

    /// How large an answer over UDP may be.
    pub(super) fn size(&self) -> usize {
        self.edns.map_or(LEAST_SIZE, |edns| usize::from(edns.size).max(LEAST_SIZE))
    }

    /// Tells whether an answer is about this question.
    pub(super) fn is_answered_by(&self, answer: &[u8]) -> bool {
        let question = answer.get(HEADER..self.end);
        answer.len() >= HEADER
            && answer[2] & 0x80 != 0
            && (question.is_some_and(|question| question.eq_ignore_ascii_case(self.question()))
                || (counts(answer) == Some([0; 4]) && rcode(answer) != 0))
    }

    /// The answer with this query's number and spelling.
    pub(super) fn addressed(&self, mut answer: Vec<u8>) -> Vec<u8> {
        answer[..2].copy_from_slice(&self.bytes[..2]);
        if let Some(question) = answer.get_mut(HEADER..self.end)
            && question.eq_ignore_ascii_case(self.question())
        {
            question.copy_from_slice(self.question());
        }
        answer
    }

    /// The answer, or, when it is too large for UDP, one that says so.
    pub(super) fn fitted(&self, answer: Vec<u8>) -> Vec<u8> {
        if answer.len() <= self.size() {
            return answer;
        }
        let mut short = self.failure(rcode(&answer));
        short[2] |= 0x02;
        short
    }

    /// An answer without records.
    pub(super) fn failure(&self, rcode: u8) -> Vec<u8> {
        let mut answer = failure(&self.bytes[..HEADER], rcode);
        answer[5] = 1;
        answer.extend_from_slice(self.question());
        if self.edns.is_some() {
            answer[11] = 1;
            let [high, low] = OUR_SIZE.to_be_bytes();
            answer.extend_from_slice(&[0, 0, OPT as u8, high, low, 0, 0, 0, 0, 0, 0]);
        }
        answer
    }

    fn question(&self) -> &[u8] {
        &self.bytes[HEADER..self.end]
    }
}

/// An answer without question and records, from the header of a query.
fn failure(header: &[u8], rcode: u8) -> Vec<u8> {
    let mut answer = vec![header[0], header[1], 0x80 | header[2] & 0x79, 0x80 | rcode];
    answer.resize(HEADER, 0);
    answer
}

/// What an answer says.
pub(super) fn rcode(answer: &[u8]) -> u8 {
    answer.get(3).map_or(SERVER_FAILURE, |flags| flags & 0x0f)
}

/// Tells whether an answer was cut as it was too large.
pub(super) fn is_cut(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Tells whether an answer holds records of what was asked for.
pub(super) fn has_answers(answer: &[u8]) -> bool {
    counts(answer).is_some_and(|counts| counts[1] > 0)
}

/// The shortest life of the records in an answer, in seconds; `None` when there are none.
pub(super) fn life(answer: &[u8]) -> Option<u32> {
    records(answer)?.iter().filter(|record| record.kind != OPT).map(|record| record.ttl).min()
}

/// Shortens the life of all records.
pub(super) fn age(answer: &mut [u8], seconds: u32) {
    for record in records(answer).unwrap_or_default() {
        if record.kind != OPT {
            answer[record.ttl_at.clone()].copy_from_slice(&record.ttl.saturating_sub(seconds).to_be_bytes());
        }
    }
}

/// What every record begins with.
struct Record {
    kind: u16,
    class: u16,
    ttl: u32,
    ttl_at: Range<usize>,
}

/// All records of a message; `None` when it is malformed.
fn records(message: &[u8]) -> Option<Vec<Record>> {
    let [questions, rest @ ..] = counts(message)?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = name_end(message, at)? + 4;
    }
    let mut records = Vec::new();
    for _ in 0..rest.iter().map(|count| u32::from(*count)).sum() {
        let head = name_end(message, at)?;
        let ttl_at = head + 4..head + 8;
        let ttl = u32::from_be_bytes(message.get(ttl_at.clone())?.try_into().ok()?);
        let (kind, class) = (word(message, head)?, word(message, head + 2)?);
        records.push(Record { kind, class, ttl, ttl_at });
        at = head + 10 + usize::from(word(message, head + 8)?);
    }
    (at <= message.len()).then_some(records)
}

/// Numbers of questions, answers, authorities and additional records.
fn counts(message: &[u8]) -> Option<[u16; 4]> {
    Some([word(message, 4)?, word(message, 6)?, word(message, 8)?, word(message, 10)?])
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Where a name ends that starts at `at`.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length < 64 => at += 1 + usize::from(length),
            length if length >= 192 => return Some(at + 2),
            _ => return None,
        }
    }
}

/// The name of the question, which nothing before it can shorten, and where it ends.
fn read_name(message: &[u8]) -> Option<(Option<String>, usize)> {
    let (mut at, mut labels) = (HEADER, Some(Vec::new()));
    loop {
        let length = usize::from(*message.get(at)?);
        let label = message.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length >= 64 || at - HEADER > 255 {
            return None;
        }
        if length == 0 {
            message.get(at..at + 4)?;
            return Some((labels.map(|labels| labels.join(".")), at));
        }
        let plain = label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
        let label = plain.then(|| String::from_utf8_lossy(label).to_ascii_lowercase());
        labels = labels.zip(label).map(|(labels, label)| [labels, vec![label]].concat());
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
