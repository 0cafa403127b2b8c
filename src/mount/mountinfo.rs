//! `/proc/self/mountinfo`: the mount table as the kernel has it.
//!
//! Reading it never touches the mounted file systems, so it is safe where a mount is dead or
//! its server hangs.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount: one line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Unique among the mounts that exist now.
    pub mount_id: u32,
    /// The mount this one is mounted on.
    pub parent: u32,
    /// Major number of `st_dev`; 0 for FUSE.
    pub major: u32,
    /// Minor number of `st_dev`; for FUSE, the connection's id.
    pub minor: u32,
    /// Which directory of the file system is the mount's root.
    pub root: PathBuf,
    /// Where it is mounted, seen from this process' root.
    pub mount_point: PathBuf,
    /// Options of this mount (`rw,nosuid,...`).
    pub options: String,
    /// `TYPE` or `TYPE.SUBTYPE`.
    pub fs_type: String,
    /// What was mounted; any string.
    pub source: OsString,
    /// Options of the file system (`rw,user_id=0,...`).
    pub super_options: String,
}

impl Entry {
    /// Whether a FUSE server is behind it.
    pub fn is_fuse(&self) -> bool {
        let kind = self.fs_type.split('.').next().unwrap_or_default();
        matches!(kind, "fuse" | "fuseblk" | "fusebpf")
    }

    /// The FUSE connection's id: the file system's device number as the kernel keeps it. For
    /// `fuseblk`, which has the numbers of its disk, it is more than the minor one.
    pub fn connection(&self) -> u32 {
        self.major << 20 | self.minor
    }
}

/// Every mount that this process sees, in the kernel's order: a later one on the same mount
/// point lies above an earlier one.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read. A line that cannot be understood is left out.
pub fn read() -> io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The entries of a mountinfo text; lines that are not one are left out.
pub fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// The mount on top at `mount_point`, an absolute path without symlinks.
pub fn find<'a>(entries: &'a [Entry], mount_point: &Path) -> Option<&'a Entry> {
    entries.iter().rev().find(|entry| entry.mount_point == mount_point)
}

/// One line: `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS TAG... - TYPE SOURCE SUPER`.
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = fields.next()?;
    let colon = device.iter().position(|&byte| byte == b':')?;
    let (major, minor) = (number(&device[..colon])?, number(&device[colon + 1..])?);
    let root = unescape(fields.next()?).into();
    let mount_point = unescape(fields.next()?).into();
    let options = text(fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let fs_type = text(fields.next()?);
    let source = unescape(fields.next()?);
    let super_options = text(fields.next()?);
    Some(Entry {
        mount_id,
        parent,
        major,
        minor,
        root,
        mount_point,
        options,
        fs_type,
        source,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    unescape(field).to_string_lossy().into_owned()
}

/// Undoes the kernel's escapes: a backslash and three octal digits for space, tab, newline,
/// backslash and `#`.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The byte that `\ooo` at the start of `bytes` stands for.
pub(super) fn octal(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
            Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    const TABLE: &[u8] = b"\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n\
90 22 0:47 / /mnt/a\\040b\\134c rw,nosuid,nodev - fuse.fusex /srv/a\\011b rw,user_id=0,group_id=0\n\
91 22 0:50 /sub /mnt/x rw shared:7 master:2 propagate_from:1 unbindable - fuse label rw\n\
92 91 0:51 / /mnt/x ro - fuseblk.ntfs /dev/sdb1 ro\n\
not a line\n\
93 22 0-51 / /mnt/y ro - tmpfs none ro\n";

    #[test]
    fn fields_and_escapes() {
        let table = parse(TABLE);
        assert_eq!(table.len(), 4, "lines that are no entries are left out");
        let entry = &table[1];
        assert_eq!((entry.mount_id, entry.parent), (90, 22));
        assert_eq!((entry.major, entry.minor), (0, 47));
        assert_eq!(entry.mount_point, Path::new("/mnt/a b\\c"));
        assert_eq!(entry.source, OsStr::from_bytes(b"/srv/a\tb"));
        assert_eq!(entry.fs_type, "fuse.fusex");
        assert_eq!(entry.options, "rw,nosuid,nodev");
        assert_eq!(entry.super_options, "rw,user_id=0,group_id=0");
        assert_eq!(table[2].root, Path::new("/sub"), "any number of tags before the dash");
    }

    #[test]
    fn the_last_mount_on_a_point_is_on_top() {
        let table = parse(TABLE);
        assert_eq!(find(&table, Path::new("/mnt/x")).map(|entry| entry.mount_id), Some(92));
        assert_eq!(find(&table, Path::new("/mnt")), None);
    }

    #[test]
    fn which_types_are_fuse() {
        let kinds: Vec<bool> = parse(TABLE).iter().map(Entry::is_fuse).collect();
        assert_eq!(kinds, [false, true, true, true]);
        let control = Entry { fs_type: "fusectl".into(), ..parse(TABLE)[0].clone() };
        assert!(!control.is_fuse());
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape(b"a\\04"), "a\\04");
        assert_eq!(unescape(b"a\\489"), "a\\489");
        assert_eq!(unescape(b"\\"), "\\");
    }

    #[test]
    fn this_process_has_a_root_mount() {
        assert!(find(&read().unwrap(), Path::new("/")).is_some());
    }
}
