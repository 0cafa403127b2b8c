//! One measurement on a mount: a reader in this process, the server in its own.
//!
//! A mount stays for the whole run, one for each source and mode. It is read with O_DIRECT, which
//! our server answers with FOPEN_DIRECT_IO, or through the page cache, emptied beforehand.
//!
//! Packets are as long as the blocks that are read: what a server has to read of a packet and is not
//! asked for yet it keeps in memory, which is a copy whatever the mode.
//!
//! What the server splices is counted by itself, and asked of its supervisor before and behind each
//! measurement. A mount without one tells nothing. How many buffers of a pipe a block took nobody can
//! tell: the kernel says how many bytes there are in a pipe, and only who may fill it up finds out how
//! many buffers are left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::time::ClockId;

use super::local::{Place, Window, cpu};
use super::peer::{NAME, Peers};
use super::pin::{allow, allowed_cpus, pin};
use super::report::{Fallbacks, Sample};
use super::server::Server;
use super::{BenchError, Cell, LEAST, MOST, Mode, Result, Sink, Source};
use crate::supervise::client;
use crate::supervise::protocol::Request;

/// The mounts of a run.
pub(super) struct Mounts {
    dir: PathBuf,
    sizes: Vec<usize>,
    running: BTreeMap<(Source, Mode), std::result::Result<Mount, String>>,
}

/// One of them.
pub(super) struct Mount {
    server: Server,
    point: PathBuf,
    /// Where its supervisor counts splices.
    control: Option<PathBuf>,
}

impl Mounts {
    /// They are made in `dir`, for blocks of these sizes.
    pub(super) fn new(dir: &Path, sizes: &[usize]) -> Mounts {
        Mounts { dir: dir.into(), sizes: sizes.into(), running: BTreeMap::new() }
    }

    /// The mount for a cell; why there is none, if so.
    pub(super) fn of(
        &mut self,
        place: &Place<'_>,
        peers: &mut Peers,
        cell: Cell,
    ) -> Result<std::result::Result<&Mount, &String>> {
        let key = (cell.source, cell.mode);
        if !self.running.contains_key(&key) {
            let started = self.start(place, peers, cell)?;
            self.running.insert(key, started);
        }
        Ok(self.running[&key].as_ref())
    }

    fn start(
        &self,
        place: &Place<'_>,
        peers: &mut Peers,
        cell: Cell,
    ) -> Result<std::result::Result<Mount, String>> {
        let number = self.running.len();
        let point = self.dir.join(format!("point-{number}"));
        std::fs::create_dir(&point).map_err(BenchError::io(point.display().to_string()))?;
        let arguments = self.arguments(place, peers, cell)?;
        let before = allowed_cpus()?;
        // A server inherits its CPU from the thread that starts it.
        place.cpus.map_or(Ok(()), |(_, cpu)| pin(cpu))?;
        let log = self.dir.join(format!("server-{number}.log"));
        let started = Server::start(&arguments, &point, &log);
        allow(&before)?;
        Ok(started
            .map(|server| Mount::new(server, &point, cell.mode))
            .and_then(|mount| try_out(&mount, cell).map(|missing| (mount, missing)))
            .map_err(|error| format!("no mount: {error}"))
            .and_then(|(mount, missing)| missing.map_or(Ok(mount), Err)))
    }

    fn arguments(&self, place: &Place<'_>, peers: &mut Peers, cell: Cell) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = match cell.mode {
            Mode::Splice => vec!["--transport".into(), "splice".into()],
            Mode::Uring => ["--no-supervise", "--transport", "uring"].map(Into::into).into(),
            _ => vec!["--transport".into(), "dev".into()],
        };
        if cell.source == Source::File {
            if cell.mode != Mode::Passthrough {
                words.extend(["-o".into(), "nopassthrough".into()]);
            }
            words.extend(place.bytes.parent().map(Into::into));
            return Ok(words);
        }
        let manifest = self.dir.join(format!("manifest-{}.json", self.running.len()));
        let file = |size: usize| -> Result<serde_json::Value> {
            let segment = serde_json::json!({
                "source": peers.address(cell.source, size)?.to_string(),
                "name": NAME,
                "length": place.pattern.source().len(),
            });
            Ok(serde_json::json!({ "path": packets_of(size), "segments": [segment] }))
        };
        let files: Result<Vec<serde_json::Value>> = self.sizes.iter().copied().map(file).collect();
        let manifest_of = serde_json::json!({ "schema": 1, "files": files? });
        let written = std::fs::write(&manifest, manifest_of.to_string());
        written.map_err(BenchError::io(manifest.display().to_string()))?;
        words.extend(["-t".into(), "merge".into(), manifest.into()]);
        Ok(words)
    }
}

impl Mount {
    fn new(server: Server, point: &Path, mode: Mode) -> Mount {
        let control = (mode == Mode::Splice).then(|| client::find(point).ok()).flatten();
        Mount { server, point: point.into(), control }
    }

    /// What a cell reads there: of packets a file for each size of a block, whose packets are as long
    /// as the block.
    fn file(&self, cell: Cell) -> PathBuf {
        let name = if cell.source == Source::File { NAME.into() } else { packets_of(cell.size) };
        self.point.join(name)
    }

    /// What its server has spliced so far; `None`: it does not splice, or there is no supervisor
    /// that could be asked.
    fn counts(&self) -> Option<Counts> {
        let status = client::ask(self.control.as_ref()?, Request::Status).ok()?;
        Some(Counts {
            splices: status.splices,
            fallbacks: Fallbacks {
                short: status.splice_fallbacks_short,
                full: status.splice_fallbacks_full,
                refused: status.splice_fallbacks_refused,
                examined: status.splice_fallbacks_examined,
            },
            pipe_bytes: status.pipe_bytes as usize,
        })
    }
}

