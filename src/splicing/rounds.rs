//! All measurements of a run, interleaved.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tempfile::TempDir;

use super::existing::Existing;
use super::local::{self, Place, Window};
use super::machine::Machine;
use super::mounted::{self, Mounts};
use super::pattern::Pattern;
use super::peer::{NAME, Peers};
use super::pin::pin;
use super::plan::{Plan, leave_out, merged};
use super::report::{Report, Row, SCHEMA, Sample, Slots};
use super::{BenchError, Cell, Config, MOST, Mode, Result, Sink, verdict};

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Measurements that are done.
    pub done: usize,
    /// Of so many.
    pub total: usize,
    /// What is measured now.
    pub cell: Cell,
}

/// Everything that is there during a run. Fields go in their order: mounts before what they serve,
/// peers before their directory.
struct Run<'a> {
    config: &'a Config,
    mounts: Mounts,
    peers: Peers,
    existing: Option<Existing>,
    pattern: Pattern,
    window: Window,
    cpus: Option<(usize, usize)>,
    bytes: PathBuf,
    out: PathBuf,
    _dir: TempDir,
    samples: BTreeMap<Cell, Vec<Sample>>,
    slots: BTreeMap<Cell, Slots>,
}

/// Measures what `config` asks for. The calling thread, which reads mounts, stays on its CPU
/// afterwards if it is given one. When `stop` is set the run ends, and leaves nothing behind.
///
/// # Errors
/// A wrong byte has arrived, or something is in the way.
pub fn run(config: &Config, stop: &AtomicBool, progress: &dyn Fn(Progress)) -> Result<Report> {
    let begun = Instant::now();
    let machine = Machine::examine(config.trips)?;
    let Plan { cells, mut left_out } = Plan::new(config, &machine);
    let mut run = Run::new(config)?;
    let groups: Vec<&[Cell]> = cells
        .chunk_by(|one, other| {
            (one.source, one.sink, one.size) == (other.source, other.sink, other.size)
        })
        .collect();
    let (mut done, total) = (0, cells.len() * config.rounds as usize);
    for round in 0..config.rounds as usize {
        for group in &groups {
            for turn in 0..group.len() {
                let cell = group[(turn + round) % group.len()];
                progress(Progress { done, total, cell });
                done += 1;
                let outcome = run.measure(cell, round == 0);
                if stop.load(Ordering::Acquire) {
                    return Err(BenchError::Failed("interrupted".into()));
                }
                match outcome? {
                    Ok(sample) => run.samples.entry(cell).or_default().push(sample),
                    Err(why) => leave_out(&mut left_out, cell.source, cell.sink, cell.mode, why),
                }
            }
        }
    }
    let rows = run.rows(&cells);
    Ok(Report {
        schema: SCHEMA,
        machine,
        pin: config.pin,
        rounds: config.rounds,
        measurement_bytes: config.bytes,
        duration_s: begun.elapsed().as_secs_f64(),
        verdicts: verdict::verdicts(&rows),
        rows,
        left_out: merged(left_out),
    })
}

impl<'a> Run<'a> {
    fn new(config: &'a Config) -> Result<Run<'a>> {
        let place = config.dir.display().to_string();
        let dir = tempfile::Builder::new().prefix("fusex-splice-").tempdir_in(&config.dir);
        let dir =
            dir.map_err(|error| BenchError::Failed(format!("--dir: {place}: {}", error.kind())))?;
        let pattern = Pattern::new(config.bytes.max(MOST), config.corrupt);
        let lower = dir.path().join("lower");
        let bytes = lower.join(NAME);
        let made = fs::create_dir(&lower).and_then(|()| fs::write(&bytes, pattern.source()));
        made.map_err(BenchError::io(bytes.display().to_string()))?;
        let cpus = config.pin.cpus()?;
        // Peers and readers are on the client's side.
        cpus.map_or(Ok(()), |(cpu, _)| pin(cpu))?;
        let existing = config.mount.as_deref().map(|path| Existing::new(path, &pattern));
        Ok(Run {
            config,
            mounts: Mounts::new(dir.path(), &config.sizes),
            peers: Peers::new(dir.path(), &bytes),
            existing: existing.transpose()?,
            window: Window::new(pattern.source().len()),
            pattern,
            cpus,
            out: dir.path().join("out"),
            bytes,
            _dir: dir,
            samples: BTreeMap::new(),
            slots: BTreeMap::new(),
        })
    }

    /// One measurement; why it cannot be made, if so.
    fn measure(&mut self, cell: Cell, first: bool) -> Result<std::result::Result<Sample, String>> {
        let blocks = (self.config.bytes / cell.size).max(1);
        let place =
            Place { pattern: &self.pattern, bytes: &self.bytes, out: &self.out, cpus: self.cpus };
        let (peers, window) = (&mut self.peers, &mut self.window);
        if let (Mode::Existing, Some(existing)) = (cell.mode, &self.existing) {
            return existing.measure(window, cell, blocks).map(Ok);
        }
        if cell.sink.is_mount() {
            return match self.mounts.of(&place, peers, cell)? {
                Ok(mount) => mounted::measure(&place, mount, window, cell, blocks).map(Ok),
                Err(why) => Ok(Err(why.clone())),
            };
        }
        if first {
            if cell.sink == Sink::Null {
                // The same with somebody who sees what arrives.
                local::measure(&place, peers, window, Cell { sink: Sink::Pipe, ..cell }, blocks)?;
            }
            let slots = local::slots(&place, peers, cell, blocks)?;
            self.slots.extend(slots.map(|slots| (cell, slots)));
        }
        local::measure(&place, peers, window, cell, blocks).map(Ok)
    }

    fn rows(&self, cells: &[Cell]) -> Vec<Row> {
        let samples = |cell: Cell| self.samples.get(&cell).map_or(&[][..], Vec::as_slice);
        let row = |cell: &Cell| {
            let copies = samples(Cell { mode: Mode::Copy, ..*cell });
            Row::new(*cell, samples(*cell), copies, self.slots.get(cell).copied())
        };
        cells.iter().filter_map(row).collect()
    }
}
