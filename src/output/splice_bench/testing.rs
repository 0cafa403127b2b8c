//! A made-up report for the tests of exporters.

use crate::splicing::machine::Machine;
use crate::splicing::pin::Pin;
use crate::splicing::report::{Fallback, LeftOut, Ratios, Report, Row, SCHEMA, Slots};
use crate::splicing::spread::Spread;
use crate::splicing::verdict::Verdict;
use crate::splicing::{Mode, Sink, Source};

fn spread(median: f64, min: f64, max: f64) -> Spread {
    Spread { median, min, max }
}

fn copy() -> Row {
    let one = Some(1.0);
    Row {
        source: Source::Unix,
        sink: Sink::Pipe,
        size_bytes: 131_072,
        mode: Mode::Copy,
        gib_per_s: spread(1.6, 1.5, 1.75),
        request_us: spread(76.25, 70.0, 81.0),
        server_cpu_s_per_gib: Some(spread(0.3475, 0.3, 0.4)),
        client_cpu_s_per_gib: Some(spread(0.125, 0.125, 0.125)),
        peer_cpu_s_per_gib: None,
        splices_per_request: None,
        pipe_slots: None,
        pipe_bytes: None,
        fallbacks: None,
        ratio_to_copy: Ratios {
            gib_per_s: one,
            request_us: one,
            server_cpu: one,
            client_cpu: one,
            peer_cpu: None,
        },
        requests: 96,
    }
}

fn splice() -> Row {
    Row {
        mode: Mode::Splice,
        gib_per_s: spread(2.0, 1.5, 2.5),
        request_us: spread(61.0, 50.0, 80.0),
        server_cpu_s_per_gib: Some(spread(0.25, 0.2, 0.3)),
        splices_per_request: Some(3.0),
        pipe_slots: Slots::of(&[4, 6, 4, 4]),
        pipe_bytes: Some(262_144),
        fallbacks: Some(vec![Fallback { reason: "the pipe is full".into(), blocks: 24 }]),
        ratio_to_copy: Ratios {
            gib_per_s: Some(1.25),
            request_us: Some(0.8),
            server_cpu: Some(0.72),
            client_cpu: Some(1.0),
            peer_cpu: None,
        },
        ..copy()
    }
}

pub(super) fn report() -> Report {
    Report {
        schema: SCHEMA,
        machine: Machine {
            kernel: "6.18.44".into(),
            cpus: 2,
            cpu_model: "Some CPU".into(),
            cap_sys_admin: true,
            cap_sys_resource: false,
            pipe_max_bytes: Some(1 << 20),
            fuse_uring: Some(false),
            wakeup_same_cpu_us: 4.5,
            wakeup_cross_cpu_us: Some(52.25),
        },
        pin: Pin::Cross,
        rounds: 3,
        measurement_bytes: 4 << 20,
        duration_s: 1.5,
        rows: vec![copy(), splice()],
        left_out: vec![LeftOut {
            mode: Mode::Passthrough,
            sources: vec![Source::Unix],
            sinks: vec![Sink::Null, Sink::Pipe, Sink::File],
            reason: "only a mount has it".into(),
        }],
        verdicts: vec![Verdict {
            source: Source::Unix,
            sink: Sink::Pipe,
            memory: Mode::Copy,
            splice_from_bytes: Some(131_072),
            server_cpu_change_percent: Some(-28.0),
            at_bytes: Some(131_072),
            text: "unix (to pipe): splice at every size (-28 % server CPU at 128 KiB)".into(),
        }],
    }
}
