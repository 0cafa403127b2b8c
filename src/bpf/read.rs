//! What the programs counted, as it is now.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use libbpf_rs::skel::Skel;
use libbpf_rs::{Iter, MapCore, MapFlags, ProgramInput, RingBufferBuilder};
use nix::time::{ClockId, clock_getres};
use zerocopy::{FromBytes, IntoBytes};

use super::attach::Attached;
use super::layout::{self, *};
use crate::stats::{self, Histogram, Process, Request};

/// A request under way that was seen being sent.
pub(crate) struct Pending {
    /// Its connection.
    pub(crate) dev: u32,
    /// What is known of it; its age is that at the time of reading.
    pub(crate) request: Request,
    name: u64,
    sent_ns: u64,
    at: u32,
}

/// A request under way as the kernel's lists have it.
pub(crate) struct Listed {
    /// Its connection.
    pub(crate) dev: u32,
    /// Its caller is a thread as the server sees it, or 0; its path, a name that it looks up. It
    /// is `older` when the kernel does not tell its age.
    pub(crate) request: Request,
    name: u64,
}

/// An open file of a FUSE mount.
pub(crate) struct OpenFile {
    /// Its connection.
    pub(crate) dev: u32,
    /// Its node.
    pub(crate) node: u64,
    /// Its path, as the process that opened it would say.
    pub(crate) path: String,
}

/// What a look at all open files found.
#[derive(Default)]
pub(crate) struct Looked {
    /// Connections and the processes that have their device open.
    pub(crate) servers: Vec<(u32, u32)>,
    /// Requests in the kernel's lists; each once.
    pub(crate) requests: Vec<Listed>,
    /// Only where paths were asked for.
    pub(crate) files: Vec<OpenFile>,
}

/// What was counted of one connection.
#[derive(Default)]
pub(crate) struct Counted {
    /// By opcode.
    pub(crate) operations: BTreeMap<u32, stats::Operation>,
    /// Who answered last, and when.
    pub(crate) server: Option<(u64, u32)>,
    /// Requests that were never answered.
    pub(crate) unanswered: u64,
}

impl Attached {
    /// Ends an interval of maxima: what is counted from now on belongs to the next. Returns the
    /// number of the one that ended.
    pub(crate) fn next_interval(&mut self) -> u32 {
        let Some(variables) = self.skeleton.maps.bss_data.as_deref_mut() else {
            return 0;
        };
        variables.interval = variables.interval.wrapping_add(1);
        variables.interval.wrapping_sub(1)
    }

    /// What was counted of each connection, with the maxima of one interval. Places of
    /// connections that are gone become free.
    pub(crate) fn counted(&self, interval: u32) -> Result<BTreeMap<u32, Counted>> {
        let maps = &self.skeleton.maps;
        let mut counted: BTreeMap<u32, Counted> = BTreeMap::new();
        for (at, key) in maps.operation_keys.all()? {
            let key = read::<u64>(&key, "operation_keys")?;
            if key & OPERATION_DEAD != 0 {
                self.free(&at)?;
            } else if key != 0 {
                let (dev, opcode) = ((key >> 32) as u32, key as u32 - 1);
                let of_cpus = maps.operations.lookup_percpu(&at, MapFlags::ANY)?;
                let connection = counted.entry(dev).or_default();
                for bytes in of_cpus.unwrap_or_default() {
                    connection.add(opcode, &read(&bytes, "operations")?, interval);
                }
            }
        }
        for (key, count) in maps.errors.all()? {
            let key: ErrorKey = read(&key, "errors")?;
            let count = read(&count, "errors")?;
            let connection = counted.entry(key.dev).or_default();
            let operation = connection.operation(key.opcode);
            operation.errors.insert(key.error as i32, count);
        }
        for connection in counted.values_mut() {
            // An error is counted after its operation: it may be here already, and that not.
            connection.operations.retain(|_, operation| operation.count > 0);
        }
        Ok(counted)
    }