/// What a server has counted since it came to be.
#[derive(Clone, Copy)]
struct Counts {
    splices: u64,
    fallbacks: Fallbacks,
    pipe_bytes: usize,
}

impl Counts {
    /// Adds what has come since `before` to a sample.
    fn add_to(self, sample: Sample, before: Counts) -> Sample {
        let (now, then) = (self.fallbacks, before.fallbacks);
        let fallbacks = Fallbacks {
            short: now.short - then.short,
            full: now.full - then.full,
            refused: now.refused - then.refused,
            examined: now.examined - then.examined,
        };
        Sample {
            splices: Some(self.splices - before.splices),
            fallbacks: Some(fallbacks),
            pipe_bytes: Some(self.pipe_bytes),
            ..sample
        }
    }
}

/// The name of what comes in packets of `size` bytes.
fn packets_of(size: usize) -> String {
    format!("{NAME}-{size}")
}

/// Reads some blocks of a new mount; why its figures would not be those of the mode, if so.
fn try_out(mount: &Mount, cell: Cell) -> Result<Option<String>> {
    let file = mount.file(cell);
    let cell = Cell { sink: Sink::MountDirect, size: LEAST, ..cell };
    let before = mount.server.bytes_read()?;
    read(&file, &mut Window::new(MOST), cell, MOST / LEAST, &|| Ok(None))?;
    let serves = mount.server.bytes_read()? - before >= MOST as u64;
    Ok(missing(cell.mode, &mount.server.said(), mount.server.has_pipe(), serves))
}

/// What a mount does not do that it was made for, by what its server has said, whether it has a
/// pipe, and whether it has read what the mount's reader got.
fn missing(mode: Mode, said: &str, has_pipe: bool, serves: bool) -> Option<String> {
    let why = match mode {
        Mode::Passthrough if !said.contains("FUSE_PASSTHROUGH") => {
            "the mount came to be without FUSE_PASSTHROUGH: Linux 6.9 has it"
        }
        Mode::Passthrough if serves => {
            "the kernel does not take this file: the mount's server reads it"
        }
        Mode::Uring if !said.contains("FUSE_OVER_IO_URING") => {
            "the mount came to be without FUSE over io_uring"
        }
        Mode::Splice if !has_pipe => "the mount's server has no pipe: it copies",
        _ => return None,
    };
    Some(why.into())
}

/// Reads `blocks` blocks of a mount, and compares them.
pub(super) fn measure(
    place: &Place<'_>,
    mount: &Mount,
    window: &mut Window,
    cell: Cell,
    blocks: usize,
) -> Result<Sample> {
    let server = || mount.server.cpu().map(Some);
    let before = mount.counts();
    let (mut sample, arrived) = read(&mount.file(cell), window, cell, blocks, &server)?;
    if let Some((before, after)) = before.zip(mount.counts()) {
        sample = after.add_to(sample, before);
    }
    if cell.source == Source::File {
        sample.peer = None;
    }
    place.pattern.check(0, arrived, &cell.to_string())?;
    Ok(sample)
}

/// The same of any file; `server` tells the time that its server has had of the CPUs so far. To
/// open the file is not part of it.
pub(super) fn read<'a>(
    path: &Path,
    window: &'a mut Window,
    cell: Cell,
    blocks: usize,
    server: &dyn Fn() -> Result<Option<Duration>>,
) -> Result<(Sample, &'a [u8])> {
    let total = blocks * cell.size;
    let failed = || BenchError::io(format!("{cell}: {}", path.display()));
    let direct = if cell.sink == Sink::MountDirect { libc::O_DIRECT } else { 0 };
    let file = File::options().read(true).custom_flags(direct).open(path).map_err(failed())?;
    let drop = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    posix_fadvise(&file, 0, 0, drop).map_err(BenchError::system("emptying the page cache"))?;
    let room = window.clean(total);
    let clocks = [ClockId::CLOCK_THREAD_CPUTIME_ID, ClockId::CLOCK_PROCESS_CPUTIME_ID];
    let (served, before) = (server()?, [cpu(clocks[0])?, cpu(clocks[1])?]);
    let start = Instant::now();
    for (block, room) in room.chunks_mut(cell.size).enumerate() {
        file.read_exact_at(room, (block * cell.size) as u64).map_err(failed())?;
    }
    let wall = start.elapsed();
    let (own, process) = (cpu(clocks[0])? - before[0], cpu(clocks[1])? - before[1]);
    let sample = Sample {
        bytes: total as u64,
        requests: blocks as u64,
        wall,
        server: server()?.zip(served).map(|(after, before)| after.saturating_sub(before)),
        client: Some(own),
        peer: Some(process.saturating_sub(own)),
        ..Sample::default()
    };
    Ok((sample, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_is_not_what_it_was_made_for_gives_no_figures() {
        let said = "flags: FUSE_ASYNC_READ FUSE_PASSTHROUGH\n";
        assert_eq!(missing(Mode::Copy, "", false, true), None);
        assert_eq!(missing(Mode::Passthrough, said, false, false), None);
        let why = missing(Mode::Passthrough, said, false, true).unwrap();
        assert!(why.contains("the mount's server reads it"), "{why}");
        assert!(missing(Mode::Passthrough, "flags: ", false, false).unwrap().contains("6.9"));
        assert!(missing(Mode::Uring, said, false, true).unwrap().contains("without FUSE over"));
        assert_eq!(missing(Mode::Uring, "FUSE_OVER_IO_URING", false, true), None);
        assert!(missing(Mode::Splice, said, false, true).unwrap().contains("it copies"));
        assert_eq!(missing(Mode::Splice, said, true, true), None);
    }
}
