//! A file system that counts what it is asked, in a thread. All timeouts are zero, so that the
//! kernel asks each time. Files of any directory are one flat table of names.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use fusex::sys::device::backing_open;
use fusex::sys::fd::Fd;
use nix::errno::Errno;
use nix::mount::MsFlags;

pub(crate) const LOOKUP: u32 = 1;
pub(crate) const FORGET: u32 = 2;
pub(crate) const GETATTR: u32 = 3;
pub(crate) const SETATTR: u32 = 4;
pub(crate) const READLINK: u32 = 5;
pub(crate) const SYMLINK: u32 = 6;
pub(crate) const MKNOD: u32 = 8;
pub(crate) const MKDIR: u32 = 9;
pub(crate) const UNLINK: u32 = 10;
pub(crate) const RMDIR: u32 = 11;
pub(crate) const RENAME: u32 = 12;
pub(crate) const LINK: u32 = 13;
pub(crate) const OPEN: u32 = 14;
pub(crate) const WRITE: u32 = 16;
pub(crate) const SETXATTR: u32 = 21;
pub(crate) const GETXATTR: u32 = 22;
pub(crate) const REMOVEXATTR: u32 = 24;
pub(crate) const INIT: u32 = 26;
pub(crate) const DESTROY: u32 = 38;
pub(crate) const BATCH_FORGET: u32 = 42;
pub(crate) const RENAME2: u32 = 45;

const FOPEN_PASSTHROUGH: u32 = 1 << 7;
/// The root is a directory, and so is what MKDIR made.
const DIRECTORY: u32 = 0o40755;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) size: u64,
    links: u32,
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// How many lookups the kernel has to forget.
    pub(crate) lookups: i64,
}

#[derive(Default)]
pub(crate) struct State {
    /// How often each opcode was asked for.
    pub(crate) asked: BTreeMap<u32, u64>,
    pub(crate) nodes: BTreeMap<u64, Node>,
    names: BTreeMap<(u64, Vec<u8>), u64>,
    last: u64,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
    /// The file that the next OPEN passes reads and writes to.
    pub(crate) backing: Option<i32>,
    /// A GETATTR of this node is answered only once this is another one.
    pub(crate) held: u64,
    holding: Option<Vec<u8>>,
}

pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// To the kernel, also for notices.
    device: File,
}

type Answer = Result<Vec<u8>, Errno>;

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().unwrap())
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
}

/// The names in a request, which end with NUL each.
fn names(data: &[u8]) -> Vec<Vec<u8>> {
    data.split(|it| *it == 0).map(<[u8]>::to_vec).collect()
}

impl State {
    fn attr(&self, id: u64) -> Vec<u8> {
        let node = &self.nodes[&id];
        let mut out = Vec::new();
        for field in [id, node.size, 0, 0, 0, 0] {
            out.extend(field.to_le_bytes());
        }
        for field in [0, 0, 0, node.mode, node.links, 0, 0, 0, 4096, 0] {
            out.extend(u32::to_le_bytes(field));
        }
        out
    }

    fn attr_out(&self, id: u64) -> Vec<u8> {
        [vec![0; 16], self.attr(id)].concat()
    }

    fn entry_out(&mut self, id: u64) -> Vec<u8> {
        self.nodes.get_mut(&id).unwrap().lookups += 1;
        [id.to_le_bytes().to_vec(), vec![0; 32], self.attr(id)].concat()
    }

    fn make(&mut self, parent: u64, name: &[u8], mode: u32, target: &[u8]) -> Vec<u8> {
        self.last += 1;
        let (id, target) = (self.last + 1, target.to_vec());
        let node = Node { mode, size: 0, links: 1, target, xattrs: BTreeMap::new(), lookups: 0 };
        self.nodes.insert(id, node);
        self.names.insert((parent, name.to_vec()), id);
        self.entry_out(id)
    }

    fn unlink(&mut self, parent: u64, name: &[u8]) -> Answer {
        let id = self.names.remove(&(parent, name.to_vec())).ok_or(Errno::ENOENT)?;
        let node = self.nodes.get_mut(&id).unwrap();
        node.links -= 1;
        if node.links == 0 && node.lookups == 0 {
            self.nodes.remove(&id);
        }
        Ok(Vec::new())
    }

    fn rename(&mut self, from: u64, to: u64, exchange: bool, names: &[Vec<u8>]) -> Answer {
        let (old, new) = ((from, names[0].clone()), (to, names[1].clone()));
        let id = *self.names.get(&old).ok_or(Errno::ENOENT)?;
        let other = self.names.get(&new).copied();
        if exchange {
            self.names.insert(old, other.ok_or(Errno::ENOENT)?);
        } else {
            if other.is_some() {
                self.unlink(to, &names[1])?;
            }
            self.names.remove(&old);
        }
        self.names.insert(new, id);
        Ok(Vec::new())
    }

