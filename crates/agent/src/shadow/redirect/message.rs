//! Messages to the kernel's packet filter, written by hand: there are few, and they must stay small.
//!
//! Their source are `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and, for all that begins with
//! `NFT`, `linux/netfilter/nf_tables.h`. Heads are in the machine's byte order, numbers of the
//! filter are big-endian.

/// Its `NLMSG_ERROR`, which also says that something was done: error 0.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST` and `NLM_F_ACK`: each message is answered.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// A message's head, and an attribute's.
const HEAD: usize = 16;
const ATTRIBUTE_HEAD: usize = 4;

/// Messages of which the kernel does all or nothing.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// How many answers there will be.
    pub(super) answers: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let mut batch = Batch { bytes: Vec::new(), answers: 0 };
        batch.push(BEGIN, REQUEST, 0, NFTABLES, &[]);
        batch
    }

    /// Adds a message `NFT_MSG_…` about something of a family `NFPROTO_…`.
    pub(super) fn add(mut self, kind: u16, flags: u16, family: u8, attributes: &Attributes) -> Batch {
        self.push(NFTABLES << 8 | kind, REQUEST | ACK | flags, family, 0, &attributes.0);
        self.answers += 1;
        self
    }

    pub(super) fn end(mut self) -> Batch {
        self.push(END, REQUEST, 0, NFTABLES, &[]);
        self
    }

    /// `struct nlmsghdr`, `struct nfgenmsg`, and what belongs to it.
    fn push(&mut self, kind: u16, flags: u16, family: u8, resource: u16, rest: &[u8]) {
        let length = (HEAD + 4 + rest.len()) as u32;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend((self.answers as u32).to_ne_bytes()); // only told back
        self.bytes.extend([0; 4]); // the kernel knows who we are
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(rest);
    }
}

/// What belongs to a message, or to an attribute of it.
#[derive(Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        let length = (ATTRIBUTE_HEAD + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Attributes {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Attributes {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inner: &Attributes) -> Attributes {
        self.bytes(kind | NESTED, &inner.0)
    }
}

/// The errors (0 for none) that a datagram of the kernel tells; other messages tell nothing.
pub(super) fn answers(mut datagram: &[u8]) -> Vec<i32> {
    let mut answers = Vec::new();
    while let Some(head) = datagram.get(..HEAD) {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if let (ERROR, Some(error)) = (kind, datagram.get(HEAD..HEAD + 4)) {
            answers.push(-i32::from_ne_bytes([error[0], error[1], error[2], error[3]]));
        }
        let next = length.max(HEAD).next_multiple_of(4);
        datagram = datagram.get(next..).unwrap_or_default();
    }
    answers
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_has_its_length_and_kind_before_it_and_ends_at_four_bytes() {
        let attributes = Attributes::default().text(1, "ab").number(2, 0x0102);

        assert_eq!(attributes.0, [7, 0, 1, 0, b'a', b'b', 0, 0, 8, 0, 2, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn a_nested_attribute_says_that_it_is_one() {
        let inner = Attributes::default().number(1, 5);

        let outer = Attributes::default().nested(4, &inner);

        assert_eq!(outer.0, [12, 0, 4, 0x80, 8, 0, 1, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn a_batch_has_a_begin_and_an_end_that_are_not_answered() {
        let batch = Batch::new().add(2, 0x400, 1, &Attributes::default().text(1, "t")).end();

        let begin = [20, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        let deed = [28, 0, 0, 0, 2, 10, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 6, 0, 1, 0, b't', 0, 0, 0];
        let end = [20, 0, 0, 0, 0x11, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10];
        assert_eq!(batch.bytes, [&begin[..], &deed, &end].concat());
        assert_eq!(batch.answers, 1);
    }

    #[test]
    fn answers_are_errors_and_whatever_else_comes_is_passed_over() {
        let message = |kind: u8, error: i32| {
            let head = [20, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            [&head[..], &error.to_ne_bytes()].concat()
        };

        let datagram = [message(2, 0), message(3, 7), message(2, -1)].concat();

        assert_eq!(answers(&datagram), [0, 1]);
        assert_eq!(answers(&datagram[..10]), [0; 0]);
        assert_eq!(answers(&[0; 40]), [0; 0], "a length of nothing does not hold us up");
    }
}
