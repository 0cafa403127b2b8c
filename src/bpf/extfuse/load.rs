//! Loading, binding to a connection, and pinning.

use std::fs::{self, DirBuilder};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags};
use nix::sys::statfs::{FsType, statfs};
use zerocopy::IntoBytes;

use super::pinned::{LINK, clear, place};
use super::policy::Policy;
use crate::Errno;
use crate::bpf::attach::heard;
use crate::bpf::skeleton::extfuse::{ExtfuseSkel, ExtfuseSkelBuilder};
use crate::mount::mountinfo::Entry;

/// linux/magic.h: `BPF_FS_MAGIC`.
const BPF_FS: FsType = FsType(0xcafe_4a11);

/// Why nothing was loaded; then nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server decides by caller, and what is kept is for all callers.
    #[error(
        "allow_other without default_permissions: what the server tells one caller would be told to all: mount it with default_permissions"
    )]
    ByCaller,
    /// The mount is one of the kernel's own FUSE.
    #[error(
        "type {fs_type}: only 'fusebpf' can be answered in the kernel: mount it with '-o kernel=fusebpf'"
    )]
    OtherType {
        /// Its type.
        fs_type: String,
    },
    /// The place to pin is not in bpffs.
    #[error("{}: not in a BPF file system: mount one with 'mount -t bpf none /sys/fs/bpf', or give --pin", path.display())]
    NoBpffs {
        /// What was looked at.
        path: PathBuf,
    },
    /// The programs cannot be loaded.
    #[error("cannot be loaded: {0}: 'fusex bpf-load --probe' tells more")]
    Refused(String),
    /// Another one is there already.
    #[error("programs are bound to it already: take them away with 'fusex bpf-load --detach'")]
    Busy,
    /// The kernel does not bind them.
    #[error("cannot be bound to connection {connection}: {why}")]
    NotBound {
        /// Its id.
        connection: u32,
        /// What the kernel said.
        why: String,
    },
    /// Something in bpffs.
    #[error("{}: {error}", path.display())]
    Pin {
        /// What.
        path: PathBuf,
        /// How it failed.
        error: io::Error,
    },
}

/// Loads the programs, binds them to a mount's connection, and pins all below `dir`. Returns where.
///
/// # Errors
/// See [`LoadError`].
pub fn load(mount: &Entry, policy: &Policy, dir: &Path) -> Result<PathBuf, LoadError> {
    if mount.fs_type.split('.').next() != Some("fusebpf") {
        return Err(LoadError::OtherType { fs_type: mount.fs_type.clone() });
    }
    let is_set = |option| mount.super_options.split(',').any(|word| word == option);
    if is_set("allow_other") && !is_set("default_permissions") {
        return Err(LoadError::ByCaller);
    }
    in_bpffs(dir)?;
    let connection = mount.connection();
    let mut skeleton = loaded(policy, connection).map_err(LoadError::Refused)?;
    let link = bound(&mut skeleton, connection)?;
    let place = place(dir, connection);
    pin(skeleton, link, &place).inspect_err(|_| drop(clear(&place)))?;
    Ok(place)
}

/// Whether this kernel takes the programs; why not.
pub(super) fn trial() -> Result<(), String> {
    loaded(&Policy { entries: 1, ..Policy::default() }, 0).map(drop)
}

/// Loads the programs and fills in the policy.
fn loaded(policy: &Policy, connection: u32) -> Result<ExtfuseSkel<'static>, String> {
    heard(|| {
        // Lives as long as the process: the skeleton borrows it, and both are kept together.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = ExtfuseSkelBuilder::default().open(object)?;
        open.maps.entry_map.set_max_entries(policy.entries)?;
        open.maps.attr_map.set_max_entries(policy.entries)?;
        open.maps.xattr_map.set_max_entries(policy.entries)?;
        open.maps.other_map.set_max_entries(policy.entries)?;
        open.struct_ops.extfuse_mut().connection = connection;
        let skeleton = open.load()?;
        for (opcode, handler) in policy.handlers() {
            let row = handler.as_bytes();
            skeleton.maps.handlers.update(opcode.as_bytes(), row, MapFlags::ANY)?;
        }
        for prefix in policy.prefixes() {
            let names = &skeleton.maps.xattr_names;
            names.update(prefix.as_bytes(), 1u32.as_bytes(), MapFlags::ANY)?;
        }
        Ok(skeleton)
    })
}

fn bound(skeleton: &mut ExtfuseSkel<'_>, connection: u32) -> Result<Link, LoadError> {
    let mut is_busy = false;
    let link = heard(|| {
        let link = skeleton.maps.extfuse.attach_struct_ops();
        is_busy = Errno::last() == Errno::EBUSY;
        link
    });
    link.map_err(
        |why| if is_busy { LoadError::Busy } else { LoadError::NotBound { connection, why } },
    )
}

/// Pins maps and link in a directory of their own, in place of what an earlier connection of this
/// id has left there. The link comes last: whoever finds it finds the maps.
fn pin(mut skeleton: ExtfuseSkel<'_>, mut link: Link, place: &Path) -> Result<(), LoadError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error| LoadError::Pin { path, error }
    };
    clear(place).map_err(failed(place))?;
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(place).map_err(failed(place))?;
    for mut map in skeleton.object_mut().maps_mut() {
        let name = map.name().to_os_string();
        if name != "extfuse" && name != "rooms" {
            let path = place.join(name);
            map.pin(&path).map_err(io::Error::other).map_err(failed(&path))?;
        }
    }
    let path = place.join(LINK);
    link.pin(&path).map_err(io::Error::other).map_err(failed(&path))
}

/// That a directory that may not be there yet is, or will be, in bpffs.
fn in_bpffs(dir: &Path) -> Result<(), LoadError> {
    let there = dir.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(dir);
    match statfs(there) {
        Ok(found) if found.filesystem_type() == BPF_FS => Ok(()),
        _ => Err(LoadError::NoBpffs { path: dir.into() }),
    }
}
