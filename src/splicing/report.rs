//! What was found: for each combination the figures over all rounds, as they are given out.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::machine::Machine;
use super::pin::Pin;
use super::spread::Spread;
use super::verdict::Verdict;
use super::{Cell, Mode, Sink, Source, name};

/// The version of what the JSON form looks like.
pub const SCHEMA: u32 = 1;
const GIB: f64 = (1u64 << 30) as f64;

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// How many have arrived.
    pub bytes: u64,
    /// In so many blocks.
    pub requests: u64,
    /// From the first to the last.
    pub wall: Duration,
    /// The server's time of the CPUs; `None`: nobody knows.
    pub server: Option<Duration>,
    /// The reader's; `None`: there is none.
    pub client: Option<Duration>,
    /// That of whoever sends packets; `None`: nobody does.
    pub peer: Option<Duration>,
    /// The server's calls of splice(2) that moved bytes; `None`: none was meant to, or nobody knows.
    pub splices: Option<u64>,
    /// What was copied in place of spliced; `None` as above.
    pub fallbacks: Option<Fallbacks>,
    /// The pipe's room; `None` as above.
    pub pipe_bytes: Option<usize>,
}

/// Blocks that were copied in place of spliced, by reason; on a mount requests, which the kernel
/// makes of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// There was less than was asked for.
    pub short: u64,
    /// The pipe had too few buffers.
    pub full: u64,
    /// The kernel refused.
    pub refused: u64,
    /// The bytes had to be looked at.
    pub examined: u64,
}

impl Fallbacks {
    /// Those that there were, of several measurements.
    fn merged(all: &[Fallbacks]) -> Vec<Fallback> {
        let sum = |count: fn(&Fallbacks) -> u64| all.iter().map(count).sum::<u64>();
        let each = [
            ("there was less than asked for", sum(|it| it.short)),
            ("the pipe is full", sum(|it| it.full)),
            ("the kernel refused", sum(|it| it.refused)),
            ("a checksum", sum(|it| it.examined)),
        ];
        let each = each.map(|(reason, blocks)| Fallback { reason: reason.into(), blocks });
        each.into_iter().filter(|it| it.blocks > 0).collect()
    }
}

/// Buffers of a pipe that a block takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slots {
    /// The least.
    pub min: usize,
    /// The mean.
    pub avg: f64,
    /// The most.
    pub max: usize,
}

impl Slots {
    /// `None` of no blocks.
    pub fn of(blocks: &[usize]) -> Option<Slots> {
        let (min, max) = (*blocks.iter().min()?, *blocks.iter().max()?);
        Some(Slots { min, max, avg: blocks.iter().sum::<usize>() as f64 / blocks.len() as f64 })
    }
}

/// Blocks that were copied after all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fallback {
    /// Why.
    pub reason: String,
    /// How many of the blocks of all rounds; on a mount: how many requests.
    pub blocks: u64,
}

/// A figure of a way divided by that of the plain copy in the same round; the median.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Ratios {
    /// Of bytes a second: more is better.
    pub gib_per_s: Option<f64>,
    /// Of the time of a block: less is better.
    pub request_us: Option<f64>,
    /// Of the server's CPU time.
    pub server_cpu: Option<f64>,
    /// Of the client's.
    pub client_cpu: Option<f64>,
    /// Of the peer's.
    pub peer_cpu: Option<f64>,
}

