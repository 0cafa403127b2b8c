//! The kernel's side: what is asked, and a model that knows the answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fusex::Errno;
use fusex::fs::Result;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::world::{Ask, Request, World, content, hash, start};

/// The model's nodes, by node id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thing {
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) has_xattr: bool,
    pub(crate) nlink: u64,
    pub(crate) lookups: u64,
}

/// The test's side: the model, and whoever serves right now.
pub(crate) struct Client<'a> {
    pub(crate) world: &'a World,
    pub(crate) worker: Pid,
    pub(crate) random: u64,
    pub(crate) things: BTreeMap<u64, Thing>,
    pub(crate) names: BTreeMap<(u64, u64), u64>,
    pub(crate) kills: u64,
    pub(crate) finished_late: u64,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        let _ = kill(self.worker, Signal::SIGKILL);
        let _ = waitpid(self.worker, None);
    }
}

pub(crate) const DIR: u32 = libc::S_IFDIR;
pub(crate) const FILE: u32 = libc::S_IFREG;
pub(crate) const LINK: u32 = libc::S_IFLNK;

impl<'a> Client<'a> {
    pub(crate) fn new(world: &'a World, seed: u64) -> Client<'a> {
        let worker = start(world, false);
        let root = Thing { kind: DIR, nlink: 2, lookups: 1, ..Thing::default() };
        let things = [(1, root)].into();
        let names = BTreeMap::new();
        Client { world, worker, random: seed, things, names, kills: 0, finished_late: 0 }
    }

    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 29) % below
    }

    /// Asks, kills the worker at some moment or does not, and waits for the answer.
    pub(crate) fn ask(&mut self, request: Request) -> Result<(u64, u64)> {
        let line = self.world.line;
        line.post(&request);
        if self.random(3) == 0 {
            let moment = Instant::now();
            // Most requests take less than the shorter time.
            let longest = [25_000, 150_000][self.random(2) as usize];
            let delay = Duration::from_nanos(self.random(longest));
            while moment.elapsed() < delay && !line.is_answered() {
                std::hint::spin_loop();
            }
            self.kill();
        }
        let began = Instant::now();
        while !line.is_answered() {
            assert!(began.elapsed() < Duration::from_secs(10), "{request:?} is not answered");
            std::hint::spin_loop();
        }
        line.result()
    }

    pub(crate) fn kill(&mut self) {
        kill(self.worker, Signal::SIGKILL).unwrap();
        waitpid(self.worker, None).unwrap();
        self.kills += 1;
        self.finished_late += u64::from(!self.world.line.is_answered());
        self.worker = start(self.world, true);
        // Now and then the successor is killed in the middle of its takeover.
        if self.random(4) == 0 {
            std::thread::sleep(Duration::from_nanos(self.random(400_000)));
            kill(self.worker, Signal::SIGKILL).unwrap();
            waitpid(self.worker, None).unwrap();
            self.worker = start(self.world, true);
        }
    }

    pub(crate) fn expect(&mut self, request: Request, expected: Result<(u64, u64)>) {
        let got = self.ask(request);
        assert_eq!(got, expected, "{request:?} after {} kills", self.kills);
    }

    /// Asks for something that gives out a node.
    pub(crate) fn entry(&mut self, request: Request, expected: Result<Option<u64>>, new: u32) {
        let got = self.ask(request);
        match expected {
            Err(errno) => assert_eq!(got, Err(errno), "{request:?} after {} kills", self.kills),
            Ok(known) => {
                let (node, _) = got.unwrap_or_else(|errno| panic!("{request:?}: {errno}"));
                assert!(known.is_none_or(|known| known == node), "{request:?}: {node}");
                let is_new = known.is_none();
                assert!(!is_new || !self.things.contains_key(&node), "{node} is in use");
                let thing = self.things.entry(node).or_default();
                if is_new {
                    thing.kind = new;
                }
                thing.lookups += 1;
            }
        }
    }

    pub(crate) fn spot(&mut self, dirs: &[u64]) -> (u64, u64) {
        (dirs[self.random(dirs.len() as u64) as usize], self.random(5))
    }

    /// The kernel forgets a node that nothing names any more, or one with a name now and then.
    pub(crate) fn forget(&mut self, node: u64) {
        let thing = self.things.get_mut(&node).unwrap();
        let other = std::mem::take(&mut thing.lookups);
        let gone = thing.nlink == 0;
        if other == 0 {
            return;
        }
        self.expect(Request { ask: Ask::Forget, node, name: 0, other, other_name: 0 }, Ok((0, 0)));
        if gone {
            self.things.remove(&node);
        }
    }

    pub(crate) fn unname(&mut self, place: (u64, u64)) {
        let Some(node) = self.names.remove(&place) else { return };
        self.lose(node);
    }

    pub(crate) fn lose(&mut self, node: u64) {
        let thing = self.things.get_mut(&node).unwrap();
        thing.nlink = if thing.kind == DIR { 0 } else { thing.nlink - 1 };
        if thing.nlink == 0 && thing.lookups == 0 {
            self.things.remove(&node);
        }
    }

    pub(crate) fn make(&mut self, (node, name): (u64, u64)) {
        let (ask, kind) =
            [(Ask::Mkdir, DIR), (Ask::Create, FILE), (Ask::Symlink, LINK)][self.random(3) as usize];
        let there = self.names.contains_key(&(node, name));
        let expected = if there { Err(Errno::EEXIST) } else { Ok(None) };
        let request = Request { ask, node, name, other: 0, other_name: 0 };
        self.entry(request, expected, kind);
        if !there {
            let made = self.world.line.get(9);
            self.names.insert((node, name), made);
            self.things.get_mut(&made).unwrap().nlink = if kind == DIR { 2 } else { 1 };
        }
    }

    pub(crate) fn remove(&mut self, (node, name): (u64, u64), ask: Ask) {
        let kind = self.names.get(&(node, name)).map(|node| self.things[node].kind);
        let expected = match (kind, ask) {
            (None, _) => Err(Errno::ENOENT),
            (Some(DIR), Ask::Unlink) => Err(Errno::EISDIR),
            (Some(FILE | LINK), Ask::Rmdir) => Err(Errno::ENOTDIR),
            _ => Ok((0, 0)),
        };
        self.expect(Request { ask, node, name, other: 0, other_name: 0 }, expected);
        if expected.is_ok() {
            self.unname((node, name));
        }
    }

    pub(crate) fn rename(&mut self, from: (u64, u64), to: (u64, u64)) {
        let flags = [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE][self.random(3) as usize];
        let (source, target) = (self.names.get(&from).copied(), self.names.get(&to).copied());
        let is_dir = |node: &u64| self.things[node].kind == DIR;
        let expected = match (source, target) {
            (None, _) => Err(Errno::ENOENT),
            (_, None) if flags == libc::RENAME_EXCHANGE => Err(Errno::ENOENT),
            (_, Some(_)) if flags == libc::RENAME_NOREPLACE => Err(Errno::EEXIST),
            (Some(source), Some(target)) if flags == 0 && source != target => {
                match (is_dir(&source), is_dir(&target)) {
                    (true, false) => Err(Errno::ENOTDIR),
                    (false, true) => Err(Errno::EISDIR),
                    _ => Ok((0, 0)),
                }
            }
            _ => Ok((0, 0)),
        };
        let other = to.0 | u64::from(flags) << 40;
        let request =
            Request { ask: Ask::Rename, node: from.0, name: from.1, other, other_name: to.1 };
        self.expect(request, expected);
        let (Ok(_), Some(source)) = (expected, source) else { return };
        match target {
            Some(target) if target == source => {}
            Some(target) if flags == libc::RENAME_EXCHANGE => {
                self.names.insert(from, target);
                self.names.insert(to, source);
            }
            _ => {
                self.unname(to);
                self.names.remove(&from);
                self.names.insert(to, source);
            }
        }
    }

    pub(crate) fn link(&mut self, node: u64, (parent, name): (u64, u64)) {
        let expected = match self.names.contains_key(&(parent, name)) {
            true => Err(Errno::EEXIST),
            false if self.things[&node].kind == DIR => Err(Errno::EPERM),
            false if self.things[&node].nlink == 0 => Err(Errno::ENOENT),
            false => Ok(Some(node)),
        };
        let request = Request { ask: Ask::Link, node: parent, name, other: node, other_name: 0 };
        self.entry(request, expected, 0);
        if expected.is_ok() {
            self.names.insert((parent, name), node);
            self.things.get_mut(&node).unwrap().nlink += 1;
        }
    }

    /// A file that the kernel knows.
    pub(crate) fn file(&mut self) -> Option<u64> {
        let known = |(_, thing): &(&u64, &Thing)| thing.kind == FILE && thing.lookups > 0;
        let files: Vec<u64> = self.things.iter().filter(known).map(|(node, _)| *node).collect();
        if files.is_empty() {
            return None;
        }
        Some(files[self.random(files.len() as u64) as usize])
    }

    pub(crate) fn change_data(&mut self, node: u64) {
        let mut data = self.things[&node].data.clone();
        let size = data.len() as u64;
        match self.random(3) {
            0 => {
                let (offset, seed) = (self.random(30_000), self.random(100_000));
                let new = content(seed);
                let end = offset as usize + new.len();
                data.resize(data.len().max(end), 0);
                data[offset as usize..end].copy_from_slice(&new);
                let request =
                    Request { ask: Ask::Write, node, name: 0, other: offset, other_name: seed };
                self.expect(request, Ok((0, new.len() as u64)));
            }
            1 => {
                let other = self.random(20_000);
                data.resize(other as usize, 0);
                let request = Request { ask: Ask::Truncate, node, name: 0, other, other_name: 0 };
                self.expect(request, Ok((0, 0)));
            }
            _ if size < 200_000 => {
                data.extend_from_within(..);
                let request =
                    Request { ask: Ask::Append, node, name: 0, other: size, other_name: 0 };
                self.expect(request, Ok((0, size)));
            }
            _ => {}
        }
        self.things.get_mut(&node).unwrap().data = data;
    }

    pub(crate) fn change_xattr(&mut self, node: u64) {
        let has = self.things[&node].has_xattr;
        let set = self.random(2) == 0;
        let (ask, failed) =
            if set { (Ask::SetXattr, Errno::EEXIST) } else { (Ask::RemoveXattr, Errno::ENODATA) };
        let expected = if set == has { Err(failed) } else { Ok((0, 0)) };
        let other_name = self.random(10_000);
        self.expect(Request { ask, node, name: 0, other: 0, other_name }, expected);
        self.things.get_mut(&node).unwrap().has_xattr = set;
        if expected.is_err() {
            self.things.get_mut(&node).unwrap().has_xattr = has;
        }
    }

    pub(crate) fn look(&mut self, node: u64) {
        let thing = self.things[&node].clone();
        let mut request = Request { ask: Ask::Getattr, node, name: 0, other: 0, other_name: 0 };
        self.expect(request, Ok((thing.nlink, thing.data.len() as u64)));
        request.ask = Ask::Read;
        self.expect(request, Ok((0, hash(&thing.data))));
    }

    pub(crate) fn step(&mut self, dirs: &[u64]) {
        let (place, to) = (self.spot(dirs), self.spot(dirs));
        let (node, name) = place;
        match self.random(12) {
            0 | 1 => self.make(place),
            2 => self.remove(place, Ask::Unlink),
            3 => self.remove(place, Ask::Rmdir),
            4 | 5 => self.rename(place, to),
            6 => {
                let known = self.names.get(&place).copied();
                let expected = known.map(Some).ok_or(Errno::ENOENT);
                let request = Request { ask: Ask::Lookup, node, name, other: 0, other_name: 0 };
                self.entry(request, expected, 0);
            }
            7 => {
                let request = Request { ask: Ask::Tmpfile, node, name: 0, other: 0, other_name: 0 };
                self.entry(request, Ok(None), FILE);
                let made = self.world.line.get(9);
                self.change_data(made);
                self.look(made);
                self.forget(made);
            }
            kind => {
                let Some(file) = self.file() else { return };
                match kind {
                    8 => self.link(file, place),
                    9 => self.change_data(file),
                    10 => self.change_xattr(file),
                    _ => {
                        self.look(file);
                        self.forget(file);
                    }
                }
            }
        }
    }

    /// Takes everything away again.
    pub(crate) fn clean_up(&mut self) {
        let names: Vec<_> = self.names.iter().map(|(place, node)| (*place, *node)).collect();
        // Those in a directory come before the directory: its node id is the higher one.
        for (place, node) in names.into_iter().rev() {
            let ask = if self.things[&node].kind == DIR { Ask::Rmdir } else { Ask::Unlink };
            self.remove(place, ask);
        }
        let known: Vec<u64> = self.things.keys().copied().filter(|node| *node != 1).collect();
        known.into_iter().for_each(|node| self.forget(node));
    }
}

impl Client<'_> {
    /// By an answer the takeover is known to be over.
    pub(crate) fn look_at_the_root(&mut self) {
        let request = Request { ask: Ask::Getattr, node: 1, name: 0, other: 0, other_name: 0 };
        self.expect(request, Ok((2, 4096)));
    }
}
