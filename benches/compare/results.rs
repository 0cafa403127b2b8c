//! Samples of one scene gathered over the rounds, and what is made of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::spread::Spread;
use crate::rows::{Row, Sample};

/// Every sample, and who failed where.
#[derive(Default)]
pub(crate) struct Results {
    /// By row and contestant: the round and the sample.
    samples: BTreeMap<(Row, &'static str), BTreeMap<u32, Sample>>,
    failed: BTreeSet<(Row, &'static str)>,
}

impl Results {
    pub(crate) fn add(&mut self, round: u32, name: &'static str, samples: &[(Row, Sample)]) {
        for (row, sample) in samples {
            self.samples.entry((*row, name)).or_default().insert(round, *sample);
        }
    }

    /// One failed round takes the contestant out of these rows.
    pub(crate) fn fail(&mut self, name: &'static str, rows: &[Row]) {
        self.failed.extend(rows.iter().map(|row| (*row, name)));
    }

    /// The contestants that failed anywhere.
    pub(crate) fn failures(&self) -> BTreeSet<&'static str> {
        self.failed.iter().map(|(_, name)| *name).collect()
    }

    /// The samples by round; none of a contestant that failed.
    pub(crate) fn of(&self, row: Row, name: &'static str) -> BTreeMap<u32, Sample> {
        let failed = self.failed.contains(&(row, name));
        self.samples.get(&(row, name)).filter(|_| !failed).cloned().unwrap_or_default()
    }

    /// Operations a second.
    pub(crate) fn rate(&self, row: Row, name: &'static str) -> Option<Spread> {
        Spread::of(self.of(row, name).values().map(Sample::rate))
    }

    /// Server CPU, microseconds an operation.
    pub(crate) fn server_cpu(&self, row: Row, name: &'static str) -> Option<Spread> {
        Spread::of(self.of(row, name).values().filter_map(Sample::server_us_per_op))
    }

    /// The one with the greatest median rate of those that `qualifies` names.
    pub(crate) fn best(&self, row: Row, qualifies: impl Fn(&str) -> bool) -> Option<&'static str> {
        let names = self.samples.keys().filter(|(of, name)| *of == row && qualifies(name));
        let rates = names.filter_map(|(_, name)| Some((*name, self.rate(row, name)?.median)));
        rates.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(name, _)| name)
    }

    /// How much faster `name` is than `base`, each round compared within itself.
    pub(crate) fn ratio(&self, row: Row, name: &'static str, base: &'static str) -> Option<Spread> {
        let base = self.of(row, base);
        let of = self.of(row, name);
        Spread::of(of.iter().filter_map(|(round, sample)| {
            base.get(round).map(|base_sample| sample.rate() / base_sample.rate())
        }))
    }
}
