//! Random operations on the file system and on a model of it: results, names and
//! contents must stay the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Offsets and lengths reach a few pages.
const REACH: u64 = 5 * PAGE;

/// A directory (counted through those that there are) and a name in it.
type Spot = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    Create(Spot),
    Mkdir(Spot),
    Unlink(Spot),
    Rmdir(Spot),
    Link(Spot, Spot),
    Rename(Spot, Spot, u32),
    Write(Spot, u64, u64, u8),
    Truncate(Spot, u64),
    Allocate(Spot, i32, u64, u64),
    Copy(Spot, u64, Spot, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let spot = || (0..4usize, 0..NAMES.len());
    let at = || prop_oneof![0..REACH, (0..5u64).prop_map(|page| page * PAGE)];
    let flags = prop_oneof![Just(0), Just(libc::RENAME_NOREPLACE), Just(libc::RENAME_EXCHANGE)];
    let keep = libc::FALLOC_FL_KEEP_SIZE;
    let modes = [0, keep, libc::FALLOC_FL_PUNCH_HOLE | keep, libc::FALLOC_FL_ZERO_RANGE];
    prop_oneof![
        3 => spot().prop_map(Step::Create),
        2 => spot().prop_map(Step::Mkdir),
        1 => spot().prop_map(Step::Unlink),
        1 => spot().prop_map(Step::Rmdir),
        1 => (spot(), spot()).prop_map(|(from, to)| Step::Link(from, to)),
        3 => (spot(), spot(), flags).prop_map(|(from, to, flags)| Step::Rename(from, to, flags)),
        4 => (spot(), at(), at(), 1..=255u8).prop_map(|(s, o, l, b)| Step::Write(s, o, l, b)),
        2 => (spot(), at()).prop_map(|(spot, size)| Step::Truncate(spot, size)),
        3 => (spot(), proptest::sample::select(modes.to_vec()), at(), at())
            .prop_map(|(s, mode, o, l)| Step::Allocate(s, mode, o, l + 1)),
        3 => (spot(), at(), spot(), at(), at())
            .prop_map(|(from, i, to, o, l)| Step::Copy(from, i, to, o, l)),
    ]
}

enum Thing {
    File(Vec<u8>),
    Dir(BTreeMap<&'static str, usize>),
}

/// The model: things by number, 0 is the root. Those without a name stay, unreachable.
struct Model {
    things: Vec<Thing>,
}

impl Model {
    fn dir(&mut self, dir: usize) -> &mut BTreeMap<&'static str, usize> {
        match &mut self.things[dir] {
            Thing::Dir(names) => names,
            Thing::File(_) => panic!("{dir} is a file"),
        }
    }

    fn file(&mut self, thing: usize) -> Result<&mut Vec<u8>> {
        match &mut self.things[thing] {
            Thing::File(bytes) => Ok(bytes),
            Thing::Dir(_) => Err(Errno::EISDIR),
        }
    }

    fn is_dir(&self, thing: usize) -> bool {
        matches!(self.things[thing], Thing::Dir(_))
    }

    /// `top` and everything below it, each once a name.
    fn below(&self, top: usize) -> Vec<usize> {
        let Thing::Dir(names) = &self.things[top] else { return vec![top] };
        let inner = names.values().flat_map(|thing| self.below(*thing));
        std::iter::once(top).chain(inner).collect()
    }

    fn dirs(&self) -> Vec<usize> {
        self.below(0).into_iter().filter(|thing| self.is_dir(*thing)).collect()
    }

    /// The directory and the name that `spot` means now.
    fn place(&self, spot: Spot) -> (usize, &'static str) {
        let dirs = self.dirs();
        (dirs[spot.0 % dirs.len()], NAMES[spot.1])
    }

    fn find(&mut self, (dir, name): (usize, &str)) -> Result<usize> {
        self.dir(dir).get(name).copied().ok_or(Errno::ENOENT)
    }

