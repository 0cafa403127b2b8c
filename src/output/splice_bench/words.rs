//! What stands before and behind the figures.

use clap::ValueEnum;
use console::Style;

use crate::output::{Look, bytes, plain};
use crate::splicing::name;
use crate::splicing::report::{Report, Row};

/// What the figures depend on.
pub(super) fn heading(report: &Report) -> String {
    let machine = &report.machine;
    let has = |on| if on { "yes" } else { "no" };
    let uring = match machine.fuse_uring {
        None => "not in this kernel",
        Some(true) => "on",
        Some(false) => "off",
    };
    let pipes = machine.pipe_max_bytes.map_or("?".to_string(), |size| bytes(size as f64));
    let cross = machine
        .wakeup_cross_cpu_us
        .map_or("no second CPU".to_string(), |us| format!("{us:.1} us across two"));
    format!(
        "Linux {}; {} x {}\n\
         CAP_SYS_ADMIN {}, CAP_SYS_RESOURCE {}; pipes up to {pipes}; FUSE over io_uring {uring}\n\
         wake-up round trip {:.1} us on one CPU, {cross}; pinned: {}; {} rounds of {}\n",
        plain(&machine.kernel),
        machine.cpus,
        plain(&machine.cpu_model),
        has(machine.cap_sys_admin),
        has(machine.cap_sys_resource),
        machine.wakeup_same_cpu_us,
        report.pin.name(),
        report.rounds,
        bytes(report.measurement_bytes as f64),
    )
}

/// What was not measured, and what to make of the rest.
pub(super) fn ending(report: &Report, look: Look) -> String {
    let mut text = String::new();
    if !report.left_out.is_empty() {
        text += "not measured:\n";
    }
    for out in &report.left_out {
        let (sources, sinks) = (names(&out.sources), names(&out.sinks));
        let (mode, reason) = (name(out.mode), plain(&out.reason));
        text += &format!("  {mode}, {sources} to {sinks}: {reason}\n");
    }
    if !report.verdicts.is_empty() {
        text += if text.is_empty() { "" } else { "\n" };
        text += "by the server's CPU:\n";
    }
    for verdict in &report.verdicts {
        text += &format!("  {}\n", look.paint(Style::new().bold(), &verdict.text));
    }
    text
}

fn names<T: ValueEnum>(all: &[T]) -> String {
    all.iter().cloned().map(name).collect::<Vec<_>>().join(", ")
}

/// The rows with one source and sink each, in their order.
pub(super) fn groups(rows: &[Row]) -> impl Iterator<Item = (String, &[Row])> {
    let groups = rows.chunk_by(|one, other| (one.source, one.sink) == (other.source, other.sink));
    groups.map(|group| (format!("{} to {}", name(group[0].source), name(group[0].sink)), group))
}

/// The size of a block, without the decimals that all sizes would have alike.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        0x10_0000.. if bytes.is_multiple_of(0x10_0000) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// Green where a way takes less of the server's CPU than a copy, red where it takes more, as far
/// as it is not the spread of the figures.
pub(super) fn style(row: &Row) -> Style {
    match row.ratio_to_copy.server_cpu {
        Some(..0.97) => Style::new().green(),
        Some(1.03..) => Style::new().red(),
        _ => Style::new(),
    }
}
