//! Loading and attaching, as far as this machine lets it.
//!
//! One of two sources, one of four splits, and a look at open files: each is tried alone first,
//! so that the reason is known where one cannot be had, and what remains is loaded together.

use std::mem::MaybeUninit;
use std::sync::Mutex;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapHandle, PrintLevel};

use super::layout::{OPERATIONS_MIN, Operation};
use super::reads::Reads;
use super::skeleton::stats::{OpenStatsSkel, StatsSkel, StatsSkelBuilder};
use crate::stats::Split;
use crate::stats::tier::{Missing, Source, Tier};

/// Bytes that the counts of all CPUs together may take, as long as there is room for
/// [`OPERATIONS_MIN`].
const OPERATIONS_BYTES: usize = 8 << 20;
/// Bytes of the ring buffer for slow requests.
const EVENTS_BYTES: u32 = 1 << 20;
/// Processes and nodes that are counted, each.
const PARTIES: u32 = 8192;
/// What it takes to load a program.
pub(super) const PRIVILEGE: &str = "run as root, or with CAP_BPF and CAP_PERFMON";

/// What a measurement is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Purpose {
    /// Processes and nodes are counted.
    pub(crate) top: bool,
    /// From which total time on a request is told of, in ns.
    pub(crate) slow_ns: Option<u64>,
}

/// Programs that are at work until this is dropped.
pub(crate) struct Attached {
    pub(super) skeleton: StatsSkel<'static>,
    /// The look at open files.
    pub(super) files: Option<Link>,
    pub(super) top: bool,
    _links: Vec<Link>,
    _reads: Option<Reads>,
}

/// The programs that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Choice {
    source: Source,
    split: Split,
    files: bool,
}

/// What can be attached here: tries it and takes it away again.
pub(crate) fn probe() -> Tier {
    choose().1
}

/// Attaches what this machine lets it; nothing where not even requests can be counted.
pub(crate) fn attach(purpose: Purpose) -> (Option<Attached>, Tier) {
    let (choice, mut tier) = choose();
    if choice.source == Source::None {
        return (None, tier);
    }
    match load(choice, purpose) {
        Ok(attached) => (Some(attached), tier),
        Err(why) => {
            tier.missing.push(Missing { what: "counts and times", why, cure: String::new() });
            (None, Tier { source: Source::None, split: Split::None, ..tier })
        }
    }
}

/// Tries each part alone, the best first. What is missing is all that is better than what was
/// found.
fn choose() -> (Choice, Tier) {
    let mut choice = Choice::default();
    let mut missing = Vec::new();
    let alone = Choice::default;
    for (source, what) in SOURCES {
        if tried(Choice { source, ..alone() }, what, &mut missing) {
            choice.source = source;
            break;
        }
    }
    if choice.source == Source::None {
        return (choice, Tier { missing, ..Tier::default() });
    }
    for (split, what) in SPLITS {
        if tried(Choice { split, ..alone() }, what, &mut missing) {
            choice.split = split;
            break;
        }
    }
    choice.files = tried(Choice { files: true, ..alone() }, FILES, &mut missing);
    (choice, Tier { source: choice.source, split: choice.split, missing })
}

const SOURCES: [(Source, &str); 2] = [
    (Source::Tracepoints, "counts and times by tracepoints"),
    (Source::Functions, "counts and times by functions"),
];
const SPLITS: [(Split, &str); 3] = [
    (Split::Sent, "queue time by the tracepoint fuse_request_sent"),
    (Split::DeviceRead, "queue time by the function fuse_dev_do_read"),
    (Split::Syscall, "queue time by read system calls"),
];
const FILES: &str = "requests from before the measurement, servers and paths by open files";

/// Whether a choice can be loaded and attached; says why not.
fn tried(choice: Choice, what: &'static str, missing: &mut Vec<Missing>) -> bool {
    match load(choice, Purpose::default()) {
        Ok(_) => true,
        Err(why) => {
            // Root has all that it can have.
            let helps = why.contains("EPERM") && !nix::unistd::geteuid().is_root();
            let cure = if helps { PRIVILEGE.into() } else { String::new() };
            missing.push(Missing { what, why, cure });
            false
        }
    }
}

impl Choice {
    /// The names of the programs that do it.
    fn programs(self) -> Vec<&'static str> {
        let mut names = match self.source {
            Source::Tracepoints => vec!["tracepoint_send", "tracepoint_end"],
            Source::Functions => vec!["function_send", "function_end"],
            Source::None => vec![],
        };
        names.extend(match self.split {
            Split::Sent => Some("tracepoint_sent"),
            Split::DeviceRead => Some("function_read"),
            // A program of its own.
            Split::Syscall | Split::None => None,
        });
        names.extend(self.files.then_some("open_files"));
        names
    }
}

/// Called from user space, never attached.
const CALLED: [&str; 2] = ["drop_request", "drop_connection"];

