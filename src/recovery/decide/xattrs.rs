//! Extended attributes.

use super::Verdict;

/// SETXATTR with `flags`: `existed` was noted for XATTR_CREATE, `same_value` says whether the
/// attribute has the value that was asked for now.
///
/// Without XATTR_CREATE doing it again gives the same: what XATTR_REPLACE wants is still there.
pub fn setxattr(flags: u32, existed: Option<bool>, same_value: bool) -> Verdict {
    let creates = flags & libc::XATTR_CREATE as u32 != 0;
    Verdict::done_if(creates && existed == Some(false) && same_value)
}

/// REMOVEXATTR: `existed` was noted, `exists` is so now.
pub fn removexattr(existed: Option<bool>, exists: bool) -> Verdict {
    Verdict::done_if(existed == Some(true) && !exists)
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Again, Done};
    use super::*;

    #[test]
    fn an_attribute_is_created_once() {
        let create = |existed, same| setxattr(libc::XATTR_CREATE as u32, existed, same);
        assert_eq!(create(Some(false), true), Done);
        assert_eq!(create(Some(false), false), Again);
        assert_eq!(create(Some(true), true), Again, "EEXIST, as the first time");
        assert_eq!(create(None, true), Again, "it had not come so far");
    }

    #[test]
    fn an_attribute_is_set_as_often_as_one_likes() {
        for flags in [0, libc::XATTR_REPLACE as u32] {
            for same in [false, true] {
                assert_eq!(setxattr(flags, Some(false), same), Again);
                assert_eq!(setxattr(flags, None, same), Again);
            }
        }
    }

    #[test]
    fn an_attribute_is_removed_once() {
        assert_eq!(removexattr(Some(true), false), Done);
        assert_eq!(removexattr(Some(true), true), Again);
        assert_eq!(removexattr(Some(false), false), Again, "ENODATA, as the first time");
        assert_eq!(removexattr(None, false), Again, "it had not come so far");
    }
}
