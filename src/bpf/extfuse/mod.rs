//! FUSE requests answered in the kernel, by `bpf/extfuse.bpf.c`.
//!
//! The programs are bound to one connection through the struct_ops `fuse_bpf_ops`, which no mainline
//! kernel has: the module of `kernel/` brings it. They answer from maps that hold what the server
//! answered before, as the mount's [`Policy`] says.
//!
//! Maps and link are pinned in bpffs, `DIR/CONNECTION/NAME`. They outlive the process that loaded
//! them and the server: as long as the connection is there, what is kept is answered, also while
//! nobody serves.
//!
//! | file | what |
//! | --- | --- |
//! | `policy` | what is answered, and for how long |
//! | `load` | trial, loading, pinning |
//! | `pinned` | what is loaded: listing, counts, taking it away |
//! | `kept` | what the maps hold |
//! | `layout` | the maps' keys and values |
//! | `tier` | how much of this the running kernel can do |

mod kept;
mod layout;
mod load;
mod pinned;
mod policy;
mod tier;

pub use kept::{Kept, What};
pub use load::{LoadError, load};
pub use pinned::{Answered, Count, DIR, Loaded, detach, list};
pub use policy::{ENTRIES, OPCODES, Policy};
pub use tier::{Tier, probe};
