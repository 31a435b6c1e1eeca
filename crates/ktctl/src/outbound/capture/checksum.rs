//! The Internet checksum: from scratch (RFC 1071) and for a change (RFC 1624).

/// The ones' complement sum of 16-bit words, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even place; an odd last byte counts as the high half of a word.
    pub(super) fn bytes(self, bytes: &[u8]) -> Sum {
        let words = bytes.chunks_exact(4);
        let rest = words.remainder();
        let sum: u64 =
            words.map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Sum(self.0 + sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds one word.
    pub(super) fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds what turns `old` into `new`.
    pub(super) fn change(self, old: &[u8], new: &[u8]) -> Sum {
        old.chunks_exact(2).zip(new.chunks_exact(2)).fold(self, |sum, (old, new)| {
            sum.word(!u16::from_be_bytes([old[0], old[1]])).word(u16::from_be_bytes([new[0], new[1]]))
        })
    }

    /// Folded to 16 bits.
    pub(super) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// What stands in a checksum field.
    pub(super) fn complement(self) -> u16 {
        !self.folded()
    }
}

/// Applies a change to a checksum field at `at`.
pub(super) fn patch(packet: &mut [u8], at: usize, change: Sum) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&change.word(!old).complement().to_be_bytes());
    }
}

/// Applies a change to a field which holds a sum that is not complemented: that of the pseudo
/// header, to which hardware or kernel will add the rest.
pub(super) fn patch_partial(packet: &mut [u8], at: usize, change: Sum) {
    if let Some(field) = packet.get_mut(at..at + 2) {
        let old = u16::from_be_bytes([field[0], field[1]]);
        field.copy_from_slice(&change.word(old).folded().to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_is_summed() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);

        assert_eq!(sum.folded(), 0xddf2);
        assert_eq!(sum.complement(), 0x220d);
    }

    #[test]
    fn an_odd_last_byte_is_the_high_half_of_a_word() {
        assert_eq!(Sum::default().bytes(&[1, 2, 3]).folded(), 0x0402);
        assert_eq!(Sum::default().bytes(&[1, 2, 3, 4, 5]).folded(), 0x0906);
    }

    #[test]
    fn a_changed_word_gives_the_same_sum_as_from_scratch() {
        let mut bytes = *b"\x45\x00\xff\xff\x00\x00\x12\x34";
        let mut patched = Sum::default().bytes(&bytes).complement().to_be_bytes();
        for new in [[0u8, 0, 0, 1], [0xff, 0xff, 0xff, 0xff], [0, 0, 0, 0], [0x80, 0x00, 0x7f, 0xff]] {
            let change = Sum::default().change(&bytes[2..6], &new);
            bytes[2..6].copy_from_slice(&new);

            patch(&mut patched, 0, change);

            assert_eq!(u16::from_be_bytes(patched), Sum::default().bytes(&bytes).complement());
        }
    }
}