    /// Makes the place of a connection that is gone ready for another.
    fn free(&self, at: &[u8]) -> Result<()> {
        let (keys, operations) =
            (&self.skeleton.maps.operation_keys, &self.skeleton.maps.operations);
        let nothing = vec![vec![0; size_of::<Operation>()]; libbpf_rs::num_possible_cpus()?];
        operations.update_percpu(at, &nothing, MapFlags::ANY)?;
        Ok(keys.update(at, &[0; 8], MapFlags::ANY)?)
    }

    /// How often a connection with this id was seen to begin.
    pub(crate) fn generation(&self, dev: u32) -> Result<u32> {
        let found = self.skeleton.maps.generations.lookup(&dev.to_ne_bytes(), MapFlags::ANY)?;
        Ok(found.and_then(|bytes| u32::read_from_bytes(&bytes).ok()).unwrap_or(0))
    }

    /// What did not fit, by its kind.
    pub(crate) fn lost(&self) -> Result<stats::Lost> {
        let of = |kind: u32| -> Result<u64> {
            let lost = &self.skeleton.maps.lost;
            let of_cpus = lost.lookup_percpu(&kind.to_ne_bytes(), MapFlags::ANY)?;
            let counts = of_cpus.unwrap_or_default();
            Ok(counts.iter().filter_map(|bytes| u64::read_from_bytes(bytes).ok()).sum())
        };
        Ok(stats::Lost {
            operations: of(LOST_OPERATIONS)?,
            requests: of(LOST_REQUESTS)?,
            earlier: of(LOST_EARLIER)?,
            events: of(LOST_EVENTS)?,
        })
    }

    /// The requests under way that were seen being sent, at `now` in ns of `CLOCK_MONOTONIC`.
    pub(crate) fn pending(&self, now: u64) -> Result<Vec<Pending>> {
        let mut pending = Vec::new();
        for (at, flight) in self.skeleton.maps.flights.all()? {
            let flight: Flight = read(&flight, "flights")?;
            // Its time is written last, and may be that of the place's last request.
            if flight.request == 0 || flight.sent_ns == 0 {
                continue;
            }
            let was_read = flight.read_ns != 0;
            let request = Request {
                opcode: flight.opcode,
                node: flight.node,
                caller: Process { pid: flight.pid, tid: flight.tid, command: String::new() },
                age_ns: now.saturating_sub(flight.sent_ns),
                queue_ns: was_read.then(|| flight.read_ns.saturating_sub(flight.sent_ns)),
                read: was_read.then_some(true),
                ..Request::default()
            };
            let at = read(&at, "flights")?;
            let (name, sent_ns) = (flight.request, flight.sent_ns);
            pending.push(Pending { dev: flight.dev, request, name, sent_ns, at });
        }
        Ok(pending)
    }

    /// When the server read a request, where system calls tell that.
    pub(crate) fn arrival(&self, dev: u32, unique: u64) -> Result<Option<u64>> {
        let arrivals = &self.skeleton.maps.arrivals;
        let hash = (unique >> 1).wrapping_add(u64::from(dev.wrapping_mul(2_654_435_761)));
        let at = (hash as u32) & (arrivals.max_entries() - 1);
        let Some(bytes) = arrivals.lookup(&at.to_ne_bytes(), MapFlags::ANY)? else {
            return Ok(None);
        };
        let arrival: Arrival = read(&bytes, "arrivals")?;
        Ok((arrival.dev == dev && arrival.unique == unique).then_some(arrival.read_ns))
    }

    /// A request will have no end, for its caller is gone.
    pub(crate) fn drop_request(&self, pending: &Pending) -> Result<()> {
        let (request, sent_ns, at) = (pending.name, pending.sent_ns, pending.at);
        let mut arguments = layout::Drop { request, sent_ns, at, unused: 0 };
        let context_in = Some(arguments.as_mut_bytes());
        let input = ProgramInput { context_in, ..ProgramInput::default() };
        self.skeleton.progs.drop_request.test_run(input)?;
        Ok(())
    }