    fn forget(&mut self, id: u64, count: u64) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return self.faults.push(format!("{id} is forgotten, and unknown"));
        };
        node.lookups -= i64::try_from(count).unwrap();
        if node.lookups < 0 && id != 1 {
            self.faults.push(format!("{id}: {} lookups", node.lookups));
        }
    }

    fn setattr(&mut self, id: u64, body: &[u8]) -> Answer {
        let (valid, node) = (u32_at(body, 0), self.nodes.get_mut(&id).unwrap());
        if valid & 1 != 0 {
            node.mode = node.mode & 0o170_000 | u32_at(body, 68) & 0o7777;
        }
        if valid & 8 != 0 {
            node.size = u64_at(body, 16);
        }
        Ok(self.attr_out(id))
    }

    fn getxattr(&self, id: u64, body: &[u8]) -> Answer {
        let value = self.nodes[&id].xattrs.get(&names(&body[8..])[0]).ok_or(Errno::ENODATA)?;
        match u32_at(body, 0) {
            0 => Ok([u32::try_from(value.len()).unwrap().to_le_bytes(), [0; 4]].concat()),
            room if (room as usize) < value.len() => Err(Errno::ERANGE),
            _ => Ok(value.clone()),
        }
    }

    fn answer(&mut self, opcode: u32, id: u64, body: &[u8]) -> Answer {
        if !self.nodes.contains_key(&id) && ![INIT, DESTROY].contains(&opcode) {
            self.faults.push(format!("{opcode} for {id}, which is unknown"));
            return Err(Errno::ESTALE);
        }
        match opcode {
            INIT => {
                let mut out = vec![0; 64];
                out[..4].copy_from_slice(&7u32.to_le_bytes());
                out[4..8].copy_from_slice(&31u32.to_le_bytes());
                // Directory operations in parallel; there are more flags: passthrough.
                out[12..16].copy_from_slice(&(1u32 << 18 | 1 << 30).to_le_bytes());
                out[20..24].copy_from_slice(&4096u32.to_le_bytes());
                out[32..36].copy_from_slice(&(1u32 << 5).to_le_bytes());
                out[36..40].copy_from_slice(&1u32.to_le_bytes());
                Ok(out)
            }
            LOOKUP => {
                let key = (id, names(body)[0].clone());
                let child = *self.names.get(&key).ok_or(Errno::ENOENT)?;
                Ok(self.entry_out(child))
            }
            GETATTR => Ok(self.attr_out(id)),
            SETATTR => self.setattr(id, body),
            READLINK => Ok(self.nodes[&id].target.clone()),
            SYMLINK => Ok(self.make(id, &names(body)[0], 0o120_777, &names(body)[1])),
            MKNOD => Ok(self.make(id, &names(&body[16..])[0], u32_at(body, 0), b"")),
            MKDIR => Ok(self.make(id, &names(&body[8..])[0], DIRECTORY, b"")),
            UNLINK | RMDIR => self.unlink(id, &names(body)[0]),
            RENAME => self.rename(id, u64_at(body, 0), false, &names(&body[8..])),
            RENAME2 => self.rename(id, u64_at(body, 0), u32_at(body, 8) == 2, &names(&body[16..])),
            LINK => {
                let node = u64_at(body, 0);
                self.names.insert((id, names(&body[8..])[0].clone()), node);
                self.nodes.get_mut(&node).unwrap().links += 1;
                Ok(self.entry_out(node))
            }
            OPEN => {
                let mut out = [7u64.to_le_bytes(), [0; 8]].concat();
                if let Some(backing) = self.backing.take() {
                    out[8..12].copy_from_slice(&FOPEN_PASSTHROUGH.to_le_bytes());
                    out[12..].copy_from_slice(&backing.to_le_bytes());
                }
                Ok(out)
            }
            WRITE => {
                let end = u64_at(body, 8) + u64::from(u32_at(body, 16));
                let node = self.nodes.get_mut(&id).unwrap();
                node.size = node.size.max(end);
                Ok([u32_at(body, 16).to_le_bytes(), [0; 4]].concat())
            }
            SETXATTR => {
                let name = names(&body[8..])[0].clone();
                let value = body[8 + name.len() + 1..].to_vec();
                self.nodes.get_mut(&id).unwrap().xattrs.insert(name, value);
                Ok(Vec::new())
            }
            GETXATTR => self.getxattr(id, body),
            REMOVEXATTR => {
                let xattrs = &mut self.nodes.get_mut(&id).unwrap().xattrs;
                xattrs.remove(&names(body)[0]).map(|_| Vec::new()).ok_or(Errno::ENODATA)
            }
            DESTROY => Ok(Vec::new()),
            _ => Err(Errno::ENOSYS),
        }
    }
}

