//! Kernels whose part in recovery is known to be faulty.
//!
//! By version number alone: a distribution may have mended its kernel without changing the
//! number's first three parts, so a hit is a reason to look, not a proof.

use std::fmt;

/// The version of a kernel: the three numbers of `uname -r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// From text such as `6.12.90-amd64` or `6.19-rc3`; what is missing is 0.
    pub fn parse(release: &str) -> Option<Version> {
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
        let mut numbers = release[..end.unwrap_or(release.len())].split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Version(major, next(), next()))
    }

    /// The running kernel's. `None`: /proc is not mounted, or it is no number.
    pub fn running() -> Option<Version> {
        Version::parse(&std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A fault of some kernels.
#[derive(Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its public name.
    pub id: &'static str,
    /// What happens, in a line.
    pub what: &'static str,
    /// Which versions have it, both ends included.
    ranges: &'static [(Version, Version)],
}

impl Bug {
    /// The first release behind `version` that is mended, of the same series where there is one.
    pub fn fixed_after(&self, version: Version) -> Option<Version> {
        let (_, last) = self.ranges.iter().find(|range| has(range, version))?;
        Some(Version(last.0, last.1, last.2 + 1))
    }
}

fn has(range: &(Version, Version), version: Version) -> bool {
    (range.0..=range.1).contains(&version)
}

const BUGS: &[Bug] = &[
    Bug {
        id: "CVE-2024-38626",
        what: "FUSE_NOTIFY_RESEND can send a request again that is being answered",
        ranges: &[(Version(6, 9, 0), Version(6, 9, 3))],
    },
    Bug {
        id: "CVE-2026-64265",
        what: "the kernel can use freed memory when a caller of a resent request is killed",
        ranges: &[
            (Version(6, 9, 0), Version(6, 12, 95)),
            (Version(6, 13, 0), Version(6, 18, 38)),
            (Version(6, 19, 0), Version(7, 1, 3)),
        ],
    },
];

/// The faults that a kernel of this version has, unless its distribution has mended them. All of
/// them concern FUSE_NOTIFY_RESEND (Linux 6.9): recovery without it (`--no-resend`) is not touched.
pub fn known_bugs(version: Version) -> Vec<&'static Bug> {
    let hit = |bug: &&Bug| bug.ranges.iter().any(|range| has(range, version));
    BUGS.iter().filter(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        let read = |text: &str| Version::parse(text).map(|version| version.to_string());
        assert_eq!(read("6.18.44-fc-v657\n").as_deref(), Some("6.18.44"));
        assert_eq!(read("6.19-rc3").as_deref(), Some("6.19.0"));
        assert_eq!(read("7").as_deref(), Some("7.0.0"));
        assert_eq!(read("5.15.0.1.2").as_deref(), Some("5.15.0"));
        assert_eq!(read("linux"), None);
        assert!(Version::running().is_some_and(|version| version > Version(2, 6, 0)));
    }

    #[test]
    fn ranges_end_where_they_end() {
        let ids = |a, b, c| -> Vec<&str> {
            known_bugs(Version(a, b, c)).iter().map(|bug| bug.id).collect()
        };
        let (old, new) = ("CVE-2024-38626", "CVE-2026-64265");
        assert_eq!(ids(6, 8, 12), [""; 0]);
        assert_eq!(ids(6, 9, 0), [old, new]);
        assert_eq!(ids(6, 9, 3), [old, new]);
        assert_eq!(ids(6, 9, 4), [new]);
        assert_eq!(ids(6, 12, 95), [new]);
        assert_eq!(ids(6, 12, 96), [""; 0]);
        assert_eq!(ids(6, 13, 0), [new]);
        assert_eq!(ids(6, 18, 38), [new]);
        assert_eq!(ids(6, 18, 39), [""; 0]);
        assert_eq!(ids(6, 19, 0), [new]);
        assert_eq!(ids(7, 0, 200), [new]);
        assert_eq!(ids(7, 1, 3), [new]);
        assert_eq!(ids(7, 1, 4), [""; 0]);
        assert_eq!(ids(8, 0, 0), [""; 0]);
    }

    #[test]
    fn the_cure_is_the_next_release() {
        let bug = known_bugs(Version(6, 16, 2))[0];
        assert_eq!(bug.fixed_after(Version(6, 16, 2)), Some(Version(6, 18, 39)));
        assert_eq!(bug.fixed_after(Version(6, 8, 0)), None);
    }
}
