//! How much can be seen on this machine, and what stands in the way of more.

use std::fmt;

use super::Split;

/// From where requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The kernel's tracepoints `fuse_request_send` and `fuse_request_end`.
    Tracepoints,
    /// The kernel's functions that queue and end a request, by fentry.
    Functions,
    /// Not at all: only what sysfs, mountinfo and /proc say.
    #[default]
    None,
}

impl Source {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Source::Tracepoints => "tracepoints",
            Source::Functions => "functions",
            Source::None => "none",
        }
    }
}

/// What a measurement has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tier {
    /// Counts and times.
    pub source: Source,
    /// Queue and service time.
    pub split: Split,
    /// What is not there.
    pub missing: Vec<Missing>,
}

impl Tier {
    /// `trace` where requests are counted, else `none`: the words of `fusex bpf-load`.
    pub fn name(&self) -> &'static str {
        if self.source == Source::None { "none" } else { "trace" }
    }
}

/// A part that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What cannot be seen.
    pub what: &'static str,
    /// What was found.
    pub why: String,
    /// What helps; empty where nothing does.
    pub cure: String,
}

/// `what: why: cure`.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.what, &self.why, &self.cure].into_iter().filter(|part| !part.is_empty());
        f.write_str(&parts.collect::<Vec<_>>().join(": "))
    }
}