    /// A connection is gone: its counts are forgotten.
    pub(crate) fn drop_connection(&self, dev: u32) -> Result<()> {
        let mut dev = dev;
        let context_in = Some(dev.as_mut_bytes());
        let input = ProgramInput { context_in, ..ProgramInput::default() };
        self.skeleton.progs.drop_connection.test_run(input)?;
        Ok(())
    }

    /// Who caused what, or which nodes it was about; as `(dev, id, counts)`.
    pub(crate) fn callers(&self) -> Result<Vec<(u32, u64, Party)>> {
        if self.top { parties(&self.skeleton.maps.callers) } else { Ok(Vec::new()) }
    }

    /// As [`Attached::callers`], by node.
    pub(crate) fn nodes(&self) -> Result<Vec<(u32, u64, Party)>> {
        if self.top { parties(&self.skeleton.maps.nodes) } else { Ok(Vec::new()) }
    }

    /// Looks at all open files of the machine; nothing where that cannot be done.
    pub(crate) fn look(&mut self, requests: bool, paths: bool) -> Result<Option<Looked>> {
        let Some(link) = &self.files else {
            return Ok(None);
        };
        if let Some(variables) = self.skeleton.maps.bss_data.as_deref_mut() {
            variables.want_requests = requests;
            variables.want_paths = paths;
        }
        let mut bytes = Vec::new();
        Iter::new(link)?.read_to_end(&mut bytes).context("open files cannot be read")?;
        let mut looked = Looked::default();
        for seen in bytes.chunks_exact(size_of::<Seen>()) {
            looked.add(&read(seen, "scratch")?);
        }
        Ok(Some(looked))
    }

    /// Hands over slow requests as they come, for `wait` at the most.
    pub(crate) fn events(&self, wait: Duration, each: &mut dyn FnMut(stats::Slow)) -> Result<()> {
        let mut builder = RingBufferBuilder::new();
        builder.add(&self.skeleton.maps.slow_requests, |bytes| {
            if let Ok(slow) = Slow::read_from_bytes(bytes) {
                each(slow_request(&slow));
            }
            0
        })?;
        match builder.build()?.poll(wait) {
            // A signal, which the caller wants to see to.
            Err(error) if error.kind() == libbpf_rs::ErrorKind::Interrupted => Ok(()),
            result => Ok(result?),
        }
    }

    /// Bytes of kernel memory that maps and programs take.
    pub(crate) fn memory(&self) -> u64 {
        let object = self.skeleton.object();
        let maps = object.maps().map(|map| memlock(map.as_fd().as_raw_fd()));
        let programs = object.progs().map(|program| memlock(program.as_fd().as_raw_fd()));
        maps.sum::<u64>() + programs.sum::<u64>()
    }
}

/// What the kernel says that a map or a program takes, in bytes.
fn memlock(fd: i32) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

impl Counted {
    fn operation(&mut self, opcode: u32) -> &mut stats::Operation {
        let new = || stats::Operation { opcode, ..stats::Operation::default() };
        self.operations.entry(opcode).or_insert_with(new)
    }

    /// Adds what one CPU counted.
    fn add(&mut self, opcode: u32, counts: &Operation, interval: u32) {
        self.unanswered += u64::from(counts.unanswered);
        if counts.answered_ns > self.server.map_or(0, |(when, _)| when) {
            self.server = Some((counts.answered_ns, counts.server));
        }
        let operation = self.operation(opcode);
        operation.count += counts.count;
        operation.bytes += counts.bytes;
        operation.queue.merge(&histogram(&counts.queue, interval));
        operation.service.merge(&histogram(&counts.service, interval));
        operation.total.merge(&histogram(&counts.total, interval));
    }
}

impl Looked {
    fn add(&mut self, seen: &Seen) {
        match seen.kind {
            SEEN_SERVER => self.servers.push((seen.dev, seen.pid)),
            // A device that several processes share has its lists seen by each.
            SEEN_REQUEST if self.requests.iter().any(|other| other.name == seen.request) => {}
            SEEN_REQUEST => self.requests.push(listed(seen)),
            SEEN_FILE => {
                self.files.push(OpenFile { dev: seen.dev, node: seen.node, path: text(&seen.text) })
            }
            _ => {}
        }
    }

