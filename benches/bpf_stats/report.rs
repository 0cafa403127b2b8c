//! The results as Markdown and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::storm::Turn;

/// All that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Changes when a key changes its meaning or goes away.
    pub(crate) schema: u32,
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    pub(crate) pin: &'static str,
    pub(crate) costs: Vec<Cost>,
}

/// One server with one program beside it; of each measurement one figure.
#[derive(Serialize)]
pub(crate) struct Cost {
    pub(crate) server: &'static str,
    /// What ran beside the storm.
    pub(crate) beside: String,
    /// A stat with it.
    pub(crate) with_us: Vec<f64>,
    /// A stat without it: the mean of the storm before and the one after.
    pub(crate) without_us: Vec<f64>,
    /// The first to the second.
    pub(crate) ratios: Vec<f64>,
    /// The same of the CPU time of client and server.
    pub(crate) cpu_ratios: Vec<f64>,
    /// The kernel's memory for its maps and programs.
    pub(crate) memory_bytes: u64,
}

impl Cost {
    pub(crate) fn new(server: &'static str, beside: String) -> Cost {
        let (with_us, without_us) = (Vec::new(), Vec::new());
        let (ratios, cpu_ratios) = (Vec::new(), Vec::new());
        Cost { server, beside, with_us, without_us, ratios, cpu_ratios, memory_bytes: 0 }
    }

    /// Adds one measurement and what was measured around it.
    pub(crate) fn add(&mut self, before: Turn, with: Turn, after: Turn) {
        let without_us = f64::midpoint(before.stat_us, after.stat_us);
        let without_cpu_us = f64::midpoint(before.cpu_us, after.cpu_us);
        self.with_us.push(with.stat_us);
        self.without_us.push(without_us);
        self.ratios.push(with.stat_us / without_us);
        self.cpu_ratios.push(with.cpu_us / without_cpu_us);
    }
}

impl Report {
    /// What was measured where, then the table.
    pub(crate) fn markdown(&self) -> String {
        let (headline, wakeups) = (self.machine.headline(), self.machine.wakeups());
        let mut text = format!(
            "{headline}; {} rounds, interleaved; pinning: {}; fusex {}; {wakeups}.\n\n\
             A stat, each a request or two, with a program beside it to without; microseconds, \
             medians (least to greatest). `nothing` shows the noise. CPU time: of \
             client and server. Memory: the kernel's, for maps \
             and programs. Goal: a ratio of 1.02 at the most.\n\n\
             | server | beside it | without | with | ratio | ratio of CPU time | memory |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
            self.rounds,
            self.pin,
            env!("CARGO_PKG_VERSION"),
        );
        for cost in &self.costs {
            let cells = [
                spread(&cost.without_us, 2),
                spread(&cost.with_us, 2),
                spread(&cost.ratios, 3),
                spread(&cost.cpu_ratios, 3),
                format!("{} KiB", cost.memory_bytes.div_ceil(1024)),
            ];
            let _ = writeln!(text, "| {} | {} | {} |", cost.server, cost.beside, cells.join(" | "));
        }
        text
    }
}

fn spread(values: &[f64], digits: usize) -> String {
    Spread::of(values.iter().copied()).map_or_else(String::new, |Spread { median, min, max }| {
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    })
}
