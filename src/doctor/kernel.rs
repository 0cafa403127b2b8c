//! What the kernel has: by its version, its settings, and by asking.

use std::path::Path;

use super::Check;
use crate::channel::uring::{self, Unavailable};
use crate::recovery::kernel_bugs::{Version, known_bugs};
use crate::sys::confine::is_there;
use crate::sys::creds::Powers;

const OLDEST: Version = Version(5, 4, 0);
/// FUSE_NOTIFY_RESEND and FUSE_PASSTHROUGH.
const RESEND: Version = Version(6, 9, 0);

pub(super) fn checks() -> Vec<Check> {
    let mut checks = match Version::running() {
        None => {
            vec![Check::fail("kernel", "/proc/sys/kernel/osrelease cannot be read", "mount /proc")]
        }
        Some(version) => by_version(version, Powers::of_thread().admin),
    };
    checks.extend([
        call("pidfd_open", libc::SYS_pidfd_open, true, "processes cannot be watched"),
        call("close_range", libc::SYS_close_range, false, "closing many files is slow"),
        seccomp(Path::new("/proc/sys/kernel/seccomp/actions_avail")),
        pages(Path::new("/proc/sys/fs/fuse/max_pages_limit")),
        timeouts(Path::new("/proc/sys/fs/fuse")),
        uring(uring::available()),
    ]);
    checks
}

fn by_version(version: Version, admin: bool) -> Vec<Check> {
    let kernel = match version >= OLDEST {
        true => Check::ok("kernel", format!("Linux {version}")),
        false => {
            let detail = format!("Linux {version}, FUSE needs {OLDEST}");
            Check::fail("kernel", detail, "boot a newer kernel")
        }
    };
    let resend = match version >= RESEND {
        true => Check::ok("resend", "FUSE_NOTIFY_RESEND: requests can be asked for again"),
        false => Check::warn(
            "resend",
            "no FUSE_NOTIFY_RESEND: a takeover has its own copies of requests only",
            format!("Linux {RESEND} has it"),
        ),
    };
    let passthrough = match (version >= RESEND, admin) {
        (true, true) => {
            Check::ok("passthrough", "FUSE_PASSTHROUGH, if the kernel is built with it")
        }
        (true, false) => {
            let detail = "no CAP_SYS_ADMIN: file data goes through the server";
            Check::warn("passthrough", detail, "run as root")
        }
        (false, _) => {
            let detail = "no FUSE_PASSTHROUGH: file data goes through the server";
            Check::warn("passthrough", detail, format!("Linux {RESEND} has it"))
        }
    };
    [vec![kernel, resend], bugs(version), vec![passthrough]].concat()
}

fn bugs(version: Version) -> Vec<Check> {
    let found = known_bugs(version);
    if found.is_empty() {
        return vec![Check::ok("kernel bugs", format!("none known in Linux {version}"))];
    }
    let warning = |bug: &&crate::recovery::kernel_bugs::Bug| {
        let fixed = bug.fixed_after(version).unwrap_or(version);
        let cure = format!(
            "boot Linux {fixed} or newer, see whether your distribution has mended it, or use \
             --no-resend"
        );
        Check::warn("kernel bugs", format!("{} in Linux {version}: {}", bug.id, bug.what), cure)
    };
    found.iter().map(warning).collect()
}

fn call(name: &'static str, number: libc::c_long, needed: bool, without: &str) -> Check {
    match (is_there(number), needed) {
        (true, _) => Check::ok(name, "can be called"),
        (false, true) => Check::fail(name, without, "allow it in the container's filter"),
        (false, false) => Check::warn(name, without, "allow it, or boot Linux 5.9"),
    }
}

