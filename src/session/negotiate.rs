//! INIT: what the kernel offers, what the file system wants, what was agreed on.
//!
//! The kernel sends INIT as the first request of a mount and holds every other one back
//! until it is answered. Flags above bit 31 go by FUSE_INIT_EXT (7.36).

use std::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{SessionConfig, SessionError};
use crate::Errno;
use crate::channel::uring::{LEAST_PAYLOAD, Unavailable};
use crate::channel::{Connection, Transport};
use crate::fs::Filesystem;
use crate::recovery::arena::{Arena, ArenaError};
use crate::recovery::table::Table;
use crate::sys::{self, file};
use crate::wire::decode::{self, Operation};
use crate::wire::flags::InitFlags;
use crate::wire::{InitReply, Protocol, Unique, abi, ops};

/// Milliseconds; mount(2) has sent INIT before it returns.
const INIT_TIMEOUT: i32 = 10_000;
/// Bytes that a WRITE carries at the most unless more is asked for: a serving thread keeps
/// twice as much locked in memory.
const DEFAULT_MAX_WRITE: u32 = 1 << 20;
/// The same with `--transport splice`: a pipe has 256 buffers at the most without
/// CAP_SYS_RESOURCE, and a request of a mebibyte needs some more.
const SPLICED_MAX_WRITE: u32 = 512 << 10;
/// The kernel's own default of fs.fuse.max_pages_limit, and its fixed limit before 6.13.
const DEFAULT_MAX_PAGES: u32 = 256;
/// Protocol that fusex needs at the least: Linux 5.4.
const OLDEST_MINOR: u32 = 31;

/// What can be had, for [`Filesystem::init`] to choose from.
#[derive(Clone, Debug)]
pub struct Negotiation {
    /// The kernel's minor version.
    pub minor: u32,
    /// What the kernel offers.
    pub offered: InitFlags,
    /// What is asked for; what is not offered is left out in the end.
    pub wanted: InitFlags,
    /// Bytes a WRITE may carry at the most.
    pub max_write: u32,
    /// Bytes to read ahead at the most.
    pub max_readahead: u32,
    /// Background requests under way at the most.
    pub max_background: u16,
    /// Background requests from which the mount is congested.
    pub congestion_threshold: u16,
    /// Granularity of time stamps, in nanoseconds.
    pub time_gran: u32,
    /// How many file systems may be stacked below this one; 1 or 2 for FUSE_PASSTHROUGH.
    pub max_stack_depth: u32,
}

/// What INIT agreed on.
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// The protocol as spoken from here on.
    pub protocol: Protocol,
    /// The kernel's minor version.
    pub kernel_minor: u32,
    /// Bytes a WRITE carries at the most.
    pub max_write: u32,
    /// Bytes read ahead at the most.
    pub max_readahead: u32,
    /// Pages a request carries at the most.
    pub max_pages: u16,
    /// Background requests under way at the most.
    pub max_background: u16,
    /// Background requests from which the mount is congested.
    pub congestion_threshold: u16,
    /// Granularity of time stamps, in nanoseconds.
    pub time_gran: u32,
}

/// The same, as the arena has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    flags: u64,
    minor: u32,
    kernel_minor: u32,
    max_write: u32,
    max_readahead: u32,
    time_gran: u32,
    max_pages: u16,
    max_background: u16,
    congestion_threshold: u16,
    padding: [u16; 3],
}

impl Negotiated {
    /// Keeps it for a process that gets the arena handed over.
    pub(super) fn store(&self, arena: &Arena) -> Result<(), ArenaError> {
        let record = Record {
            flags: self.protocol.flags.bits(),
            minor: self.protocol.minor,
            kernel_minor: self.kernel_minor,
            max_write: self.max_write,
            max_readahead: self.max_readahead,
            time_gran: self.time_gran,
            max_pages: self.max_pages,
            max_background: self.max_background,
            congestion_threshold: self.congestion_threshold,
            padding: [0; 3],
        };
        Table::new(arena, "session", 1, 1)?.insert(&record);
        Ok(())
    }

    /// What was kept; `None`: INIT was never answered, or the record is damaged.
    pub(super) fn load(arena: &Arena) -> Result<Option<Negotiated>, ArenaError> {
        let table: Table<Record> = Table::new(arena, "session", 1, 1)?;
        let negotiated = |record: Record| Negotiated {
            protocol: Protocol {
                minor: record.minor,
                flags: InitFlags::from_bits_retain(record.flags),
            },
            kernel_minor: record.kernel_minor,
            max_write: record.max_write,
            max_readahead: record.max_readahead,
            max_pages: record.max_pages,
            max_background: record.max_background,
            congestion_threshold: record.congestion_threshold,
            time_gran: record.time_gran,
        };
        Ok(table.get(1).map(negotiated))
    }

    /// The most data that one request or reply carries, in bytes.
    pub fn max_data(&self) -> usize {
        (self.max_write as usize).max(usize::from(self.max_pages) * page() as usize)
    }

