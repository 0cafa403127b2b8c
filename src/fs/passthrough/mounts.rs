//! The mounts that the source's tree spans, each with a number.
//!
//! A file seen through two mounts is two nodes: one of them may be read-only. The numbers live in
//! the arena: nodes name their mount by them, and the order in which devices were first seen
//! marks their inode numbers, which must not change under a successor.

use std::collections::HashMap;
use std::sync::Mutex;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::fds::{Fds, Kind};
use crate::recovery::table::Table;
use crate::sys::file::{self, Statx};
use crate::sys::{Fd, OpFd};

const CAPACITY: u32 = 4096;
const NONE: i32 = -1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    /// 0 before Linux 5.8.
    id: u64,
    major: u32,
    minor: u32,
    /// To open file handles with.
    fd: i32,
    padding: u32,
}

/// Device and mount id.
type Key = (u32, u32, u64);

impl Record {
    fn key(&self) -> Key {
        (self.major, self.minor, self.id)
    }
}

#[derive(Default)]
struct Known {
    /// Ids of records.
    numbers: HashMap<Key, u64>,
    /// Devices, the source's own first.
    devices: Vec<(u32, u32)>,
}

impl Known {
    fn add(&mut self, id: u64, record: &Record) {
        self.numbers.insert(record.key(), id);
        let device = (record.major, record.minor);
        if !self.devices.contains(&device) {
            self.devices.push(device);
        }
    }
}

pub(super) struct Mounts {
    table: Table<Record>,
    fds: Fds,
    known: Mutex<Known>,
    home: Key,
    /// The number of the source's own mount.
    home_number: u32,
}

impl Mounts {
    /// `root` is the source, open; `stat` is what it is.
    pub(super) fn new(arena: &Arena, root: Fd, stat: &Statx) -> Result<Mounts, ArenaError> {
        let table = Table::new(arena, "mounts", CAPACITY, 1)?;
        let mut mounts = Mounts {
            table,
            fds: arena.fds(),
            known: Mutex::default(),
            home: key(stat),
            home_number: 0,
        };
        mounts.takeover();
        let number = mounts.look_up(mounts.home).ok_or(crate::Errno::ENFILE)?;
        mounts.home_number = number;
        let id = mounts.id(number);
        mounts.table.update(id, |record| record.fd = root.number());
        Ok(mounts)
    }

    /// Knows again what the table says.
    pub(super) fn takeover(&self) {
        let mut known = self.known.lock().unwrap();
        *known = Known::default();
        self.table.iter().for_each(|(id, record)| known.add(id, &record));
    }

    /// The source's own device.
    pub(super) fn home_device(&self) -> (u32, u32) {
        (self.home.0, self.home.1)
    }

    /// The number of the mount that a file was seen through; `None`: too many mounts.
    pub(super) fn number(&self, stat: &Statx) -> Option<u32> {
        let key = key(stat);
        if key == self.home { Some(self.home_number) } else { self.look_up(key) }
    }

    fn look_up(&self, key: Key) -> Option<u32> {
        let mut known = self.known.lock().unwrap();
        if let Some(id) = known.numbers.get(&key) {
            return Some(*id as u32);
        }
        let (major, minor, id) = key;
        let record = Record { id, major, minor, fd: NONE, padding: 0 };
        let id = self.table.insert(&record)?;
        known.add(id, &record);
        Some(id as u32)
    }

    /// Records are never removed: the generation is 0.
    fn id(&self, number: u32) -> u64 {
        u64::from(number)
    }

    /// The descriptor to open handles of this mount with, if there is one yet.
    pub(super) fn fd(&self, number: u32) -> Option<Fd> {
        let record = self.table.get(self.id(number))?;
        (record.fd != NONE).then(|| Fd::from_number(record.fd))
    }

    /// The same; made of `fd`, a descriptor of this mount, where it is a file or directory
    /// (`openable`), for an O_PATH descriptor does not do.
    pub(super) fn opener(&self, number: u32, fd: Fd, openable: bool) -> Option<Fd> {
        if let Some(fd) = self.fd(number) {
            return Some(fd);
        }
        let _one = self.known.lock().unwrap();
        if !openable {
            return None;
        }
        let opened: OpFd = file::reopen(fd, libc::O_RDONLY | libc::O_NONBLOCK).ok()?;
        self.fds.begin(opened.get(), Kind::Mount, number).ok()?;
        let fd = opened.keep();
        self.table.update(self.id(number), |record| record.fd = fd.number());
        self.fds.keep(fd, Kind::Mount, number);
        Some(fd)
    }

    /// Stored: none is open any more but the source's own. Another one comes back with the next
    /// file that is looked up there.
    pub(super) fn forget_openers(&self) {
        let foreign = |id: &u64| *id != self.id(self.home_number);
        let ids: Vec<u64> = self.table.iter().map(|(id, _)| id).filter(foreign).collect();
        for id in ids {
            self.table.update(id, |record| record.fd = NONE);
        }
    }

    /// Whether the record holds this descriptor.
    pub(super) fn holds(&self, number: u32, fd: Fd) -> bool {
        self.fd(number) == Some(fd)
    }

    /// How many devices were seen before this one; the source's own has 0.
    pub(super) fn device(&self, device: (u32, u32)) -> usize {
        let mut known = self.known.lock().unwrap();
        known.devices.iter().position(|known| *known == device).unwrap_or_else(|| {
            known.devices.push(device);
            known.devices.len() - 1
        })
    }
}

fn key(stat: &Statx) -> Key {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id)
}
