//! A read-only file system with one file: `cargo run --example hello MOUNTPOINT`, then
//! `cat MOUNTPOINT/hello`. Serves until it is unmounted; Ctrl-C unmounts too.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use fusex::Errno;
use fusex::fs::{Context, Filesystem, Result};
use fusex::mount::{self, Options};
use fusex::session::{Session, SessionConfig};
use fusex::wire::{Attr, AttrReply, DirBuffer, Entry, NodeId, ops};
use nix::mount::MsFlags;

const FILE: NodeId = NodeId(2);
const TEXT: &[u8] = b"Hello, world!\n";
/// Nothing ever changes: the kernel need not ask twice.
const VALID: Duration = Duration::from_secs(3600);

struct Hello;

fn attr(node: NodeId) -> Result<Attr> {
    let (mode, nlink, size) = match node {
        NodeId::ROOT => (libc::S_IFDIR | 0o555, 2, 0),
        FILE => (libc::S_IFREG | 0o444, 1, TEXT.len() as u64),
        _ => return Err(Errno::ESTALE),
    };
    Ok(Attr { ino: node.0, mode, nlink, size, ..Attr::default() })
}

impl Filesystem for Hello {
    fn lookup(&self, _: &Context, _parent: NodeId, op: &ops::Lookup<'_>) -> Result<Entry> {
        if op.name.as_bytes() != b"hello" {
            return Err(Errno::ENOENT);
        }
        let (attr_valid, entry_valid) = (VALID, VALID);
        Ok(Entry { node: FILE, generation: 0, attr: attr(FILE)?, attr_valid, entry_valid })
    }

    fn getattr(&self, _: &Context, node: NodeId, _: &ops::Getattr) -> Result<AttrReply> {
        Ok(AttrReply { attr: attr(node)?, valid: VALID })
    }

    fn readdir(
        &self,
        _: &Context,
        _: NodeId,
        op: &ops::Readdir,
        out: &mut DirBuffer<'_>,
    ) -> Result<()> {
        let root = NodeId::ROOT.0;
        let (dir, file) = (libc::DT_DIR, libc::DT_REG);
        let entries = [(root, dir, "."), (root, dir, ".."), (FILE.0, file, "hello")];
        for (offset, (ino, kind, name)) in (1..).zip(entries).skip(op.offset as usize) {
            if !out.push(ino, offset, kind, name.as_bytes()) {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, _: &Context, _: NodeId, op: &ops::Read, buf: &mut [u8]) -> Result<usize> {
        let rest = TEXT.get(op.offset as usize..).unwrap_or_default();
        let length = rest.len().min(buf.len());
        buf[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: hello MOUNTPOINT")?;
    let mountpoint = mount::check::mountpoint(Path::new(&path))?;
    let flags = Options::default().flags | MsFlags::MS_RDONLY;
    let options = Options { auto_unmount: true, flags, ..Options::default() };
    let mounted = mount::mount(&mountpoint, "hello", &options)?;
    Ok(Session::start(mounted.device, Hello, SessionConfig::default())?.serve()?)
}
