//! What a request may do to the worker that carries it out.

use nix::sys::signal::{Signal, raise};

/// A way to bring a worker down, or to never come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Segv,
    Bus,
    Abort,
    Ill,
    Fpe,
    Panic,
    Overflow,
    Exit,
    Kill,
    /// Takes memory until the kernel has none to give.
    Hog,
    /// Hangs, and works at it.
    Spin,
    /// Hangs, asleep.
    Sleep,
}

/// How a death is counted: the status's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Signal,
    Exit,
    Killed,
    Timeout,
}

/// Every cause.
pub(crate) const CAUSES: [Cause; 4] = [Cause::Signal, Cause::Exit, Cause::Killed, Cause::Timeout];

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Fault; 12] = [
        Fault::Segv,
        Fault::Bus,
        Fault::Abort,
        Fault::Ill,
        Fault::Fpe,
        Fault::Panic,
        Fault::Overflow,
        Fault::Exit,
        Fault::Kill,
        Fault::Hog,
        Fault::Spin,
        Fault::Sleep,
    ];

    /// Those that end the worker by themselves, on any machine.
    pub(crate) const DEADLY: [Fault; 9] = [
        Fault::Segv,
        Fault::Bus,
        Fault::Abort,
        Fault::Ill,
        Fault::Fpe,
        Fault::Panic,
        Fault::Overflow,
        Fault::Exit,
        Fault::Kill,
    ];

    /// How the worker's death is to be counted.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Fault::Exit => Cause::Exit,
            Fault::Kill | Fault::Hog => Cause::Killed,
            Fault::Spin | Fault::Sleep => Cause::Timeout,
            _ => Cause::Signal,
        }
    }

    /// What the log is to say of the death; one of these.
    pub(crate) fn logged(self) -> &'static [&'static str] {
        match self {
            Fault::Segv => &["signal 11 (SIGSEGV)"],
            Fault::Bus => &["signal 7 (SIGBUS)"],
            Fault::Abort | Fault::Panic => &["signal 6 (SIGABRT)"],
            Fault::Ill => &["signal 4 (SIGILL)"],
            Fault::Fpe => &["signal 8 (SIGFPE)"],
            // By its guard page, or by a handler that knows the page.
            Fault::Overflow => &["signal 11 (SIGSEGV)", "signal 6 (SIGABRT)"],
            Fault::Exit => &["exit status 7"],
            Fault::Kill | Fault::Hog => &["signal 9 (SIGKILL)"],
            Fault::Spin | Fault::Sleep => &["timeout: a request hung"],
        }
    }

    /// Does it. Returns only where the fault is survived, which no test wants.
    pub(crate) fn happen(self) {
        match self {
            Fault::Segv => raise(Signal::SIGSEGV).unwrap(),
            Fault::Bus => raise(Signal::SIGBUS).unwrap(),
            Fault::Abort => std::process::abort(),
            Fault::Ill => raise(Signal::SIGILL).unwrap(),
            Fault::Fpe => raise(Signal::SIGFPE).unwrap(),
            Fault::Panic => panic!("on purpose"),
            Fault::Overflow => drop(overflow(0)),
            Fault::Exit => std::process::exit(7),
            Fault::Kill => raise(Signal::SIGKILL).unwrap(),
            Fault::Hog => hog(),
            Fault::Spin => loop {
                std::hint::spin_loop();
            },
            Fault::Sleep => loop {
                std::thread::park();
            },
        }
    }
}

impl Cause {
    /// Its place in [`CAUSES`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> Vec<u64> {
    let array = std::hint::black_box([depth; 1000]);
    let mut deeper = overflow(depth + 1);
    deeper.push(array[7]);
    deeper
}

/// Up to 1 GiB: a limit that does not hold is not to cost the whole machine.
fn hog() {
    let blocks: Vec<Vec<u8>> = (0..1024).map(|n| vec![n as u8 | 1; 1 << 20]).collect();
    std::hint::black_box(blocks);
}
