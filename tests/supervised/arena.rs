//! The live arena of a mount from outside: what lies where, and bits that flip.
//!
//! The layout is that of `src/recovery/arena.rs` and `table.rs`: a directory of regions in the
//! first page; in a table's region a record is its state word and two copies, each behind its
//! check word.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::common::Mount;
use crate::kills::supervisor;
use fusex::crash::workload::Random;

const WORD: u64 = 8;
/// "fusexare", little endian.
const MAGIC: u64 = u64::from_le_bytes(*b"fusexare");
/// Where the directory begins, and the length of an entry, in words.
const DIRECTORY: u64 = 6;
const ENTRY: u64 = 6;
/// Bits of a state word: in use, and which copy.
const LIVE: u64 = 1;
const SECOND: u64 = 2;
/// How much of a region is looked at.
const LOOKED_AT: usize = 4 << 20;

/// The arena of a mount.
pub(crate) struct LiveArena(File);

/// Some bytes of it: where they begin, the length of a unit, how many units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    start: u64,
    unit: u64,
    count: u64,
}

impl LiveArena {
    pub(crate) fn of(mount: &Mount) -> LiveArena {
        let path = format!("/proc/{}/fd", supervisor(mount));
        let is_arena = |path: &std::path::PathBuf| {
            let link = fs::read_link(path).unwrap_or_default();
            link.to_string_lossy().starts_with("/memfd:fusex arena")
        };
        let mut paths = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let path = paths.find(is_arena).expect("an arena among the descriptors");
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let arena = LiveArena(file);
        assert_eq!(arena.word(0), MAGIC);
        arena
    }

    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, at * WORD).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// The region of this name.
    pub(crate) fn region(&self, name: &str) -> Region {
        let mut wanted = [0; 16];
        wanted[..name.len()].copy_from_slice(name.as_bytes());
        let words =
            |index: u64| [0, 1, 2, 3, 4].map(|at| self.word(DIRECTORY + index * ENTRY + at));
        let is_it =
            |entry: &[u64; 5]| [entry[0].to_le_bytes(), entry[1].to_le_bytes()].concat() == wanted;
        let [_, _, unit, count, start] =
            (0..self.word(3)).map(words).find(is_it).unwrap_or_else(|| panic!("no region {name}"));
        Region { start, unit, count }
    }

    /// The marks of descriptors, which stand before the regions.
    pub(crate) fn marks(&self) -> Region {
        Region { start: 8192, unit: WORD, count: self.word(2) }
    }

    /// Flips one bit; `at` in bytes.
    fn flip(&self, at: u64, bit: u32) {
        let mut byte = [0];
        self.0.read_exact_at(&mut byte, at).unwrap();
        self.0.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
    }

    /// The table record of a node, by the inode number that it begins with.
    pub(crate) fn node(&self, ino: u64) -> u64 {
        let nodes = self.region("nodes");
        let is_it = |index: &u64| {
            let record = (nodes.start + index * nodes.unit) / WORD;
            let state = self.word(record);
            state & LIVE != 0 && self.word(record + copy(nodes, state) + 1) == ino
        };
        (1..1000).find(is_it).unwrap_or_else(|| panic!("no node of inode {ino}"))
    }

    /// Flips a bit of the data that a table's record has now.
    pub(crate) fn damage(&self, table: &str, index: u64) {
        let table = self.region(table);
        let record = table.start + index * table.unit;
        let data = copy(table, self.word(record / WORD)) + 2;
        self.flip(record + data * WORD, 3);
    }

    /// Flips a bit of each number of a device in the journals of slots.
    pub(crate) fn damage_devices(&self) {
        let journals = self.region("journals");
        for slot in 0..journals.count {
            let device = journals.start + slot * journals.unit + 4 * WORD;
            if self.word(device / WORD) != 0 {
                self.flip(device + 1, 1);
            }
        }
    }

    /// Flips `count` bits of words that are not 0, but for the first `skipped` units.
    pub(crate) fn damage_anywhere(
        &self,
        region: Region,
        skipped: u64,
        count: usize,
        random: &mut Random,
    ) {
        let start = region.start + skipped * region.unit;
        let length = (region.unit * (region.count - skipped)).min(LOOKED_AT as u64);
        let mut bytes = vec![0; length as usize];
        self.0.read_exact_at(&mut bytes, start).unwrap();
        let words = bytes.chunks_exact(WORD as usize).enumerate();
        let used: Vec<u64> = words
            .filter(|(_, word)| word.iter().any(|byte| *byte != 0))
            .map(|(number, _)| number as u64)
            .collect();
        for _ in 0..if used.is_empty() { 0 } else { count } {
            let byte = random.pick(&used) * WORD + random.below(8) as u64;
            self.flip(start + byte, random.below(8) as u32);
        }
    }
}

/// Where in a record the copy begins that is in use, in words: its check word.
fn copy(table: Region, state: u64) -> u64 {
    if state & SECOND == 0 { 1 } else { 1 + (table.unit / WORD - 1) / 2 }
}
