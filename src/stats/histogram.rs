//! Times in buckets: four to each power of two, so that a quantile is off by an eighth at most.
//!
//! The kernel side (`bpf/stats.h`) counts in the same buckets: bucket 0 holds what is below
//! [`FLOOR_NS`], each following power of two has four, the last has everything above.

/// Below this, in ns, everything is one bucket: no request is answered faster.
pub const FLOOR_NS: u64 = 1 << FLOOR_BITS;
/// How many buckets there are: up to 2^38 ns, four and a half minutes.
pub const BUCKETS: usize = 1 + OCTAVES * STEPS;

const FLOOR_BITS: usize = 8;
const OCTAVES: usize = 30;
const STEPS: usize = 4;

/// How many times were in which bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }
}

/// The bucket that a time belongs to.
pub fn bucket(ns: u64) -> usize {
    if ns < FLOOR_NS {
        return 0;
    }
    let octave = ns.ilog2() as usize;
    let step = (ns >> (octave - 2)) as usize & (STEPS - 1);
    (1 + (octave - FLOOR_BITS) * STEPS + step).min(BUCKETS - 1)
}

/// The first time above a bucket, in ns.
pub fn end_of(bucket: usize) -> u64 {
    start_of(bucket + 1)
}

/// The first time in a bucket, in ns.
pub fn start_of(bucket: usize) -> u64 {
    let Some(bucket) = bucket.checked_sub(1) else {
        return 0;
    };
    let (octave, step) = (FLOOR_BITS + bucket / STEPS, bucket % STEPS);
    (STEPS + step) as u64 * (1 << (octave - 2))
}

impl Histogram {
    /// What the kernel side counted.
    pub fn new(counts: [u64; BUCKETS], sum_ns: u64, max_ns: u64) -> Histogram {
        Histogram { counts, sum_ns, max_ns }
    }

    /// Counts one time.
    pub fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was counted since `earlier`. The greatest time stays this one's: it is that of the
    /// interval already (`bpf/stats.h`).
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(&earlier.counts) {
            *count = count.saturating_sub(*before);
        }
        let sum_ns = self.sum_ns.saturating_sub(earlier.sum_ns);
        Histogram { counts, sum_ns, max_ns: self.max_ns }
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all times, in ns.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The greatest time, in ns.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The time below which `fraction` (0 to 1) of all times are, in ns; 0 when there are none.
    /// The end of the bucket that holds it, and never more than the greatest time.
    pub fn quantile(&self, fraction: f64) -> u64 {
        let count = self.count();
        if count == 0 {
            return 0;
        }
        let rank = ((count as f64 * fraction).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return if bucket == BUCKETS - 1 { self.max_ns } else { end_of(bucket) - 1 }
                    .min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// The buckets, in order.
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// The powers of two: `(first ns, count)` of each between the first and the last that hold
    /// any; the first one starts at 0.
    pub fn octaves(&self) -> Vec<(u64, u64)> {
        let mut octaves = vec![(0, self.counts[0])];
        octaves.extend(
            self.counts[1..]
                .chunks(STEPS)
                .enumerate()
                .map(|(octave, steps)| (FLOOR_NS << octave, steps.iter().sum())),
        );
        let held = |(_, count): &(u64, u64)| *count > 0;
        let Some(first) = octaves.iter().position(held) else {
            return Vec::new();
        };
        let last = octaves.iter().rposition(held).unwrap_or(first);
        octaves[first..=last].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_lies_in_its_bucket() {
        for ns in (0..100_000).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX]) {
            let bucket = bucket(ns);
            assert!(start_of(bucket) <= ns, "{ns} in {bucket}");
            assert!(bucket == BUCKETS - 1 || ns < end_of(bucket), "{ns} in {bucket}");
        }
        let widest = (1..BUCKETS - 1).map(|b| end_of(b) as f64 / start_of(b) as f64);
        assert!(widest.fold(0.0, f64::max) <= 1.25);
    }

    #[test]
    fn quantiles() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), 0);
        (1..=1000).for_each(|us| times.add(us * 1000));
        for (fraction, ns) in [(0.5, 500_000.0), (0.9, 900_000.0), (0.99, 990_000.0)] {
            let found = times.quantile(fraction) as f64;
            assert!((found / ns - 1.0).abs() < 0.25, "{fraction}: {found}");
        }
        assert_eq!(times.quantile(1.0), 1_000_000);
        assert_eq!((times.count(), times.max_ns()), (1000, 1_000_000));
        let mut one = Histogram::default();
        one.add(u64::MAX);
        assert_eq!(one.quantile(0.01), u64::MAX);
    }

    #[test]
    fn octaves_leave_out_the_empty_ends() {
        let mut times = Histogram::default();
        assert!(times.octaves().is_empty());
        [1024, 1025, 2047, 4096].into_iter().for_each(|ns| times.add(ns));
        assert_eq!(times.octaves(), [(1024, 3), (2048, 0), (4096, 1)]);
        times.add(0);
        assert_eq!(times.octaves()[0], (0, 1));
    }

    #[test]
    fn differences() {
        let mut times = Histogram::default();
        times.add(300);
        let before = times.clone();
        times.add(5000);
        let since = times.since(&before);
        assert_eq!((since.count(), since.sum_ns()), (1, 5000));
        assert_eq!(since.octaves(), [(4096, 1)]);
    }
}
