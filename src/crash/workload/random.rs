//! Numbers that look random and are the same for the same seed.

fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One that begins here.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// That of one operation of a thread. It depends on nothing that was done before, so that the
    /// operation stays what it is where others are left out.
    pub(super) fn of_operation(seed: u64, thread: usize, number: u64) -> Random {
        Random(mix(seed ^ mix(number ^ (thread as u64 + 1) << 48)))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// 0 to `limit` - 1.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit.max(1) as u64) as usize
    }

    /// True once in `times`, on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these, of which there is one at least.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// One of these, each known by a number of its own. Which one it is stays the same when
    /// others come or go.
    pub(super) fn steady<T>(
        &mut self,
        from: impl Iterator<Item = T>,
        number: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let salt = self.number();
        from.max_by_key(|one| mix(salt ^ mix(number(one))))
    }

    /// Some bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_stays_where_others_go() {
        for seed in 0..200 {
            let choose = |from: &[u64]| Random::new(seed).steady(from.iter(), |one| **one).copied();
            let all: Vec<u64> = (1..20).collect();
            let chosen = choose(&all).unwrap();
            let fewer: Vec<u64> = all.iter().copied().filter(|n| n % 3 == chosen % 3).collect();
            assert_eq!(choose(&fewer), Some(chosen));
            assert_eq!(choose(&[]), None);
        }
    }

    #[test]
    fn operations_have_their_own_numbers() {
        let first = |thread, number| Random::of_operation(1, thread, number).number();
        let mut all: Vec<u64> = (0..100).flat_map(|n| [first(0, n), first(1, n)]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
