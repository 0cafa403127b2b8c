//! Counters since the measurement began, for Prometheus and the like: OpenMetrics 1.0, as text.
//!
//! Series are by connection: `connection`, `mount_point`, `fs_type`, and `opcode` and `errno`
//! where they say something. A connection that takes the place of another with the same id and
//! mount point begins at 0, as the counters of a program that was restarted do. Callers and nodes
//! are not among them: there is no end to them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::errno_name;
use crate::output::plain;
use crate::stats::tier::{Source, Tier};
use crate::stats::{Connection, Histogram, Operation, Snapshot, Split};

/// The upper bounds of buckets are powers of two of this and the next exponents, in ns: 4.1 us,
/// less than which no server takes, to 69 s. Always the same ones, so that series stay.
const BOUNDS: std::ops::RangeInclusive<u32> = 12..=36;

/// All of it, up to `# EOF`.
pub fn exposition(since_start: &Snapshot, tier: &Tier) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families(since_start, tier))));
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = text::encode(&mut text, &registry);
    text
}

type Labels = Vec<(&'static str, String)>;

/// Metrics of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

#[derive(Debug)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Box<Histogram>),
    Info(Labels),
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let unit = family.unit.as_ref();
            let mut metrics =
                encoder.encode_descriptor(family.name, family.help, unit, family.kind)?;
            for (labels, value) in &family.samples {
                let mut metric = metrics.encode_family(labels)?;
                match value {
                    Value::Counter(count) => {
                        metric.encode_counter(count, None::<&Exemplar<Labels, u64>>)?;
                    }
                    Value::Gauge(number) => metric.encode_gauge(number)?,
                    Value::Info(more) => metric.encode_info(more)?,
                    Value::Histogram(times) => {
                        let (sum, buckets) = (times.sum_ns() as f64 / 1e9, buckets(times));
                        metric.encode_histogram::<Labels>(sum, times.count(), &buckets, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Upper bounds in seconds, and how many times are below each and not below the one before. A
/// time of just a bound belongs to the next one: buckets here leave out their end, in OpenMetrics
/// they have it. That is one ns.
fn buckets(times: &Histogram) -> Vec<(f64, u64)> {
    let octaves = times.octaves();
    let between = |from: u64, to: u64| {
        let within = octaves.iter().filter(|(start, _)| (from..to).contains(start));
        within.map(|(_, count)| count).sum::<u64>()
    };
    let mut from = 0;
    let mut buckets: Vec<(f64, u64)> = BOUNDS
        .map(|exponent| {
            let to = 1 << exponent;
            let bucket = (to as f64 / 1e9, between(from, to));
            from = to;
            bucket
        })
        .collect();
    buckets.push((f64::INFINITY, between(from, u64::MAX)));
    buckets
}

fn families(of: &Snapshot, tier: &Tier) -> Vec<Family> {
    let mut families = measurement(of, tier);
    let all = || of.connections.iter();
    let info = all().map(|connection| (labels(connection), Value::Info(about(connection))));
    families.push(Family {
        name: "fusex_connection",
        unit: None,
        help: "A FUSE connection and where its queue and service times are told apart",
        kind: MetricType::Info,
        samples: info.collect(),
    });
    families.extend(gauges(of));
    if tier.source != Source::None {
        families.extend(counters(of));
        families.extend(histograms(of));
    }
    families
}

/// What is now.
fn gauges(of: &Snapshot) -> [Family; 6] {
    fn number(number: u64) -> f64 {
        number as f64
    }
    let gauge = |name, unit, help, value: fn(&Connection) -> Option<f64>| {
        let known = |of| Some((labels(of), Value::Gauge(value(of)?)));
        let samples = of.connections.iter().filter_map(known).collect();
        Family { name, unit, help, kind: MetricType::Gauge, samples }
    };
    [
        gauge("fusex_waiting_requests", None, "Requests that wait or are being served", |of| {
            of.waiting.map(number)
        }),
        gauge("fusex_max_background_requests", None, "Background requests at once", |of| {
            of.max_background.map(number)
        }),
        gauge(
            "fusex_congestion_threshold_requests",
            None,
            "From how many background requests on the mount counts as congested",
            |of| of.congestion_threshold.map(number),
        ),
        gauge("fusex_in_flight_requests", None, "Requests sent and not yet answered", |of| {
            of.in_flight.map(number)
        }),
        gauge(
            "fusex_oldest_request_age",
            Some(Unit::Seconds),
            "Age of the oldest request in flight, 0 when there is none",
            |of| of.in_flight.map(|_| of.pending.first().map_or(0, |it| it.age_ns) as f64 / 1e9),
        ),
        gauge("fusex_server_threads", None, "Threads of the server", |of| {
            of.server.as_ref()?.threads.map(number)
        }),
    ]
}

/// What the measurement is, costs, and did not see.
fn measurement(of: &Snapshot, tier: &Tier) -> Vec<Family> {
    let parts = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("tier", tier.name()),
        ("source", tier.source.name()),
        ("split", tier.split.name()),
    ];
    let about = parts.map(|(name, value)| (name, value.to_string())).to_vec();
    let lost = [
        ("operations", of.lost.operations),
        ("requests", of.lost.requests),
        ("earlier", of.lost.earlier),
        ("events", of.lost.events),
    ];
    let lost = lost.map(|(what, count)| (vec![("what", what.to_string())], Value::Counter(count)));
    let family = |name, unit, help, kind, samples| Family { name, unit, help, kind, samples };
    vec![
        family(
            "fusex_measurement",
            None,
            "What measures, and how much of it this machine lets it",
            MetricType::Info,
            vec![(vec![], Value::Info(about))],
        ),
        family(
            "fusex_measurement_memory",
            Some(Unit::Bytes),
            "Kernel memory that the measurement takes",
            MetricType::Gauge,
            vec![(vec![], Value::Gauge(of.memory_bytes as f64))],
        ),
        family(
            "fusex_measurement_lost",
            None,
            "What was not seen: operations (not counted), requests (without times), earlier (sent \
             before the measurement began), events (slow and not reported)",
            MetricType::Counter,
            Vec::from(lost),
        ),
    ]
}

fn counters(of: &Snapshot) -> Vec<Family> {
    let count = |(of, operation): (&Connection, &Operation)| {
        (with_opcode(of, operation), Value::Counter(operation.count))
    };
    let bytes = |(of, operation): (&Connection, &Operation)| {
        (with_opcode(of, operation), Value::Counter(operation.bytes))
    };
    let errors = operations(of).flat_map(|(of, operation)| {
        operation.errors.iter().map(move |(errno, count)| {
            let mut labels = with_opcode(of, operation);
            labels.push(("errno", errno_name(*errno)));
            (labels, Value::Counter(*count))
        })
    });
    let unanswered =
        of.connections.iter().map(|of| (labels(of), Value::Counter(of.unanswered))).collect();
    let family = |name, unit, help, samples| {
        let kind = MetricType::Counter;
        Family { name, unit, help, kind, samples }
    };
    vec![
        family("fusex_requests", None, "Requests answered", operations(of).map(count).collect()),
        family("fusex_request_errors", None, "Of these, with an error", errors.collect()),
        family(
            "fusex_request_data",
            Some(Unit::Bytes),
            "Data read and written by requests, without headers",
            operations(of).filter(|(_, operation)| operation.bytes > 0).map(bytes).collect(),
        ),
        family(
            "fusex_requests_unanswered",
            None,
            "Requests whose caller was killed before the server read them",
            unanswered,
        ),
    ]
}

fn histograms(of: &Snapshot) -> [Family; 3] {
    let split = |(of, _): &(&Connection, &Operation)| of.split != Split::None;
    let all = || operations(of);
    let family = |name, help, samples| {
        let (unit, kind) = (Some(Unit::Seconds), MetricType::Histogram);
        Family { name, unit, help, kind, samples }
    };
    let sample = |of, operation, times: &Histogram| {
        (with_opcode(of, operation), Value::Histogram(Box::new(times.clone())))
    };
    [
        family(
            "fusex_request_duration",
            "From sent to answered",
            all().map(|(of, it)| sample(of, it, &it.total)).collect(),
        ),
        family(
            "fusex_request_queue",
            "From sent to read by the server",
            all().filter(split).map(|(of, it)| sample(of, it, &it.queue)).collect(),
        ),
        family(
            "fusex_request_service",
            "From read by the server to answered",
            all().filter(split).map(|(of, it)| sample(of, it, &it.service)).collect(),
        ),
    ]
}

fn operations(of: &Snapshot) -> impl Iterator<Item = (&Connection, &Operation)> {
    of.connections.iter().flat_map(|of| of.operations.iter().map(move |operation| (of, operation)))
}

fn labels(of: &Connection) -> Labels {
    let mount_point = of.mount_point.as_deref().map(|path| path.to_string_lossy());
    vec![
        ("connection", of.id.to_string()),
        ("mount_point", plain(&mount_point.unwrap_or_default())),
        ("fs_type", plain(&of.fs_type)),
    ]
}

fn with_opcode(of: &Connection, operation: &Operation) -> Labels {
    let mut labels = labels(of);
    labels.push(("opcode", operation.name()));
    labels
}

fn about(of: &Connection) -> Labels {
    vec![("source", plain(&of.source)), ("split", of.split.name().to_string())]
}

#[cfg(test)]
mod tests;
