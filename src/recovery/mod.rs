//! What outlives a worker, and how its successor goes on.
//!
//! | file | what |
//! | --- | --- |
//! | `arena` | the shared memory: header, regions |
//! | `board` | numbers that all processes of a mount share |
//! | `table`, `index` | records by id, ids by key |
//! | `commit` | changes of several records at once |
//! | `fds` | who uses which descriptor of the shared table |
//! | `slot`, `journal` | one thread's request, and how far it has come |
//! | `decide` | whether a request that was not answered has happened |
//! | `fault` | which request brought a worker down |
//! | `points` | named places to be killed at, for `fusex crash-test` |
//! | `sealed` | numbers that damage is seen in |
//! | `kernel_bugs` | kernels whose part in this is faulty |
//!
//! Linux 5.4 is enough: requests are read into the arena, so that no help of the kernel is
//! needed to find them again.

pub mod arena;
pub mod board;
pub mod commit;
pub mod decide;
pub mod fault;
pub mod fds;
mod incoming;
pub mod index;
pub mod journal;
pub mod kernel_bugs;
pub mod points;
mod sealed;
pub mod slot;
pub mod table;