/// Loads and attaches exactly the programs of a choice.
fn load(choice: Choice, purpose: Purpose) -> Result<Attached, String> {
    heard(|| {
        let wanted = choice.programs();
        // Lives as long as the process: the skeleton borrows it, and both are kept together.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = StatsSkelBuilder::default().open(object)?;
        for mut program in open.open_object_mut().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let called = choice.source != Source::None && CALLED.contains(&name.as_str());
            program.set_autoload(called || wanted.contains(&name.as_str()));
        }
        set_up(&mut open, choice, purpose)?;
        let skeleton = open.load()?;
        let mut links = Vec::new();
        let mut files = None;
        for program in skeleton.object().progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            if name == "open_files" && choice.files {
                files = Some(program.attach()?);
            } else if wanted.contains(&name.as_str()) {
                links.push(program.attach()?);
            }
        }
        let arrivals = MapHandle::try_from(&skeleton.maps.arrivals)?;
        let by_syscall = choice.split == Split::Syscall;
        let reads = by_syscall.then(|| Reads::start(arrivals)).transpose()?;
        Ok(Attached { skeleton, files, top: purpose.top, _links: links, _reads: reads })
    })
}

/// Sizes and settings.
fn set_up(open: &mut OpenStatsSkel, choice: Choice, purpose: Purpose) -> libbpf_rs::Result<()> {
    let places = operations(libbpf_rs::num_possible_cpus()?);
    let parties = if purpose.top { PARTIES } else { 1 };
    open.maps.operation_keys.set_max_entries(places)?;
    open.maps.operations.set_max_entries(places)?;
    open.maps.callers.set_max_entries(parties)?;
    open.maps.nodes.set_max_entries(parties)?;
    if purpose.slow_ns.is_some() {
        open.maps.slow_requests.set_max_entries(EVENTS_BYTES)?;
    }
    if let Some(settings) = open.maps.rodata_data.as_deref_mut() {
        settings.slow_ns = purpose.slow_ns.unwrap_or(0);
        settings.operations_mask = places - 1;
        settings.split_by_syscall = choice.split == Split::Syscall;
        settings.want_top = purpose.top;
    }
    Ok(())
}

/// How many places for operations there are: as many as the bytes allow, a power of two.
fn operations(cpus: usize) -> u32 {
    let fit = (OPERATIONS_BYTES / (cpus * size_of::<Operation>())) as u32;
    (fit + 1).next_power_of_two().div_ceil(2).max(OPERATIONS_MIN)
}

/// What libbpf says while `work` runs, which becomes the error's reason.
pub(super) fn heard<T>(work: impl FnOnce() -> libbpf_rs::Result<T>) -> Result<T, String> {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    // libbpf has one printer for the whole process.
    static ONE: Mutex<()> = Mutex::new(());
    fn hear(_level: PrintLevel, line: String) {
        let line = line.trim();
        tracing::debug!("{line}");
        if let Ok(mut said) = SAID.lock() {
            said.push(line.strip_prefix("libbpf: ").unwrap_or(line).to_owned());
        }
    }
    let _one = ONE.lock();
    if let Ok(mut said) = SAID.lock() {
        said.clear();
    }
    let before = libbpf_rs::set_print(Some((PrintLevel::Warn, hear)));
    let result = work();
    libbpf_rs::set_print(before);
    let said = SAID.lock().map(|said| said.clone()).unwrap_or_default();
    result.map_err(|error| reason(&error.to_string(), &said))
}

/// A reason in one line: what libbpf complained of first, or else the error itself.
fn reason(error: &str, said: &[String]) -> String {
    let Some(first) = said.iter().find_map(|said| said.lines().next()) else {
        return error.to_owned();
    };
    // What libbpf says of the first program that it tries, one that does nothing.
    if said.iter().any(|said| said.contains("probe_loading(): -EPERM")) {
        return "BPF programs cannot be loaded: EPERM".to_owned();
    }
    match first.split_once("failed to find kernel BTF type ID of '") {
        Some((_, name)) => {
            let name = name.split('\'').next().unwrap_or(name);
            format!("this kernel has no {name}")
        }
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_operations_as_fit() {
        let bytes = |cpus: usize| operations(cpus) as usize * cpus * size_of::<Operation>();
        for cpus in [1, 2, 3, 5] {
            assert!(operations(cpus).is_power_of_two());
            assert!((OPERATIONS_BYTES / 2 - 1..=OPERATIONS_BYTES).contains(&bytes(cpus)), "{cpus}");
        }
        assert_eq!(operations(512), OPERATIONS_MIN);
    }

    #[test]
    fn reasons() {
        let said = |line: &str| reason("Invalid argument", &[line.to_owned()]);
        let no_tracepoint = "prog 'x': failed to find kernel BTF type ID of 'fuse_a': -ESRCH";
        assert_eq!(said(no_tracepoint), "this kernel has no fuse_a");
        assert_eq!(said("prog 'x': failed: -EPERM\nmore"), "prog 'x': failed: -EPERM");
        let refused = ["cannot raise a limit", "Error in bpf_object__probe_loading(): -EPERM. A"];
        let refused = refused.map(str::to_owned);
        assert_eq!(reason("x", &refused), "BPF programs cannot be loaded: EPERM");
        assert_eq!(reason("Invalid argument", &[]), "Invalid argument");
    }
}
