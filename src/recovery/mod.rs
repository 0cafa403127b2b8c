//! What outlives a request: the slots that requests are read into.
//!
//! The arena, the journal and takeover build on these.

pub mod slot;
