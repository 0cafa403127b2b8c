//! Typed numbers of the protocol: a node is never mistaken for a handle.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A node as the kernel knows it (`nodeid`). The file system chooses the number; 0 means "none".
    NodeId
}
id! {
    /// An open file or directory (`fh`). The file system chooses the number at OPEN.
    FileHandle
}
id! {
    /// The number of a request, chosen by the kernel; a reply repeats it, bit 63 included.
    Unique
}
id! {
    /// Who holds a lock: a hash of the kernel's `fl_owner_t`, meaningful only for equality.
    LockOwner
}

impl NodeId {
    /// The root of the mount (`FUSE_ROOT_ID`).
    pub const ROOT: Self = Self(1);
}

impl Unique {
    /// `FUSE_UNIQUE_RESEND` (7.40): the request had been read before and is sent again.
    const RESEND: u64 = 1 << 63;

    /// Whether the kernel sends this request again after FUSE_NOTIFY_RESEND.
    pub const fn is_resend(self) -> bool {
        self.0 & Self::RESEND != 0
    }

    /// The number without the mark of a resent request: the same for both sendings.
    pub const fn base(self) -> Self {
        Self(self.0 & !Self::RESEND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resent_request_has_the_same_base() {
        let first = Unique(0x1234);
        let again = Unique(0x8000_0000_0000_1234);
        assert!(!first.is_resend());
        assert!(again.is_resend());
        assert_eq!(again.base(), first);
        assert_eq!(first.base(), first);
        assert_eq!(again.to_string(), "9223372036854780468");
    }
}
