//! Bytes that are known beforehand: each word depends on its position, so that a block in the
//! wrong place is seen as well as a wrong bit.

use super::{BenchError, Result};

/// What a source holds, and what has to arrive.
#[derive(Debug)]
pub(super) struct Pattern {
    right: Vec<u8>,
    /// With the one wrong byte that a test asked for.
    wrong: Option<Vec<u8>>,
}

impl Pattern {
    /// `length` bytes; `corrupt`: the source has another one at this position.
    pub(super) fn new(length: usize, corrupt: Option<usize>) -> Pattern {
        let words = (0..length.div_ceil(8) as u64).flat_map(|word| mixed(word).to_le_bytes());
        let mut right: Vec<u8> = words.collect();
        right.truncate(length);
        let wrong = corrupt.filter(|at| *at < length).map(|at| {
            let mut bytes = right.clone();
            bytes[at] ^= 1;
            bytes
        });
        Pattern { right, wrong }
    }

    /// What the source holds.
    pub(super) fn source(&self) -> &[u8] {
        self.wrong.as_deref().unwrap_or(&self.right)
    }

    /// Compares what has arrived with the bytes from `at` on; `way`: by which way.
    pub(super) fn check(&self, at: usize, arrived: &[u8], way: &str) -> Result<()> {
        same(&self.right[at..at + arrived.len()], arrived, at, way)
    }
}

/// An error with the first byte that differs.
pub(super) fn same(sent: &[u8], arrived: &[u8], at: usize, way: &str) -> Result<()> {
    if sent == arrived {
        return Ok(());
    }
    let differ = |(one, other): (&u8, &u8)| one != other;
    let first = sent.iter().zip(arrived).position(differ).unwrap_or(sent.len().min(arrived.len()));
    let byte = |bytes: &[u8]| bytes.get(first).map_or("none".into(), |byte| format!("{byte:#04x}"));
    let (sent, arrived) = (byte(sent), byte(arrived));
    let place = at + first;
    Err(BenchError::Wrong(format!("{way}: at {place}: sent {sent}, arrived {arrived}")))
}

/// The finaliser of splitmix64: no word is like that of another position.
fn mixed(word: u64) -> u64 {
    let mut z = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_bit_and_a_swapped_block_are_seen() {
        let pattern = Pattern::new(8192, None);
        let mut arrived = pattern.source().to_vec();
        pattern.check(0, &arrived, "way").unwrap();
        pattern.check(4096, &arrived[4096..], "way").unwrap();
        let error = pattern.check(0, &arrived[4096..], "way").unwrap_err().to_string();
        assert!(error.starts_with("a wrong byte: way: at 0: sent 0x"), "{error}");
        arrived[5000] ^= 0x10;
        let error = pattern.check(0, &arrived, "way").unwrap_err().to_string();
        assert!(error.starts_with("a wrong byte: way: at 5000: sent 0x"), "{error}");
    }

    #[test]
    fn the_corrupted_byte_is_in_the_source_alone() {
        let pattern = Pattern::new(100, Some(99));
        assert!(pattern.check(0, &pattern.source()[..99], "way").is_ok());
        let error = pattern.check(0, pattern.source(), "way").unwrap_err();
        assert!(error.to_string().contains("at 99:"), "{error}");
        let whole = Pattern::new(100, Some(100));
        assert!(whole.check(0, whole.source(), "way").is_ok(), "behind the end");
    }

    #[test]
    fn a_short_arrival_is_no_right_one() {
        let error = same(&[1, 2], &[1], 7, "way").unwrap_err().to_string();
        assert_eq!(error, "a wrong byte: way: at 8: sent 0x02, arrived none");
    }
}