    /// What was agreed on, line by line as `name value`.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let names: Vec<&str> = self.protocol.flags.iter_names().map(|(name, _)| name).collect();
        vec![
            ("protocol", format!("7.{} (kernel 7.{})", self.protocol.minor, self.kernel_minor)),
            ("max_write", self.max_write.to_string()),
            ("max_readahead", self.max_readahead.to_string()),
            ("max_pages", self.max_pages.to_string()),
            ("max_background", self.max_background.to_string()),
            ("congestion_threshold", self.congestion_threshold.to_string()),
            ("time_gran", self.time_gran.to_string()),
            ("flags", names.join(" ")),
        ]
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

/// The kernel counts a request's data in pages of its own size.
fn page() -> u32 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|size| u32::try_from(size).ok()).unwrap_or(4096)
}

/// Reads INIT and answers it, once `prepare` has got ready for what was agreed on.
pub(super) fn answer_init<F: Filesystem, T>(
    connection: Connection,
    fs: &F,
    config: &SessionConfig,
    prepare: impl FnOnce(&Negotiated) -> Result<T, SessionError>,
) -> Result<(Negotiated, T), SessionError> {
    let device = |what| move |errno| SessionError::Device { what, errno };
    if !sys::device::readable(connection.device(), INIT_TIMEOUT).map_err(device("polling"))? {
        return Err(SessionError::NoInit);
    }
    // FUSE_MIN_READ_BUFFER: the kernel gives nothing to a reader with less room.
    let mut bytes = [0; 8192];
    let length = loop {
        match file::read(connection.device(), &mut bytes) {
            Ok(length) => break length,
            Err(Errno::EINTR | Errno::ENOENT | Errno::EAGAIN) => {}
            Err(errno) => return Err(device("reading INIT from")(errno)),
        }
    };
    let before = Protocol { minor: abi::FUSE_KERNEL_MINOR_VERSION, flags: InitFlags::empty() };
    let request = decode::decode(&bytes[..length], &before).map_err(|_| SessionError::NotInit)?;
    let Operation::Init(init) = request.operation else { return Err(SessionError::NotInit) };
    let unique = request.header.unique;
    if init.major != abi::FUSE_KERNEL_VERSION || init.minor < OLDEST_MINOR {
        let _ = connection.reply_error(unique, Errno::EPROTO);
        return Err(SessionError::Protocol { major: init.major, minor: init.minor });
    }
    if config.transport == Transport::Uring && !init.flags.contains(InitFlags::FUSE_OVER_IO_URING) {
        let _ = connection.reply_error(unique, Errno::EPROTO);
        return Err(Unavailable::NotBuilt.into());
    }
    let negotiation = choose(fs, config, &init, max_pages_limit());
    let (reply, negotiated) = agree(&negotiation);
    let prepared = match prepare(&negotiated) {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = connection.reply_error(unique, Errno::ENOMEM);
            return Err(error);
        }
    };
    send(connection, unique, &reply).map_err(device("answering INIT on"))?;
    Ok((negotiated, prepared))
}

fn send(connection: Connection, unique: Unique, reply: &InitReply) -> Result<(), Errno> {
    let out = reply.to_wire();
    connection.reply(unique, &[std::io::IoSlice::new(out.as_bytes())])
}

/// Pages that the kernel lets a request carry (fs.fuse.max_pages_limit, Linux 6.13).
fn max_pages_limit() -> u32 {
    std::fs::read_to_string("/proc/sys/fs/fuse/max_pages_limit")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_PAGES)
        .clamp(1, u32::from(u16::MAX))
}

/// The session's defaults and the command line's wishes, then the file system's.
fn choose<F: Filesystem>(
    fs: &F,
    config: &SessionConfig,
    init: &ops::Init,
    max_pages: u32,
) -> Negotiation {
    let max_background = config.max_background.max(1);
    let congestion =
        config.congestion_threshold.unwrap_or((u32::from(max_background) * 3 / 4) as u16);
    let wanted = InitFlags::FUSE_ASYNC_READ
        | InitFlags::FUSE_BIG_WRITES
        | InitFlags::FUSE_MAX_PAGES
        | InitFlags::FUSE_INIT_EXT
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_AUTO_INVAL_DATA
        | InitFlags::FUSE_ASYNC_DIO;
    let max_write = match config.transport {
        Transport::Splice => SPLICED_MAX_WRITE,
        Transport::Auto | Transport::Dev | Transport::Uring => DEFAULT_MAX_WRITE,
    };
    let mut negotiation = Negotiation {
        minor: init.minor,
        offered: init.flags,
        wanted,
        max_write: max_write.min(max_pages.saturating_mul(page())),
        max_readahead: init.max_readahead,
        max_background,
        congestion_threshold: congestion.clamp(1, max_background),
        time_gran: config.time_gran,
        max_stack_depth: 0,
    };
    if config.transport == Transport::Uring {
        negotiation.wanted |= InitFlags::FUSE_OVER_IO_URING;
    }
    fs.init(&mut negotiation);
    if let Some(bytes) = config.max_write {
        negotiation.max_write = bytes.clamp(4096, max_pages.saturating_mul(page()).max(4096));
    }
    if let Some(bytes) = config.max_readahead {
        negotiation.max_readahead = bytes.min(init.max_readahead);
    }
    negotiation
}