fn seccomp(actions: &Path) -> Check {
    // The file is there where filters are (CONFIG_SECCOMP_FILTER, Linux 4.14).
    match std::fs::read_to_string(actions).is_ok_and(|text| text.contains("errno")) {
        true => Check::ok("seccomp", "workers can be confined"),
        false => {
            let cure = "boot a kernel with CONFIG_SECCOMP_FILTER";
            Check::fail("seccomp", "no filters: a worker cannot be confined", cure)
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn pages(path: &Path) -> Check {
    match number(path) {
        Some(pages) => Check::ok("request size", format!("fs.fuse.max_pages_limit is {pages}")),
        None => Check::ok("request size", "256 pages, as always before Linux 6.13"),
    }
}

fn timeouts(directory: &Path) -> Check {
    let what = "request timeout";
    let limits = ["default_request_timeout", "max_request_timeout"]
        .map(|name| (name, number(&directory.join(name)).unwrap_or(0)));
    match limits.iter().find(|(_, seconds)| *seconds > 0) {
        None => Check::ok(what, "the kernel waits for answers without limit"),
        Some((name, seconds)) => Check::warn(
            what,
            format!("fs.fuse.{name} is {seconds}: an outage of {seconds} s ends the mount"),
            format!("sysctl fs.fuse.{name}=0"),
        ),
    }
}

fn uring(available: Result<(), Unavailable>) -> Check {
    // A mount works as well without it, so nothing of this is a warning.
    let detail = match available {
        Ok(()) => "FUSE over io_uring, for '--no-supervise --transport uring'".to_string(),
        Err(Unavailable::Off) => "FUSE over io_uring is there, and off".to_string(),
        Err(Unavailable::NotBuilt) => "no FUSE over io_uring, which Linux 6.14 has".to_string(),
        Err(Unavailable::NoRing(errno)) => format!("no rings: {}", errno.desc()),
    };
    Check::ok("io_uring", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn levels(version: Version, admin: bool) -> Vec<(&'static str, Level)> {
        by_version(version, admin).iter().map(|check| (check.what, check.level)).collect()
    }

    #[test]
    fn versions_decide() {
        use Level::{Fail, Ok, Warn};
        let all = |kernel, resend, bugs, passthrough| {
            let names = ["kernel", "resend", "kernel bugs", "passthrough"];
            names.into_iter().zip([kernel, resend, bugs, passthrough]).collect::<Vec<_>>()
        };
        assert_eq!(levels(Version(4, 19, 300), true), all(Fail, Warn, Ok, Warn));
        assert_eq!(levels(Version(5, 4, 0), true), all(Ok, Warn, Ok, Warn));
        assert_eq!(levels(Version(6, 18, 39), true), all(Ok, Ok, Ok, Ok));
        assert_eq!(levels(Version(6, 18, 39), false), all(Ok, Ok, Ok, Warn));
        assert_eq!(levels(Version(6, 18, 38), true), all(Ok, Ok, Warn, Ok));
        assert_eq!(levels(Version(6, 9, 3), true).len(), 5, "two bugs, a line each");
        let line = bugs(Version(7, 0, 1))[0].to_string();
        assert!(line.contains("CVE-2026-64265 in Linux 7.0.1: "), "{line}");
        assert!(line.contains("boot Linux 7.1.4 or newer"), "{line}");
    }

    #[test]
    fn settings_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let limit = dir.path().join("max_request_timeout");
        assert_eq!(timeouts(dir.path()).level, Level::Ok);
        std::fs::write(&limit, "0\n").unwrap();
        assert_eq!(timeouts(dir.path()).level, Level::Ok);
        std::fs::write(&limit, "30\n").unwrap();
        let line = timeouts(dir.path()).to_string();
        assert!(line.ends_with("ends the mount: sysctl fs.fuse.max_request_timeout=0"), "{line}");
        std::fs::write(dir.path().join("pages"), "512\n").unwrap();
        let pages = pages(&dir.path().join("pages"));
        assert_eq!(pages.to_string(), "ok    request size: fs.fuse.max_pages_limit is 512");
        assert_eq!(seccomp(&dir.path().join("none")).level, Level::Fail);
    }

    #[test]
    fn a_missing_call_is_seen() {
        // No kernel has this number.
        assert_eq!(call("x", 1_000_000, true, "y").level, Level::Fail);
        assert_eq!(call("x", 1_000_000, false, "y").level, Level::Warn);
        assert_eq!(call("x", libc::SYS_close, true, "y").level, Level::Ok);
    }
}
