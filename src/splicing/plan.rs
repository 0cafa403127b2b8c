//! Which combinations there are. What makes no sense or cannot be had here is left out, and said.

use super::machine::Machine;
use super::report::LeftOut;
use super::{Cell, Config, Mode, Sink, Source};

/// What is going to be measured, and what is not.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// In the order of rows: source, sink, size, mode.
    pub(super) cells: Vec<Cell>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Plan {
    /// All that a configuration asks for.
    pub(super) fn new(config: &Config, machine: &Machine) -> Plan {
        let (mut cells, mut left_out) = (Vec::new(), Vec::new());
        for (source, sink, mode) in ways(config) {
            match why_not(machine, source, sink, mode) {
                None => {
                    let cell = |size: &usize| Cell { source, sink, size: *size, mode };
                    cells.extend(config.sizes.iter().map(cell));
                }
                Some(reason) => leave_out(&mut left_out, source, sink, mode, reason),
            }
        }
        cells.sort();
        Plan { cells, left_out: merged(left_out) }
    }
}

fn ways(config: &Config) -> Vec<(Source, Sink, Mode)> {
    let mut ways = Vec::new();
    for mode in &config.modes {
        for source in &config.sources {
            ways.extend(config.sinks.iter().map(|sink| (*source, *sink, *mode)));
        }
    }
    if config.mount.is_some() {
        let mounts = config.sinks.iter().filter(|sink| sink.is_mount());
        ways.extend(mounts.map(|sink| (Source::File, *sink, Mode::Existing)));
    }
    ways
}

/// Adds one combination to those that are left out.
pub(super) fn leave_out(
    to: &mut Vec<LeftOut>,
    source: Source,
    sink: Sink,
    mode: Mode,
    reason: String,
) {
    let like =
        to.iter_mut().find(|it| it.mode == mode && it.sources == [source] && it.reason == reason);
    match like {
        Some(like) if like.sinks.contains(&sink) => {}
        Some(like) => like.sinks.push(sink),
        None => to.push(LeftOut { mode, sources: vec![source], sinks: vec![sink], reason }),
    }
}

/// Sources with the same sinks and the same reason together: each reason is said once.
pub(super) fn merged(all: Vec<LeftOut>) -> Vec<LeftOut> {
    let mut merged: Vec<LeftOut> = Vec::new();
    for one in all {
        let like = merged
            .iter_mut()
            .find(|it| (it.mode, &it.sinks, &it.reason) == (one.mode, &one.sinks, &one.reason));
        match like {
            Some(like) => like.sources.extend(one.sources),
            None => merged.push(one),
        }
    }
    merged
}

fn why_not(machine: &Machine, source: Source, sink: Sink, mode: Mode) -> Option<String> {
    let reason = match (mode, sink.is_mount()) {
        (Mode::Passthrough | Mode::Uring, false) => "only a mount has it",
        (Mode::Iovec, false) if source == Source::File => {
            "a file has no header and no footer: it would be the same as copy"
        }
        (Mode::Iovec, true) => "how packets are read is up to the mount's server: see copy",
        (Mode::Fallback, true) => "a mount's server cannot be made to run out of pipe",
        (Mode::Passthrough, true) if source != Source::File => "only a local file can be passed on",
        (Mode::Passthrough, true) if !machine.cap_sys_admin => "needs CAP_SYS_ADMIN: run as root",
        (Mode::Uring, true) if machine.fuse_uring.is_none() => {
            "the kernel has no FUSE over io_uring: Linux 6.14 has it"
        }
        (Mode::Uring, true) if machine.fuse_uring == Some(false) => {
            "it is switched off: echo Y > /sys/module/fuse/parameters/enable_uring"
        }
        _ => return None,
    };
    Some(reason.into())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::super::pin::Pin;
    use super::*;

    fn machine() -> Machine {
        Machine {
            kernel: "6.18.0".into(),
            cpus: 2,
            cpu_model: "some".into(),
            cap_sys_admin: true,
            cap_sys_resource: true,
            pipe_max_bytes: Some(1 << 20),
            fuse_uring: Some(true),
            wakeup_same_cpu_us: 5.0,
            wakeup_cross_cpu_us: Some(50.0),
        }
    }

    fn config() -> Config {
        Config {
            sources: Source::value_variants().to_vec(),
            sizes: vec![4096, 1 << 20],
            modes: Mode::value_variants()
                .iter()
                .filter(|it| **it != Mode::Existing)
                .copied()
                .collect(),
            sinks: Sink::value_variants().to_vec(),
            rounds: 1,
            bytes: 1 << 20,
            pin: Pin::None,
            dir: "/tmp".into(),
            mount: None,
            trips: 1,
            corrupt: None,
        }
    }

    #[test]
    fn every_combination_is_measured_or_explained_once() {
        for machine in [machine(), Machine { fuse_uring: None, cap_sys_admin: false, ..machine() }]
        {
            let (config, plan) = (config(), Plan::new(&config(), &machine));
            for (source, sink, mode) in ways(&config) {
                let sizes = plan
                    .cells
                    .iter()
                    .filter(|it| (it.source, it.sink, it.mode) == (source, sink, mode));
                let out = plan.left_out.iter().filter(|it| {
                    it.mode == mode && it.sources.contains(&source) && it.sinks.contains(&sink)
                });
                let found = (sizes.count(), out.count());
                assert!(
                    found == (2, 0) || found == (0, 1),
                    "{source:?} {sink:?} {mode:?}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn each_reason_is_said_once_for_a_mode() {
        let plan = Plan::new(&config(), &machine());
        let local = plan.left_out.iter().find(|it| it.mode == Mode::Uring).unwrap();
        assert_eq!(local.sources, Source::value_variants());
        assert_eq!(local.sinks, [Sink::Null, Sink::Pipe, Sink::File]);
        assert_eq!(local.reason, "only a mount has it");
    }

    #[test]
    fn what_a_machine_lacks_is_left_out() {
        let without = Machine { fuse_uring: Some(false), ..machine() };
        let plan = Plan::new(&config(), &without);
        assert!(!plan.cells.iter().any(|it| it.mode == Mode::Uring));
        assert!(plan.left_out.iter().any(|it| it.reason.contains("echo Y")));
        let with = Plan::new(&config(), &machine());
        assert!(with.cells.iter().any(|it| it.mode == Mode::Uring && it.sink.is_mount()));
    }

    #[test]
    fn a_mount_of_somebody_else_is_read_as_it_is() {
        let config = Config { mount: Some("/mnt".into()), ..config() };
        let plan = Plan::new(&config, &machine());
        let existing: Vec<Cell> =
            plan.cells.into_iter().filter(|it| it.mode == Mode::Existing).collect();
        assert_eq!(existing.len(), 4);
        assert!(existing.iter().all(|it| it.source == Source::File && it.sink.is_mount()));
    }
}