    /// Takes out the requests that were not seen being sent, which is all that is not in
    /// `pending`; the connections' lists may have changed since `pending` was read.
    pub(crate) fn unseen(&mut self, pending: &[Pending]) -> Vec<Listed> {
        let of = |listed: &mut Listed| !pending.iter().any(|pending| listed.is(pending));
        self.requests.extract_if(.., of).collect()
    }

    /// Whether the same request is here, too.
    pub(crate) fn has(&self, other: &Listed) -> bool {
        let same = |it: &Listed| it.name == other.name && it.request.unique == other.request.unique;
        self.requests.iter().any(same)
    }

    /// Whether the kernel still has a request in its lists.
    pub(crate) fn lists(&self, pending: &Pending) -> Option<&Listed> {
        self.requests.iter().find(|listed| listed.name == pending.name)
    }
}

impl Pending {
    /// ns from sent to read, when it was read at `read_ns`.
    pub(crate) fn queue_ns(&self, read_ns: u64) -> Option<u64> {
        read_ns.checked_sub(self.sent_ns)
    }
}

impl Listed {
    /// Whether it is one that was seen being sent.
    pub(crate) fn is(&self, pending: &Pending) -> bool {
        self.name == pending.name
    }
}

fn listed(seen: &Seen) -> Listed {
    let name = text(&seen.text);
    let known = seen.age_ticks != NOT_KNOWN;
    let request = Request {
        unique: seen.unique,
        opcode: seen.opcode,
        node: seen.node,
        path: (!name.is_empty()).then_some(name),
        caller: Process { pid: 0, tid: seen.tid, command: String::new() },
        age_ns: if known { seen.age_ticks.saturating_mul(tick_ns()) } else { 0 },
        read: Some(seen.read != 0),
        older: !known,
        ..Request::default()
    };
    Listed { dev: seen.dev, request, name: seen.request }
}

/// How long the kernel's tick (jiffy) is: its coarse clocks go on once in each.
fn tick_ns() -> u64 {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE);
    tick.map_or(0, |tick| tick.tv_nsec() as u64)
}

fn slow_request(slow: &Slow) -> stats::Slow {
    let name = text(&slow.name);
    let caller = Process { pid: slow.pid, tid: slow.tid, command: text(&slow.command) };
    let request = Request {
        unique: slow.unique,
        opcode: slow.opcode,
        node: slow.node,
        path: (!name.is_empty()).then_some(name),
        caller,
        age_ns: slow.total_ns,
        queue_ns: (slow.queue_ns != 0).then_some(slow.queue_ns),
        ..Request::default()
    };
    let errno = slow.error.saturating_neg().max(0);
    stats::Slow { connection: slow.dev, at_ns: slow.at_ns, request, errno }
}

fn histogram(times: &Times, interval: u32) -> Histogram {
    let slot = (interval & 1) as usize;
    let max_ns = if times.interval[slot] == interval { times.max_ns[slot] } else { 0 };
    Histogram::new(times.buckets, times.sum_ns, max_ns)
}

fn parties(map: &impl Entries) -> Result<Vec<(u32, u64, Party)>> {
    let mut parties = Vec::new();
    for (key, party) in map.all()? {
        let key: PartyKey = read(&key, "callers")?;
        parties.push((key.dev, key.id, read(&party, "callers")?));
    }
    Ok(parties)
}

/// All keys of a map with their values.
pub(super) trait Entries: MapCore {
    fn all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let whole = self.max_entries().max(1);
        let batches = self.lookup_batch(whole, MapFlags::ANY, MapFlags::ANY)?;
        Ok(batches.collect())
    }
}

impl<M: MapCore> Entries for M {}

/// An entry, or a part of one.
pub(super) fn read<T: FromBytes>(bytes: &[u8], map: &str) -> Result<T> {
    let unexpected = || anyhow::anyhow!("BPF map {map}: entries of an unexpected size");
    T::read_from_bytes(bytes).map_err(|_| unexpected())
}
