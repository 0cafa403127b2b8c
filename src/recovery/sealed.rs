//! A number with a check beside it, in one word: for what has no record around it.

const LOW: u64 = 0xffff_ffff;

/// The word for a number of up to 32 bits. It is never 0.
pub(super) fn sealed(number: u64) -> u64 {
    number | (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !LOW
}

/// The number; `None`: the word is damaged, or was never written.
pub(super) fn unsealed(word: u64) -> Option<u64> {
    let number = word & LOW;
    (word == sealed(number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        assert_eq!(unsealed(0), None);
        for number in [0, 1, 64, 0x8000_0000, LOW] {
            let word = sealed(number);
            assert_eq!(unsealed(word), Some(number));
            assert!((0..64).all(|bit| unsealed(word ^ 1 << bit).is_none()), "{number}");
        }
    }
}
