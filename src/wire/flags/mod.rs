//! The protocol's flag words. Constants have the kernel's names; bits that this version does not
//! know are kept, never refused.

mod attr;
mod init;
mod io;
mod open;

pub use attr::{AttrFlags, ExpireFlags, GetattrFlags, SetattrValid, SetxattrFlags};
pub use init::{CuseFlags, InitFlags};
pub use io::{FsyncFlags, IoctlFlags, LockFlags, PollFlags, ReadFlags, WriteFlags};
pub use open::{OpenInFlags, OpenOutFlags, ReleaseFlags};

/// Declares a flag word that keeps unknown bits.
macro_rules! flag_word {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$($bit_doc:tt)*])* $bit:ident = $value:expr;)* }) => {
        bitflags::bitflags! {
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $name: $int { $($(#[$($bit_doc)*])* const $bit = $value;)* }
        }
    };
}
use flag_word;