/// The figures of one combination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// From where.
    pub source: Source,
    /// To where.
    pub sink: Sink,
    /// Bytes of a block.
    pub size_bytes: usize,
    /// How.
    pub mode: Mode,
    /// Bytes a second.
    pub gib_per_s: Spread,
    /// Time of a block.
    pub request_us: Spread,
    /// CPU time of the server.
    pub server_cpu_s_per_gib: Option<Spread>,
    /// CPU time of the client.
    pub client_cpu_s_per_gib: Option<Spread>,
    /// CPU time of the peer.
    pub peer_cpu_s_per_gib: Option<Spread>,
    /// The server's calls of splice(2) for a block. Those for the requests themselves are among them.
    pub splices_per_request: Option<f64>,
    /// Buffers of the pipe that a block takes; `None` of a mount, whose pipe only its server can fill
    /// up to count them.
    pub pipe_slots: Option<Slots>,
    /// Room of the pipe that was granted.
    pub pipe_bytes: Option<usize>,
    /// Blocks that were copied in place of spliced; `None`: nobody knows.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Against the plain copy.
    pub ratio_to_copy: Ratios,
    /// Blocks in all rounds.
    pub requests: u64,
}

/// Combinations that there are no figures for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// By this mode,
    pub mode: Mode,
    /// from these sources
    pub sources: Vec<Source>,
    /// to these sinks.
    pub sinks: Vec<Sink>,
    /// Why.
    pub reason: String,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where.
    pub machine: Machine,
    /// Who ran on which CPU.
    pub pin: Pin,
    /// Measurements of each combination.
    pub rounds: u32,
    /// About so many bytes in each.
    pub measurement_bytes: usize,
    /// How long it took.
    pub duration_s: f64,
    /// What was measured, the modes of the same source, sink and size behind each other.
    pub rows: Vec<Row>,
    /// What was not.
    pub left_out: Vec<LeftOut>,
    /// What to make of it, one for each source.
    pub verdicts: Vec<Verdict>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { source, sink, size, mode } = *self;
        write!(f, "{} to {} by {}, {} KiB", name(source), name(sink), name(mode), size >> 10)
    }
}

impl Sample {
    fn gib(&self) -> f64 {
        self.bytes as f64 / GIB
    }

    fn gib_per_s(&self) -> f64 {
        self.gib() / self.wall.as_secs_f64().max(1e-9)
    }

    fn request_us(&self) -> f64 {
        self.wall.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }

    fn per_gib(&self, cpu: Option<Duration>) -> Option<f64> {
        cpu.map(|cpu| cpu.as_secs_f64() / self.gib().max(1e-12))
    }
}

impl Row {
    /// From the samples of a cell, one a round, and those of the plain copy. `None`: there are no
    /// samples.
    pub fn new(
        cell: Cell,
        samples: &[Sample],
        copies: &[Sample],
        pipe_slots: Option<Slots>,
    ) -> Option<Row> {
        let each = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            let figures: Option<Vec<f64>> = samples.iter().map(figure).collect();
            figures.and_then(Spread::of)
        };
        let sum = |figure: &dyn Fn(&Sample) -> Option<u64>| -> Option<u64> {
            samples.iter().map(figure).sum()
        };
        let requests = sum(&|it| Some(it.requests))?;
        let fallbacks: Option<Vec<Fallbacks>> = samples.iter().map(|it| it.fallbacks).collect();
        Some(Row {
            source: cell.source,
            sink: cell.sink,
            size_bytes: cell.size,
            mode: cell.mode,
            gib_per_s: each(&|it| Some(it.gib_per_s()))?,
            request_us: each(&|it| Some(it.request_us()))?,
            server_cpu_s_per_gib: each(&|it| it.per_gib(it.server)),
            client_cpu_s_per_gib: each(&|it| it.per_gib(it.client)),
            peer_cpu_s_per_gib: each(&|it| it.per_gib(it.peer)),
            splices_per_request: sum(&|it| it.splices)
                .map(|splices| splices as f64 / requests.max(1) as f64),
            pipe_slots,
            pipe_bytes: samples.last()?.pipe_bytes,
            fallbacks: fallbacks.as_deref().map(Fallbacks::merged),
            ratio_to_copy: Ratios::of(samples, copies),
            requests,
        })
    }
}