fn agree(negotiation: &Negotiation) -> (InitReply, Negotiated) {
    let mut flags = negotiation.wanted & negotiation.offered;
    if !negotiation.offered.contains(InitFlags::FUSE_INIT_EXT) {
        flags &= InitFlags::from_bits_retain(u64::from(u32::MAX));
    }
    let with_pages = flags.contains(InitFlags::FUSE_MAX_PAGES);
    let max_write = if with_pages { negotiation.max_write } else { 32 * page() };
    // An entry has as many pages for everything, extended attributes included.
    let over_rings = flags.contains(InitFlags::FUSE_OVER_IO_URING);
    let least = if over_rings { LEAST_PAYLOAD as u32 } else { 0 };
    let max_pages = max_write.max(least).div_ceil(page()).min(u32::from(u16::MAX)) as u16;
    let minor = negotiation.minor.min(abi::FUSE_KERNEL_MINOR_VERSION);
    let reply = InitReply {
        minor,
        max_readahead: negotiation.max_readahead,
        flags,
        max_background: negotiation.max_background,
        congestion_threshold: negotiation.congestion_threshold,
        max_write,
        time_gran: negotiation.time_gran,
        max_pages,
        map_alignment: 0,
        max_stack_depth: negotiation.max_stack_depth,
        request_timeout: 0,
    };
    let negotiated = Negotiated {
        protocol: Protocol { minor, flags },
        kernel_minor: negotiation.minor,
        max_write,
        max_readahead: negotiation.max_readahead,
        max_pages,
        max_background: negotiation.max_background,
        congestion_threshold: negotiation.congestion_threshold,
        time_gran: negotiation.time_gran,
    };
    (reply, negotiated)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wants(InitFlags);
    impl Filesystem for Wants {
        fn init(&self, negotiation: &mut Negotiation) {
            negotiation.wanted |= self.0;
        }
    }

    fn kernel(minor: u32, flags: InitFlags) -> ops::Init {
        ops::Init { major: 7, minor, max_readahead: 131_072, flags }
    }

    fn negotiate(config: &SessionConfig, init: &ops::Init, wants: InitFlags) -> Negotiated {
        agree(&choose(&Wants(wants), config, init, 256)).1
    }

    #[test]
    fn only_what_is_offered_is_agreed_on() {
        let offered = InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_POSIX_ACL;
        let wants = InitFlags::FUSE_POSIX_ACL | InitFlags::FUSE_PASSTHROUGH;
        let got = negotiate(&SessionConfig::default(), &kernel(31, offered), wants);
        assert_eq!(got.protocol.flags, offered);
        assert_eq!(got.protocol.minor, 31);
        assert_eq!(got.max_write, 131_072, "without FUSE_MAX_PAGES a request has 32 pages");
    }

    #[test]
    fn high_flags_need_the_extension() {
        let offered = InitFlags::FUSE_PASSTHROUGH;
        let config = SessionConfig::default();
        let got = negotiate(&config, &kernel(45, offered), InitFlags::FUSE_PASSTHROUGH);
        assert!(got.protocol.flags.is_empty());
        let offered = offered | InitFlags::FUSE_INIT_EXT;
        let got = negotiate(&config, &kernel(45, offered), InitFlags::FUSE_PASSTHROUGH);
        assert_eq!(got.protocol.flags, offered);
    }

    #[test]
    fn a_request_fits_a_pipe_that_it_comes_through() {
        let offered = InitFlags::FUSE_MAX_PAGES;
        let config = SessionConfig { transport: Transport::Splice, ..SessionConfig::default() };
        let got = negotiate(&config, &kernel(45, offered), InitFlags::empty());
        let pipe = crate::buffer::Pipe::create(got.max_write as usize).unwrap();
        assert!(pipe.slots() >= got.max_write as usize / 4096 + 3, "{} bytes", got.max_write);
        pipe.close();
        let config = SessionConfig { max_write: Some(1 << 20), ..config };
        let got = negotiate(&config, &kernel(45, offered), InitFlags::empty());
        assert_eq!(got.max_write, 1 << 20, "who asks for more gets it");
    }

    #[test]
    fn a_newer_kernel_is_answered_with_our_version() {
        let got = negotiate(
            &SessionConfig::default(),
            &kernel(99, InitFlags::empty()),
            InitFlags::empty(),
        );
        assert_eq!(got.protocol.minor, abi::FUSE_KERNEL_MINOR_VERSION);
    }

    #[test]
    fn limits_are_kept() {
        let offered = InitFlags::FUSE_MAX_PAGES;
        let config = SessionConfig {
            max_write: Some(1),
            max_readahead: Some(1 << 30),
            max_background: 10,
            congestion_threshold: Some(50),
            ..SessionConfig::default()
        };
        let got = negotiate(&config, &kernel(45, offered), offered);
        assert_eq!((got.max_write, got.max_pages), (4096, 1));
        assert_eq!(got.max_readahead, 131_072);
        assert_eq!((got.max_background, got.congestion_threshold), (10, 10));
    }
}