impl Shared {
    fn reply(&self, unique: &[u8], answer: Answer) {
        let (error, data) = match answer {
            Ok(data) => (0, data),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let length = u32::try_from(16 + data.len()).unwrap().to_le_bytes();
        let reply = [&length, &error.to_le_bytes(), unique, &data].concat();
        // The caller may have been killed, or the connection aborted.
        let _ = (&self.device).write(&reply);
    }

    /// Answers one request.
    fn serve(&self, request: &[u8]) {
        let (opcode, unique, id) = (u32_at(request, 4), &request[8..16], u64_at(request, 16));
        let body = &request[40..];
        let mut state = self.state.lock().unwrap();
        *state.asked.entry(opcode).or_default() += 1;
        match opcode {
            FORGET => state.forget(id, u64_at(body, 0)),
            BATCH_FORGET => {
                for at in (8..body.len()).step_by(16) {
                    state.forget(u64_at(body, at), u64_at(body, at + 8));
                }
            }
            GETATTR if state.held == id => {
                // What it was, before what comes in between.
                let old = state.attr_out(id);
                state.holding = Some([unique, &old].concat());
            }
            _ => {
                let answer = state.answer(opcode, id, body);
                self.reply(unique, answer);
            }
        }
        self.changed.notify_all();
    }

    /// How often it was asked since this was called before, by opcode.
    pub(crate) fn asked(&self) -> BTreeMap<u32, u64> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The node of a name in the root.
    pub(crate) fn node(&self, name: &str) -> u64 {
        self.state.lock().unwrap().names[&(1, name.as_bytes().to_vec())]
    }

    /// Changes a node behind the kernel's back.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Node)) {
        let id = self.node(name);
        change(self.state.lock().unwrap().nodes.get_mut(&id).unwrap());
    }

    /// Takes a name away behind the kernel's back.
    pub(crate) fn take(&self, name: &str) {
        self.state.lock().unwrap().unlink(1, name.as_bytes()).unwrap();
    }

    /// The next file that is opened is read and written in the kernel.
    pub(crate) fn pass(&self, lower: &File) {
        let [device, lower] = [&self.device, lower].map(|it| Fd::from_number(it.as_raw_fd()));
        let backing = backing_open(device, lower);
        self.state.lock().unwrap().backing = Some(backing.unwrap());
    }

    /// From now on GETATTR of this node is not answered.
    pub(crate) fn hold(&self, id: u64) {
        self.state.lock().unwrap().held = id;
    }

    pub(crate) fn wait_until_held(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |it| it.holding.is_none()).unwrap());
    }

    /// Gives the answer that was held.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock().unwrap();
        state.held = 0;
        let held = state.holding.take().unwrap();
        self.reply(&held[..8], Ok(held[8..].to_vec()));
    }

    /// Sends a notice; `code` is its number.
    pub(crate) fn notify(&self, code: i32, body: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(16 + body.len()).unwrap().to_le_bytes();
        (&self.device).write_all(&[&length[..], &code.to_le_bytes(), &[0; 8], body].concat())
    }
}

/// Mounts on a directory, which is made, and serves until the mount is gone. Returns what is shared
/// with the thread, and the connection's number.
pub(crate) fn mount(point: &Path) -> (Arc<Shared>, u32) {
    std::fs::create_dir_all(point).unwrap();
    let device = OpenOptions::new().read(true).write(true).open("/dev/fusebpf").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let none = Some("none");
    nix::mount::mount(none, point, Some("fusebpf"), MsFlags::empty(), Some(&options[..])).unwrap();
    let mut state = State { last: 1, ..State::default() };
    let (target, xattrs) = (Vec::new(), BTreeMap::new());
    let root = Node { mode: DIRECTORY, size: 0, links: 2, target, xattrs, lookups: 1 };
    state.nodes.insert(1, root);
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), device };
    let shared = Arc::new(shared);
    let served = shared.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 17];
        while let Ok(length) = (&served.device).read(&mut buffer) {
            served.serve(&buffer[..length]);
        }
    });
    // The first one waits until INIT is answered.
    std::fs::metadata(point).unwrap();
    let wanted = point.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut fields = mounts.lines().map(|it| it.split(' ').collect::<Vec<_>>());
    let ours = fields.rfind(|it| it[4] == wanted).unwrap();
    let connection = ours[2].split_once(':').unwrap().1.parse().unwrap();
    (shared, connection)
}
