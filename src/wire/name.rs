//! One path component, checked once: whoever holds a [`Name`] may hand it to a `*at` call.

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use super::DecodeError;

/// A path component: not empty, without `/`, neither `.` nor `..`.
///
/// The length is not limited here; the kernel stops at 1024 bytes, and a longer one is the
/// file system's ENAMETOOLONG.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a CStr);

impl<'a> Name<'a> {
    /// Checks a component.
    ///
    /// # Errors
    /// [`DecodeError::BadName`] says what it is that is no component.
    pub fn new(name: &'a CStr) -> Result<Self, DecodeError> {
        let what = match name.to_bytes() {
            b"" => "empty name",
            b"." | b".." => "name is . or ..",
            bytes if bytes.contains(&b'/') => "name contains /",
            _ => return Ok(Self(name)),
        };
        Err(DecodeError::BadName { what })
    }

    /// The name for a system call.
    pub const fn as_cstr(self) -> &'a CStr {
        self.0
    }

    /// The name without its NUL.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0.to_bytes()
    }

    /// The name for `std::path`.
    pub fn as_os_str(self) -> &'a OsStr {
        OsStr::from_bytes(self.as_bytes())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_only() {
        for bad in [c"", c".", c"..", c"/", c"a/b", c"a/"] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        for good in [c"a", c"...", c".a", c"a\nb", c"\xff"] {
            assert_eq!(Name::new(good).unwrap().as_cstr(), good);
        }
    }

    #[test]
    fn debug_escapes() {
        assert_eq!(format!("{:?}", Name::new(c"a\n\xff").unwrap()), r#""a\n\xff""#);
    }
}