    fn add(&mut self, (dir, name): (usize, &'static str), thing: Thing) -> Result<()> {
        if self.find((dir, name)).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.things.push(thing);
        let number = self.things.len() - 1;
        self.dir(dir).insert(name, number);
        Ok(())
    }

    fn remove(&mut self, place: (usize, &'static str), dir: bool) -> Result<()> {
        let thing = self.find(place)?;
        match (&self.things[thing], dir) {
            (Thing::File(_), true) => return Err(Errno::ENOTDIR),
            (Thing::Dir(_), false) => return Err(Errno::EISDIR),
            (Thing::Dir(names), true) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => self.dir(place.0).remove(place.1),
        };
        Ok(())
    }

    fn rename(
        &mut self,
        from: (usize, &'static str),
        to: (usize, &'static str),
        flags: u32,
    ) -> Result<()> {
        let source = self.find(from)?;
        let target = self.find(to).ok();
        let exchange = flags == libc::RENAME_EXCHANGE;
        let inside = |model: &Model, dir, of| model.is_dir(of) && model.below(of).contains(&dir);
        match target {
            None if exchange => return Err(Errno::ENOENT),
            Some(_) if flags == libc::RENAME_NOREPLACE => return Err(Errno::EEXIST),
            _ if inside(self, to.0, source) => return Err(Errno::EINVAL),
            Some(target) if target == source => return Ok(()),
            Some(target) if exchange => {
                if inside(self, from.0, target) {
                    return Err(Errno::EINVAL);
                }
                self.dir(from.0).insert(from.1, target);
                self.dir(to.0).insert(to.1, source);
                return Ok(());
            }
            Some(target) => match (self.is_dir(source), &self.things[target]) {
                (true, Thing::File(_)) => return Err(Errno::ENOTDIR),
                (false, Thing::Dir(_)) => return Err(Errno::EISDIR),
                (true, Thing::Dir(names)) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            },
            None => {}
        }
        self.dir(from.0).remove(from.1);
        self.dir(to.0).insert(to.1, source);
        Ok(())
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if !data.is_empty() {
        bytes.resize(bytes.len().max(end), 0);
        bytes[start..end].copy_from_slice(data);
    }
}

fn clear(bytes: &mut Vec<u8>, mode: i32, offset: u64, length: u64) {
    let end = (offset + length) as usize;
    if mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
        bytes.resize(bytes.len().max(end), 0);
    }
    if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) != 0 {
        let end = end.min(bytes.len());
        bytes[(offset as usize).min(end)..end].fill(0);
    }
}

/// Both sides, and which node is which thing.
struct Pair {
    fs: Fs,
    model: Model,
    nodes: Vec<NodeId>,
}

impl Pair {
    fn new() -> Self {
        let model = Model { things: vec![Thing::Dir(BTreeMap::new())] };
        Pair { fs: Fs::new(), model, nodes: vec![ROOT] }
    }

    fn at(&self, spot: Spot) -> (NodeId, &'static str) {
        let (dir, name) = self.model.place(spot);
        (self.nodes[dir], name)
    }

    /// Notes a new node; the kernel's lookup is given back, so only names keep it.
    fn made(&mut self, made: Result<NodeId>) -> Result<u64> {
        let node = made?;
        self.fs.mem.forget(node, 1);
        self.nodes.push(node);
        Ok(0)
    }

    fn both(&mut self, step: &Step) -> (Result<u64>, Result<u64>) {
        match *step {
            Step::Create(spot) => self.add(spot, Thing::File(Vec::new())),
            Step::Mkdir(spot) => self.add(spot, Thing::Dir(BTreeMap::new())),
            Step::Unlink(spot) | Step::Rmdir(spot) => {
                let ((dir, name), place) = (self.at(spot), self.model.place(spot));
                let rmdir = matches!(step, Step::Rmdir(_));
                let got = if rmdir { self.fs.rmdir(dir, name) } else { self.fs.unlink(dir, name) };
                (got.map(|()| 0), self.model.remove(place, rmdir).map(|()| 0))
            }
            Step::Link(from, to) => self.link(from, to),
            Step::Rename(from, to, flags) => {
                let got = self.fs.rename(self.at(from), self.at(to), flags);
                let (from, to) = (self.model.place(from), self.model.place(to));
                (got.map(|()| 0), self.model.rename(from, to, flags).map(|()| 0))
            }
            Step::Write(spot, offset, length, byte) => {
                let data = vec![byte; length as usize];
                self.change(
                    spot,
                    |fs, node| fs.write(node, offset, &data).map(u64::from),
                    |file| {
                        put(file, offset, &data);
                        length
                    },
                )
            }
            Step::Truncate(spot, size) => self.change(
                spot,
                |fs, node| fs.truncate(node, size).map(|_| 0),
                |file| {
                    file.resize(size as usize, 0);
                    0
                },
            ),
            Step::Allocate(spot, mode, offset, length) => self.change(
                spot,
                |fs, node| fs.fallocate(node, mode, offset, length).map(|()| 0),
                |file| {
                    clear(file, mode, offset, length);
                    0
                },
            ),
            Step::Copy(from, i, to, o, length) => self.copy((from, i), (to, o), length),
        }
    }

    fn add(&mut self, spot: Spot, thing: Thing) -> (Result<u64>, Result<u64>) {
        let ((dir, name), place) = (self.at(spot), self.model.place(spot));
        let made = match thing {
            Thing::File(_) => self.fs.create(dir, name),
            Thing::Dir(_) => self.fs.mkdir(dir, name),
        };
        (self.made(made), self.model.add(place, thing).map(|()| 0))
    }

    fn link(&mut self, from: Spot, to: Spot) -> (Result<u64>, Result<u64>) {
        let ((dir, name), place) = (self.at(to), self.model.place(to));
        let source = self.model.place(from);
        let Ok(thing) = self.model.find(source) else { return (Ok(0), Ok(0)) };
        let got = self.fs.link(self.nodes[thing], dir, name);
        if got.is_ok() {
            self.fs.mem.forget(self.nodes[thing], 1);
        }
        let expected = match self.model.find(place) {
            Ok(_) => Err(Errno::EEXIST),
            Err(_) if self.model.is_dir(thing) => Err(Errno::EPERM),
            Err(_) => {
                self.model.dir(place.0).insert(place.1, thing);
                Ok(0)
            }
        };
        (got.map(|_| 0), expected)
    }

    /// Changes the data of what is at `spot`, if anything is.
    fn change(
        &mut self,
        spot: Spot,
        real: impl FnOnce(&Fs, NodeId) -> Result<u64>,
        model: impl FnOnce(&mut Vec<u8>) -> u64,
    ) -> (Result<u64>, Result<u64>) {
        let place = self.model.place(spot);
        let Ok(thing) = self.model.find(place) else { return (Ok(0), Ok(0)) };
        (real(&self.fs, self.nodes[thing]), self.model.file(thing).map(model))
    }

    fn copy(
        &mut self,
        (from, i): (Spot, u64),
        (to, o): (Spot, u64),
        length: u64,
    ) -> (Result<u64>, Result<u64>) {
        let (from, to) = (self.model.place(from), self.model.place(to));
        let (Ok(from), Ok(to)) = (self.model.find(from), self.model.find(to)) else {
            return (Ok(0), Ok(0));
        };
        let got = self.fs.copy((self.nodes[from], i), (self.nodes[to], o), length);
        (got, self.copy_in_model((from, i), (to, o), length))
    }

    fn copy_in_model(
        &mut self,
        (from, i): (usize, u64),
        (to, o): (usize, u64),
        length: u64,
    ) -> Result<u64> {
        self.model.file(to)?;
        let source = self.model.file(from)?;
        let size = source.len() as u64;
        let piece = source[i.min(size) as usize..(i + length).min(size) as usize].to_vec();
        if from == to && i.abs_diff(o) < piece.len() as u64 {
            return Err(Errno::EINVAL);
        }
        put(self.model.file(to)?, o, &piece);
        Ok(piece.len() as u64)
    }

    /// Compares everything that can be reached, and what is counted as used.
    fn compare(&mut self) {
        let (mut names, mut bytes) = (1, 0);
        let mut seen = std::collections::BTreeSet::new();
        for thing in self.model.below(0) {
            let node = self.nodes[thing];
            match &self.model.things[thing] {
                Thing::Dir(children) => {
                    names += children.len() as u64;
                    compare_dir(&self.fs, node, children, &self.nodes);
                }
                Thing::File(expected) => {
                    compare_file(&self.fs, node, expected);
                    if seen.insert(thing) {
                        bytes += self.fs.attr(node).unwrap().blocks * 512;
                    }
                }
            }
        }
        let free = self.fs.free();
        assert_eq!(free, (LIMIT - bytes, LIMIT / PAGE - names), "what is free");
    }
}

fn compare_dir(fs: &Fs, node: NodeId, names: &BTreeMap<&str, usize>, nodes: &[NodeId]) {
    let listed = fs.readdir(node, 2, 4096).unwrap();
    let mut listed: Vec<_> = listed.into_iter().map(|entry| (entry.name, entry.ino)).collect();
    listed.sort();
    let expected: Vec<_> =
        names.iter().map(|(name, thing)| (name.to_string(), nodes[*thing].0)).collect();
    assert_eq!(listed, expected);
    for (name, thing) in names {
        assert_eq!(fs.node(node, name), Ok(nodes[*thing]));
    }
}

fn compare_file(fs: &Fs, node: NodeId, expected: &[u8]) {
    assert_eq!(fs.attr(node).unwrap().size, expected.len() as u64);
    assert!(fs.read(node, 0, expected.len() + 10).unwrap() == expected, "contents of {node}");
    let mut at = 0;
    while let Ok(hole) = fs.seek(node, libc::SEEK_HOLE, at) {
        let end = fs.seek(node, libc::SEEK_DATA, hole).unwrap_or(expected.len() as u64);
        assert!(expected[hole as usize..end as usize].iter().all(|byte| *byte == 0));
        at = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn behaves_as_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            let (got, expected) = pair.both(step);
            prop_assert_eq!(got, expected, "{:?}", step);
            pair.compare();
        }
    }
}
