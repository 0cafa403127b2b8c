//! Finds what a file system cannot do, by trying.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, RenameFlags};
use nix::fcntl::{copy_file_range, fallocate, fcntl, renameat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::stat::{fchmodat, fstat, lstat, mknod, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Gid, Uid, Whence, fchownat, fsync, ftruncate, linkat, lseek};

use super::abilities::{Abilities, Ability};
use super::actor::open;
use super::listing::once;
use crate::crash::CrashError;
use crate::sys::map::Map;
use crate::sys::stream::Stream;
use crate::sys::{Fd, lock, xattr};

/// How long the clock of a file system may differ from this machine's.
const NEAR: Duration = Duration::from_secs(3);

/// Why something is missing.
type Tried = Result<(), String>;

/// Finds what the file system that `dir` is in can do, in a directory that it makes there and
/// removes.
pub fn probe(dir: &Path) -> Result<Abilities, CrashError> {
    let made = tempfile::Builder::new().prefix(".fusex-probe-").tempdir_in(dir);
    let made = made.map_err(CrashError::io(format!("a directory in {}", dir.display())))?;
    let tried = Probe { dir: made.path().into() };
    let mut abilities = Abilities::all();
    for (ability, attempt) in ATTEMPTS {
        if let Err(why) = attempt(&tried) {
            abilities.lacks(*ability, why);
        }
    }
    match tried.grain() {
        Ok(grain) => abilities.grain = grain,
        Err(why) => abilities.lacks(Ability::Times, why),
    }
    // A directory with what could not be removed says so elsewhere.
    drop(made);
    Ok(abilities)
}

struct Probe {
    dir: PathBuf,
}

type Attempt = fn(&Probe) -> Tried;

const ATTEMPTS: &[(Ability, Attempt)] = &[
    (Ability::Xattrs, Probe::xattrs),
    (Ability::Tmpfile, Probe::tmpfile),
    (Ability::Exchange, |it| it.rename("exchange", RenameFlags::RENAME_EXCHANGE, true)),
    (Ability::NoReplace, |it| it.rename("noreplace", RenameFlags::RENAME_NOREPLACE, false)),
    (Ability::Allocate, |it| it.allocate(FallocateFlags::FALLOC_FL_KEEP_SIZE)),
    (Ability::Punch, |it| {
        it.allocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE)
    }),
    (Ability::Fifos, |it| it.mknod("fifo", SFlag::S_IFIFO)),
    (Ability::Mknod, |it| it.mknod("regular", SFlag::S_IFREG)),
    (Ability::Symlinks, Probe::symlinks),
    (Ability::Links, Probe::links),
    (Ability::Chown, Probe::chown),
    (Ability::Owners, Probe::owners),
    (Ability::Modes, Probe::modes),
    (Ability::DirLinks, Probe::dir_links),
    (Ability::Inodes, Probe::inodes),
    (Ability::Locks, Probe::locks),
    (Ability::Positions, Probe::positions),
    (Ability::Mapped, Probe::mapped),
    (Ability::OddNames, |it| it.file("with space, \u{fc} and\nline").map(drop)),
    (Ability::LongNames, |it| it.file(&"long".repeat(56)).map(drop)),
    (Ability::Unlinked, Probe::unlinked),
    (Ability::Copy, Probe::copy),
    (Ability::Sync, |it| failed("fsync", fsync(it.file("synced")?))),
    (Ability::Clock, Probe::clock),
    (Ability::Resize, Probe::resize),
    (Ability::Holes, Probe::holes),
    (Ability::Statfs, |it| failed("statfs", statvfs(&it.dir))),
];

fn failed<T>(what: &str, result: nix::Result<T>) -> Tried {
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{what}: {}", error.desc())),
    }
}

fn otherwise(right: bool, why: impl FnOnce() -> String) -> Tried {
    if right { Ok(()) } else { Err(why()) }
}

/// What a call gave, or why it failed.
fn got<T>(what: &str, result: nix::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {}", error.desc()))
}

