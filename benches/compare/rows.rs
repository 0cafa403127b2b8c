//! The rows of the tables: what one figure counts and in which unit it is shown.

use std::time::Duration;

use clap::ValueEnum;

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    StatUncached,
    StatCached,
    Create,
    Unlink,
    #[value(name = "write-128k")]
    Write128K,
    #[value(name = "read-128k")]
    Read128K,
    #[value(name = "write-1m")]
    Write1M,
    #[value(name = "read-1m")]
    Read1M,
    RandomRead,
    RandomWrite,
}

/// What one contestant did once for one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// System calls made: stats, opens, reads.
    pub(crate) ops: u64,
    /// How long they took, from the first to the last.
    pub(crate) wall: Duration,
    /// User and system time of the server meanwhile; `None` where there is no server.
    pub(crate) server_cpu: Option<Duration>,
}

impl Sample {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.ops as f64 / self.wall.as_secs_f64()
    }

    /// The server's microseconds of CPU an operation.
    pub(crate) fn server_us_per_op(&self) -> Option<f64> {
        self.server_cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.ops as f64)
    }
}

impl Row {
    /// As `--only` takes it.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no row is skipped");
        value.get_name().to_string()
    }

    /// As the tables have it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Row::StatUncached => "stat, uncached",
            Row::StatCached => "stat, cached",
            Row::Create => "create",
            Row::Unlink => "unlink",
            Row::Write128K => "sequential write, 128 KiB",
            Row::Read128K => "sequential read, 128 KiB",
            Row::Write1M => "sequential write, 1 MiB",
            Row::Read1M => "sequential read, 1 MiB",
            Row::RandomRead => "random read, 4 KiB",
            Row::RandomWrite => "random write, 4 KiB",
        }
    }

    /// Bytes moved by an operation, for rows that are shown in MiB/s.
    pub(crate) fn block(self) -> Option<usize> {
        match self {
            Row::Write128K | Row::Read128K => Some(128 << 10),
            Row::Write1M | Row::Read1M => Some(1 << 20),
            _ => None,
        }
    }

    /// Operations a second, in the row's unit and with it.
    pub(crate) fn show(self, rate: f64) -> String {
        match self.block() {
            Some(block) => {
                format!("{} MiB/s", thousands(rate * block as f64 / f64::from(1 << 20)))
            }
            None => format!("{}/s", thousands(rate)),
        }
    }

    /// A sample in one phrase.
    pub(crate) fn summary(self, sample: &Sample) -> String {
        let cpu = sample.server_us_per_op().map(|us| format!(" ({us:.1} us)")).unwrap_or_default();
        format!("{} {}{cpu}", self.name(), self.show(sample.rate()))
    }
}

/// A number without decimals, its digits in groups of three.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
