//! What a directory holds, in lines that can be compared.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::Errno;
use crate::sys::{Fd, xattr};

/// Names, types, modes, owners, sizes, contents, link counts, devices and extended attributes of
/// all that is below `root`, and of it.
pub(super) fn tree(root: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    walk(root, OsStr::new("."), &mut lines)?;
    Ok(lines)
}

fn walk(path: &Path, shown: &OsStr, lines: &mut Vec<String>) -> io::Result<()> {
    lines.push(format!("{} {}", shown.to_string_lossy(), describe(path)?));
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(path)?.collect();
    let mut names: Vec<_> = entries?.into_iter().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let mut below = shown.to_os_string();
        below.push("/");
        below.push(&name);
        walk(&path.join(&name), &below, lines)?;
    }
    Ok(())
}

fn describe(path: &Path) -> io::Result<String> {
    let meta = fs::symlink_metadata(path)?;
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let mut line = format!("{mode:o} {uid}:{gid} links {}", meta.nlink());
    let kind = meta.file_type();
    if kind.is_file() {
        let content = fs::read(path)?;
        let hash = xxh3_64(&content);
        line.push_str(&format!(" size {} read {} hash {hash:x}", meta.len(), content.len()));
    } else if kind.is_symlink() {
        line.push_str(&format!(" to {:?}", fs::read_link(path)?));
    } else if kind.is_char_device() || kind.is_block_device() {
        line.push_str(&format!(" device {:x}", meta.rdev()));
    }
    for (name, value) in xattrs(path)? {
        line.push_str(&format!(" {name}={value}"));
    }
    Ok(line)
}

/// Extended attributes that users set, sorted.
fn xattrs(path: &Path) -> io::Result<Vec<(String, String)>> {
    let flags = nix::libc::O_PATH | nix::libc::O_NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let fd = Fd::from_number(file.as_raw_fd());
    let mut buffer = vec![0; 4096];
    let length = match xattr::list(fd, &mut buffer) {
        // There are none on such a file system.
        Err(Errno::EOPNOTSUPP) => 0,
        listed => listed?,
    };
    let mut all = Vec::new();
    for name in buffer[..length].split(|byte| *byte == 0) {
        if name.starts_with(b"user.") || name.starts_with(b"trusted.") {
            let mut value = vec![0; 4096];
            let length = xattr::get(fd, &CString::new(name)?, &mut value)?;
            let shown = OsStr::from_bytes(&value[..length]).to_string_lossy().into_owned();
            all.push((String::from_utf8_lossy(name).into_owned(), shown));
        }
    }
    all.sort();
    Ok(all)
}