impl Ratios {
    /// Round by round, then the median.
    fn of(samples: &[Sample], copies: &[Sample]) -> Ratios {
        let ratio = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            let pairs = samples.iter().zip(copies);
            let ratios = pairs.filter_map(|(one, copy)| Some(figure(one)? / figure(copy)?));
            Spread::of(ratios.filter(|ratio| ratio.is_finite())).map(|spread| spread.median)
        };
        Ratios {
            gib_per_s: ratio(&|it| Some(it.gib_per_s())),
            request_us: ratio(&|it| Some(it.request_us())),
            server_cpu: ratio(&|it| it.per_gib(it.server)),
            client_cpu: ratio(&|it| it.per_gib(it.client)),
            peer_cpu: ratio(&|it| it.per_gib(it.peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: Cell =
        Cell { source: Source::Unix, sink: Sink::Pipe, size: 131_072, mode: Mode::Splice };

    fn sample(wall_ms: u64, server_ms: u64) -> Sample {
        Sample {
            bytes: 1 << 30,
            requests: 8192,
            wall: Duration::from_millis(wall_ms),
            server: Some(Duration::from_millis(server_ms)),
            client: Some(Duration::from_millis(100)),
            splices: Some(8192 * 3),
            fallbacks: Some(Fallbacks { full: 2, refused: 1, ..Fallbacks::default() }),
            pipe_bytes: Some(1 << 18),
            ..Sample::default()
        }
    }

    #[test]
    fn figures_have_their_units() {
        let samples = [sample(500, 200), sample(250, 100), sample(1000, 300)];
        let copies = [sample(1000, 400), sample(1000, 400), sample(1000, 400)];
        let row = Row::new(CELL, &samples, &copies, Slots::of(&[4, 6, 5])).unwrap();
        assert_eq!(row.gib_per_s, Spread { median: 2.0, min: 1.0, max: 4.0 });
        assert_eq!(row.request_us.median, 0.5e6 / 8192.0);
        assert_eq!(row.server_cpu_s_per_gib, Some(Spread { median: 0.2, min: 0.1, max: 0.3 }));
        assert_eq!(row.peer_cpu_s_per_gib, None, "nobody sent packets");
        assert_eq!(row.splices_per_request, Some(3.0));
        assert_eq!(row.pipe_slots, Some(Slots { min: 4, avg: 5.0, max: 6 }));
        let fallback = |reason: &str, blocks| Fallback { reason: reason.into(), blocks };
        let expected = [fallback("the pipe is full", 6), fallback("the kernel refused", 3)];
        assert_eq!(row.fallbacks.unwrap(), expected, "and none that there were not");
        assert_eq!(row.requests, 3 * 8192);
        let ratios = Ratios {
            gib_per_s: Some(2.0),
            request_us: Some(0.5),
            server_cpu: Some(0.5),
            client_cpu: Some(1.0),
            peer_cpu: None,
        };
        assert_eq!(row.ratio_to_copy, ratios);
    }

    #[test]
    fn a_ratio_is_taken_within_its_round() {
        // The machine was three times as slow in the second round: for both.
        let samples = [sample(100, 50), sample(300, 150), sample(100, 50)];
        let copies = [sample(200, 100), sample(600, 300), sample(200, 100)];
        let row = Row::new(CELL, &samples, &copies, None).unwrap();
        assert_eq!(row.ratio_to_copy.server_cpu, Some(0.5));
        assert_eq!(row.ratio_to_copy.gib_per_s, Some(2.0));
    }

    #[test]
    fn what_is_not_known_is_not_a_number() {
        let unknown = Sample { splices: None, fallbacks: None, server: None, ..sample(1, 1) };
        let row = Row::new(CELL, &[sample(1, 1), unknown], &[], None).unwrap();
        assert_eq!((row.splices_per_request, row.server_cpu_s_per_gib), (None, None));
        assert_eq!((row.fallbacks, row.ratio_to_copy), (None, Ratios::default()));
        assert_eq!(Row::new(CELL, &[], &[], None), None);
    }

    #[test]
    fn a_cell_has_a_name() {
        assert_eq!(CELL.to_string(), "unix to pipe by splice, 128 KiB");
    }
}