impl Probe {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&self, name: &str) -> Result<File, String> {
        let path = self.path(name);
        got("creating a file", open(&path, libc::O_RDWR | libc::O_CREAT, 0o640))
    }

    fn stat(&self, name: &str) -> Result<FileStat, String> {
        got("lstat", lstat(&self.path(name)))
    }

    fn xattrs(&self) -> Tried {
        self.file("xattrs")?;
        let (path, name) = (self.path("xattrs"), c"user.fusex");
        failed("setxattr", xattr::set_of_path(&path, name, b"value", libc::XATTR_CREATE))?;
        let again = xattr::set_of_path(&path, name, b"value", libc::XATTR_CREATE);
        otherwise(again == Err(Errno::EEXIST), || "XATTR_CREATE creates twice".into())?;
        let value = got("getxattr", xattr::get_of_path(&path, name, 100))?.1;
        otherwise(value == b"value", || "getxattr gives another value".into())?;
        let names = got("listxattr", xattr::list_of_path(&path))?;
        otherwise(names.iter().any(|it| it == "user.fusex"), || "listxattr has it not".into())?;
        failed("removexattr", xattr::remove_of_path(&path, name))
    }

    fn tmpfile(&self) -> Tried {
        let file = got("open O_TMPFILE", open(&self.dir, libc::O_TMPFILE | libc::O_RDWR, 0o640))?;
        let links = got("fstat", fstat(&file))?.st_nlink;
        otherwise(links == 0, || format!("a file of O_TMPFILE has {links} names"))?;
        let (from, to) = (format!("/proc/self/fd/{}", file.as_raw_fd()), self.path("tmpfile"));
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        failed("its link", linkat(AT_FDCWD, from.as_str(), AT_FDCWD, &to, follow))
    }

    fn rename(&self, name: &str, flags: RenameFlags, taken: bool) -> Tried {
        let other = format!("{name}.to");
        self.file(name)?;
        if taken {
            self.file(&other)?;
        }
        let (from, to) = (self.path(name), self.path(&other));
        failed("renameat2", renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags))
    }

    fn allocate(&self, mode: FallocateFlags) -> Tried {
        let file = self.file("allocated")?;
        got("pwrite", pwrite(&file, &[1; 10_000], 0))?;
        failed("fallocate", fallocate(&file, mode, 0, 5000))?;
        failed("fallocate", fallocate(&file, mode, 20_000, 5000))?;
        let size = got("fstat", fstat(&file))?.st_size;
        otherwise(size == 10_000, || "fallocate does not keep the size".into())
    }

    fn mknod(&self, name: &str, kind: SFlag) -> Tried {
        let mode = Mode::from_bits_retain(0o640);
        failed("mknod", mknod(&self.path(name), kind, mode, 0))?;
        let seen = self.stat(name)?.st_mode & libc::S_IFMT;
        otherwise(seen == kind.bits(), || "it makes something else".into())
    }

    fn symlinks(&self) -> Tried {
        let path = self.path("symlink");
        failed("symlink", nix::unistd::symlinkat("to/x", AT_FDCWD, &path))?;
        let seen = got("readlink", nix::fcntl::readlink(&path))?;
        otherwise(seen == "to/x", || format!("readlink says {seen:?} for \"to/x\""))?;
        let size = self.stat("symlink")?.st_size;
        otherwise(size == 4, || format!("a link of 4 bytes has size {size}"))
    }

    fn links(&self) -> Tried {
        self.file("links")?;
        let (from, to) = (self.path("links"), self.path("links.to"));
        failed("link", linkat(AT_FDCWD, &from, AT_FDCWD, &to, AtFlags::empty()))?;
        let links = self.stat("links")?.st_nlink;
        otherwise(links == 2, || format!("two names, but {links} by stat"))
    }

    fn chown(&self) -> Tried {
        self.file("chown")?;
        let (uid, gid) = (Some(Uid::from_raw(70_000)), Some(Gid::from_raw(1234)));
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        failed("chown", fchownat(AT_FDCWD, &self.path("chown"), uid, gid, nofollow))?;
        let stat = self.stat("chown")?;
        otherwise((stat.st_uid, stat.st_gid) == (70_000, 1234), || "it has no effect".into())
    }

    fn owners(&self) -> Tried {
        self.file("owners")?;
        let stat = self.stat("owners")?;
        let own = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let seen = (stat.st_uid, stat.st_gid);
        otherwise(seen == own, || format!("a file made by {own:?} belongs to {seen:?}"))
    }

    fn modes(&self) -> Tried {
        self.file("modes")?;
        let mode = Mode::from_bits_retain(0o751);
        let follow = FchmodatFlags::FollowSymlink;
        failed("chmod", fchmodat(AT_FDCWD, &self.path("modes"), mode, follow))?;
        let seen = self.stat("modes")?.st_mode & 0o7777;
        otherwise(seen == 0o751, || format!("chmod to 751 gives {seen:o}"))
    }

    fn dir_links(&self) -> Tried {
        let path = self.path("dir");
        failed("mkdir", nix::unistd::mkdir(&path, Mode::S_IRWXU))?;
        failed("mkdir", nix::unistd::mkdir(&path.join("below"), Mode::S_IRWXU))?;
        let links = self.stat("dir")?.st_nlink;
        otherwise(links == 3, || format!("{links} with one directory in it, not 3"))
    }

    /// Whether stat and readdir agree. That they stay cannot be seen in so short a time.
    fn inodes(&self) -> Tried {
        self.file("inode")?;
        let by_stat = self.stat("inode")?.st_ino;
        let listed = once(&self.dir).map_err(|wrong| wrong.got)?;
        let by_list = listed.get("inode").copied().unwrap_or_default();
        otherwise(by_stat == by_list, || format!("stat says {by_stat}, readdir {by_list}"))
    }

    fn locks(&self) -> Tried {
        let (file, other) = (self.file("locks")?, self.file("locks")?);
        let fd = |file: &File| Fd::from_number(file.as_raw_fd());
        let whole = libc::LOCK_EX | libc::LOCK_NB;
        failed("flock", lock::flock(fd(&file), whole))?;
        let refused = lock::flock(fd(&other), whole) == Err(Errno::EAGAIN);
        otherwise(refused, || "flock locks out nobody".into())?;
        failed("an OFD lock", lock::set(fd(&file), libc::F_WRLCK as u32, 0, 9, false))?;
        let refused = lock::set(fd(&other), libc::F_WRLCK as u32, 5, 9, false);
        otherwise(refused == Err(Errno::EAGAIN), || "OFD locks lock out nobody".into())?;
        let range = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 100,
            l_len: 10,
            l_pid: 0,
        };
        failed("a POSIX lock", fcntl(&file, FcntlArg::F_SETLK(&range)))
    }

    fn positions(&self) -> Tried {
        for number in 0..20 {
            self.file(&format!("position {number}"))?;
        }
        let mut stream = got("opendir", Stream::open(&self.dir))?;
        for _ in 0..7 {
            got("readdir", stream.entry())?;
        }
        let position = stream.tell();
        let rest = got("readdir", stream.rest())?;
        stream.seek(position);
        let again = got("readdir", stream.rest())?;
        otherwise(rest == again, || "behind seekdir come other names".into())
    }

    fn mapped(&self) -> Tried {
        let file = self.file("mapped")?;
        got("pwrite", pwrite(&file, &[b'.'; 8192], 0))?;
        let map = got("mmap", Map::new(&file, 8192, true, true))?;
        failed("a store", map.write(4090, b"through memory"))?;
        failed("msync", map.sync())?;
        let mut seen = [0; 14];
        got("pread", pread(&file, &mut seen, 4090))?;
        otherwise(&seen == b"through memory", || "a read does not see a store".into())?;
        got("pwrite", pwrite(&file, b"by a call", 0))?;
        let seen = got("a load", map.read(0, 9))?;
        otherwise(seen == b"by a call", || "memory does not show a write".into())
    }

    fn unlinked(&self) -> Tried {
        let dir = self.path("unlinked");
        failed("mkdir", nix::unistd::mkdir(&dir, Mode::S_IRWXU))?;
        let file = self.file("unlinked/file")?;
        got("pwrite", pwrite(&file, b"data", 0))?;
        failed("unlink", nix::unistd::unlink(&dir.join("file")))?;
        let left: Vec<String> = once(&dir).map_err(|wrong| wrong.got)?.into_keys().collect();
        otherwise(left.is_empty(), || format!("it gets another name: {}", left.join(" ")))?;
        let stat = got("fstat", fstat(&file))?;
        let seen = (stat.st_nlink, stat.st_size);
        otherwise(seen == (0, 4), || format!("names and bytes: {seen:?}, not (0, 4)"))?;
        let mut bytes = [0; 4];
        got("pread", pread(&file, &mut bytes, 0))?;
        otherwise(&bytes == b"data", || "its bytes are gone".into())
    }

    fn copy(&self) -> Tried {
        let (from, to) = (self.file("copied")?, self.file("copy")?);
        got("pwrite", pwrite(&from, b"some data", 0))?;
        let (mut start, mut end) = (0, 0);
        let copied = copy_file_range(&from, Some(&mut start), &to, Some(&mut end), 9);
        otherwise(copied == Ok(9), || format!("of 9 bytes: {copied:?}"))
    }

    fn clock(&self) -> Tried {
        let file = self.file("clock")?;
        got("pwrite", pwrite(&file, b"now", 0))?;
        let stat = got("fstat", fstat(&file))?;
        let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(stat.st_mtime.max(0) as u64);
        let now = SystemTime::now();
        let near = (now - NEAR..now + NEAR).contains(&seen);
        otherwise(near, || format!("a file changed now says {}", stat.st_mtime))
    }

    fn resize(&self) -> Tried {
        let file = self.file("resized")?;
        failed("ftruncate", ftruncate(&file, 10_000))?;
        let mut seen = [1; 10];
        got("pread", pread(&file, &mut seen, 9_990))?;
        otherwise(seen == [0; 10], || "what is added is not zero".into())?;
        failed("truncate", nix::unistd::truncate(&self.path("resized"), 5))?;
        let size = got("fstat", fstat(&file))?.st_size;
        otherwise(size == 5, || format!("truncate to 5 gives {size}"))
    }

    fn holes(&self) -> Tried {
        let file = self.file("holes")?;
        got("pwrite", pwrite(&file, b"data", 0))?;
        failed("lseek SEEK_DATA", lseek(&file, 0, Whence::SeekData))?;
        failed("lseek SEEK_HOLE", lseek(&file, 0, Whence::SeekHole))?;
        let behind = lseek(&file, 9, Whence::SeekData);
        otherwise(behind == Err(Errno::ENXIO), || format!("behind the end: {behind:?}"))
    }

    /// What time stamps are multiples of.
    fn grain(&self) -> Result<Duration, String> {
        self.file("times")?;
        let path = self.path("times");
        let set = (1_234_567_891, 987_654_321);
        let time = TimeSpec::new(set.0, set.1);
        let nofollow = UtimensatFlags::NoFollowSymlink;
        failed("utimensat", utimensat(AT_FDCWD, &path, &time, &time, nofollow))?;
        let stat = self.stat("times")?;
        let seen = [(stat.st_mtime, stat.st_mtime_nsec), (stat.st_atime, stat.st_atime_nsec)];
        let grains = [1, 100, 1000, 1_000_000, 1_000_000_000, 2_000_000_000];
        let fits = |nanoseconds: &u64| {
            let mut abilities = Abilities::all();
            abilities.grain = Duration::from_nanos(*nanoseconds);
            seen == [abilities.as_kept(set); 2]
        };
        let grain = grains.into_iter().find(fits).map(Duration::from_nanos);
        grain.ok_or_else(|| format!("set to {set:?} they are {seen:?}"))
    }
}
