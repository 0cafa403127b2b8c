//! What the machine and this user have.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};

use super::Check;
use crate::sys::creds::Powers;

/// Open files below which inodes are soon kept as file handles.
const FEW_FILES: u64 = 65_536;
/// What the request buffers of ten threads take, bytes, rounded up.
const BUFFERS: u64 = 32 << 20;
const CAP_IPC_LOCK: u32 = 14;

pub(super) fn checks() -> Vec<Check> {
    let is_root = nix::unistd::geteuid().is_root();
    let mut checks = vec![device(Path::new("/dev/fuse")), proc()];
    if is_root {
        checks.push(as_root(Powers::of_thread().admin));
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        checks.push(fusermount(std::env::split_paths(&path)));
        checks.push(allow_other(Path::new("/etc/fuse.conf")));
    }
    let hard = |resource| getrlimit(resource).map_or(0, |(_, hard)| hard);
    let locks = crate::sys::confine::permitted().unwrap_or(0) >> CAP_IPC_LOCK & 1 != 0;
    checks.push(open_files(hard(Resource::RLIMIT_NOFILE)));
    checks.push(locked_memory(hard(Resource::RLIMIT_MEMLOCK), locks));
    let control = crate::supervise::control_path(0);
    checks.push(control_directory(control.as_deref().and_then(Path::parent)));
    checks
}

fn device(path: &Path) -> Check {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Check::ok("device", format!("{} can be opened", path.display())),
        Err(error) => Check::fail(
            "device",
            format!("{}: {error}", path.display()),
            "load the module fuse; in a container pass the device in",
        ),
    }
}

fn proc() -> Check {
    match fs::metadata("/proc/self/fd") {
        Ok(_) => Check::ok("proc", "/proc is mounted"),
        Err(error) => Check::fail("proc", format!("/proc/self/fd: {error}"), "mount /proc"),
    }
}

fn as_root(admin: bool) -> Check {
    match admin {
        true => Check::ok("mount", "root may mount"),
        false => {
            let cure = "give the container CAP_SYS_ADMIN, or run as another user";
            Check::fail("mount", "root without CAP_SYS_ADMIN", cure)
        }
    }
}

fn fusermount(directories: impl Iterator<Item = PathBuf>) -> Check {
    let places = directories.chain(["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from));
    let mut programs = places.map(|place| place.join("fusermount3"));
    let cure = "install the package fuse3, or run as root";
    let Some((path, meta)) =
        programs.find_map(|path| Some((path.clone(), fs::metadata(path).ok()?)))
    else {
        return Check::fail("mount", "fusermount3 is not installed", cure);
    };
    let by_root = meta.uid() == 0 && meta.permissions().mode() & 0o4000 != 0;
    match by_root {
        true => Check::ok("mount", format!("{} mounts for users", path.display())),
        false => Check::fail("mount", format!("{} is not set-user-id root", path.display()), cure),
    }
}

fn allow_other(conf: &Path) -> Check {
    let text = fs::read_to_string(conf).unwrap_or_default();
    match text.lines().any(|line| line.trim() == "user_allow_other") {
        true => Check::ok("allow_other", format!("user_allow_other is set in {}", conf.display())),
        false => Check::warn(
            "allow_other",
            "only the mounting user gets into a mount",
            format!("put the line user_allow_other into {}", conf.display()),
        ),
    }
}

fn open_files(limit: u64) -> Check {
    if limit >= FEW_FILES {
        return Check::ok("open files", format!("up to {limit}"));
    }
    let detail = format!("up to {limit}: inodes beyond are opened anew for each use");
    Check::warn("open files", detail, "raise LimitNOFILE= or `ulimit -Hn`")
}

fn locked_memory(limit: u64, locks: bool) -> Check {
    if locks || limit >= BUFFERS {
        return Check::ok("locked memory", "request buffers can be locked");
    }
    let detail = format!("{limit} bytes: a page fault can cost a request its takeover");
    Check::warn("locked memory", detail, "raise LimitMEMLOCK= or `ulimit -Hl`")
}

fn control_directory(directory: Option<&Path>) -> Check {
    let what = "control";
    let Some(directory) = directory else {
        let detail = "no directory for control sockets: `fusex supervise list` finds nothing";
        return Check::warn(what, detail, "set XDG_RUNTIME_DIR");
    };
    // Made when it is needed.
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match access(there, AccessFlags::W_OK | AccessFlags::X_OK) {
        Ok(()) => Check::ok(what, format!("sockets in {}", directory.display())),
        Err(errno) => Check::warn(
            what,
            format!("{}: {}: supervisors cannot be asked", there.display(), errno.desc()),
            "make it writable for this user",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_device_is_opened() {
        let level = |path: &str| device(Path::new(path)).level;
        assert_eq!((level("/dev/null"), level("/none")), (Level::Ok, Level::Fail));
    }

    #[test]
    fn fusermount_has_to_be_roots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fusermount3");
        fs::write(&path, "").unwrap();
        let look = || fusermount([dir.path().to_path_buf()].into_iter());
        assert_eq!(look().level, Level::Fail);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        let expected = match nix::unistd::geteuid().is_root() {
            true => Level::Ok,
            false => Level::Fail,
        };
        assert_eq!(look().level, expected);
        assert_eq!(as_root(false).level, Level::Fail);
    }

    #[test]
    fn fuse_conf_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fuse.conf");
        assert_eq!(allow_other(&path).level, Level::Warn);
        fs::write(&path, "#user_allow_other\nmount_max = 10\n").unwrap();
        assert_eq!(allow_other(&path).level, Level::Warn);
        fs::write(&path, "mount_max = 10\n user_allow_other\n").unwrap();
        assert_eq!(allow_other(&path).level, Level::Ok);
    }

    #[test]
    fn limits_decide() {
        assert_eq!(open_files(1024).level, Level::Warn);
        assert_eq!(open_files(FEW_FILES).level, Level::Ok);
        assert_eq!(locked_memory(8 << 20, false).level, Level::Warn);
        assert_eq!(locked_memory(8 << 20, true).level, Level::Ok);
        assert_eq!(locked_memory(BUFFERS, false).level, Level::Ok);
    }

    #[test]
    fn the_control_directory_may_still_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(control_directory(Some(&dir.path().join("a/b"))).level, Level::Ok);
        assert_eq!(control_directory(Some(Path::new("/proc/self/x"))).level, Level::Warn);
        assert_eq!(control_directory(None).level, Level::Warn);
    }
}
