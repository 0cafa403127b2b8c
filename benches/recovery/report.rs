//! The results as Markdown and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::calls::Call;
use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::cost::{self, Cost};
use crate::million::Million;
use crate::pause::{self, Pauses, Ranks, SETUPS, Setup};

/// All that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Changes when a key changes its meaning or goes away.
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    /// Processes that wanted to run before the first round, on average over a minute.
    pub(crate) load: f64,
    pub(crate) rounds: u32,
    pub(crate) cost_pin: &'static str,
    pub(crate) pauses: Vec<Round<Pauses>>,
    pub(crate) costs: Vec<Round<Cost>>,
    pub(crate) million: Option<Million>,
}

/// A result and where it comes from.
#[derive(Serialize)]
pub(crate) struct Round<T> {
    pub(crate) round: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) setup: Option<Setup>,
    #[serde(flatten)]
    pub(crate) result: T,
}

impl Report {
    /// What was measured where, then a table for each part.
    pub(crate) fn markdown(&self) -> String {
        let (headline, wakeups) = (self.machine.headline(), self.machine.wakeups());
        let mut text = format!(
            "{headline}; {} rounds, interleaved; load at the start {:.2}; fusex {}; {wakeups}.\n",
            self.rounds,
            self.load,
            env!("CARGO_PKG_VERSION"),
        );
        if !self.pauses.is_empty() {
            text.push_str(&self.pause_table());
        }
        if !self.costs.is_empty() {
            text.push_str(&self.cost_table());
        }
        if let Some(million) = &self.million {
            text.push_str(&million_table(million));
        }
        text
    }

    fn pause_table(&self) -> String {
        let mut text = format!(
            "\nThe longest call of one caller around each kill (SIGKILL) of the worker, {} kills a \
             round; in milliseconds, medians over the rounds (least to greatest). Takeover: from \
             the death to the next worker's first read. Quiet: the longest call without a kill. \
             Goal: p50 below 1, p99 below 10.\n\n\
             | mount | call | p50 | p90 | p99 | max | takeover p50 | p99 | quiet p50 | p99 |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            self.pauses.first().map_or(0, |round| round.result.kills)
        );
        for setup in SETUPS {
            for call in pause::CALLS {
                let of = |figure: fn(&Pauses) -> f64| self.pause(setup, call, figure);
                let cells = [
                    of(|it| it.pause_us.p50),
                    of(|it| it.pause_us.p90),
                    of(|it| it.pause_us.p99),
                    of(|it| it.pause_us.max),
                    of(|it| it.takeover_us.p50),
                    of(|it| it.takeover_us.p99),
                    of(|it| it.quiet_us.p50),
                    of(|it| it.quiet_us.p99),
                ];
                let _ = writeln!(
                    text,
                    "| {} inodes, {} open | {} | {} |",
                    setup.inodes,
                    setup.open_files,
                    call.title(),
                    cells.join(" | ")
                );
            }
        }
        text
    }

    fn pause(&self, setup: Setup, call: Call, figure: fn(&Pauses) -> f64) -> String {
        let rounds = self.pauses.iter().filter(|it| it.setup == Some(setup));
        let same = rounds.filter(|it| it.result.call == call);
        spread(Spread::of(same.map(|it| figure(&it.result) / 1e3)), 2)
    }

    fn cost_table(&self) -> String {
        let mut text = format!(
            "\nA call on a supervised mount and on one with `--no-supervise`, in turns, pinning: {}; \
             microseconds, medians (least to greatest round). Goal: a ratio of 1.03 at the \
             most.\n\n\
             | call | supervised | alone | ratio |\n| --- | ---: | ---: | ---: |\n",
            self.cost_pin
        );
        for call in cost::CALLS {
            let of = |figure: fn(&Cost) -> f64, digits| {
                let same = self.costs.iter().filter(|it| it.result.call == call);
                spread(Spread::of(same.map(|it| figure(&it.result))), digits)
            };
            let cells =
                [of(|it| it.supervised_us, 2), of(|it| it.alone_us, 2), of(|it| it.ratio, 3)];
            let _ = writeln!(text, "| {} | {} |", call.title(), cells.join(" | "));
        }
        text
    }
}

fn million_table(million: &Million) -> String {
    let Million { inodes, arena_mib, arena_rss_mib, arena_pss_mib, .. } = million;
    let Million { worker_rss_mib, worker_anon_mib, successor_rss_mib, .. } = million;
    let Pauses { kills, pause_us, takeover_us, .. } = &million.pauses;
    format!(
        "\n{inodes} inodes known to the kernel. Goal: an arena of 256 MiB at the most, and the \
         pauses of ten inodes.\n\n\
         | | |\n| --- | ---: |\n\
         | arena, memory in all | {arena_mib:.1} MiB, {:.0} bytes an inode |\n\
         | arena, mapped by the worker: Rss, Pss | {arena_rss_mib:.1} MiB, {arena_pss_mib:.1} MiB |\n\
         | worker: Rss, of which its own | {worker_rss_mib:.1} MiB, {worker_anon_mib:.1} MiB |\n\
         | Rss of its last successor | {successor_rss_mib:.1} MiB |\n\
         | longest call around {kills} kills, ms | {} |\n\
         | takeover, ms | {} |\n",
        arena_mib * f64::from(1 << 20) / *inodes as f64,
        ranks(pause_us),
        ranks(takeover_us),
    )
}

fn ranks(us: &Ranks) -> String {
    let Ranks { p50, p90, p99, max } = us;
    let ms = |us: &f64| format!("{:.2}", us / 1e3);
    format!("p50 {}, p90 {}, p99 {}, max {}", ms(p50), ms(p90), ms(p99), ms(max))
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(String::new, |Spread { median, min, max }| {
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    })
}
