//! Kill points: named places at which a process of a mount can be made to end, and protections that
//! can be switched off, for `fusex crash-test`.
//!
//! They are armed through the arena, from another process. What a released binary pays for them is
//! one predictable load at each ([`reach`]), of a word that nobody writes.
//!
//! Two can be armed at a time; the second is looked at when the first has fired, which is how a
//! crash is put into the takeover behind another one. Points on the way of a request may be limited
//! to one opcode and one caller. While it is recorded which points are passed, those behind the
//! first one that fired are kept apart.
//!
//! A process that serves several mounts has the points of the first alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, raise};

use super::arena::{Arena, ArenaError};
use super::journal;

/// Words of the region.
const WORDS: usize = 16;
/// What is on at all: [`ACTIVE`], [`RECORDS`], and a bit from [`FIRST_PROTECTION`] for each
/// protection that is off.
const MODE: usize = 0;
/// The two that are armed.
const ARMED: usize = 1;
/// How often each has fired.
const FIRED: usize = 3;
/// The caller that requests are limited to; 0: any.
const CALLER: usize = 5;
/// The opcode that recording is limited to, plus one; 0: any.
const OPCODE: usize = 6;
/// Two words of bits: passed before the first one fired. Then two for behind it.
const PASSED: usize = 8;

const ACTIVE: u64 = 1;
const RECORDS: u64 = 2;
const FIRST_PROTECTION: u32 = 8;

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// On the way of a request.
    Request,
    /// In a worker that takes over, or begins.
    Takeover,
    /// In a supervisor that replaces a worker.
    Replacement,
    /// In a standby that becomes the supervisor.
    Promotion,
    /// In an upgrade.
    Upgrade,
}

macro_rules! points {
    ($($point:ident, $part:ident, $name:literal, $what:literal;)*) => {
        /// A kill point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Point {
            $(#[doc = $what] $point,)*
        }

        impl Point {
            /// All of them, in the order in which they are passed.
            pub const ALL: &[Point] = &[$(Point::$point,)*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)* }
            }

            /// Where it is.
            pub fn part(self) -> Part {
                match self { $(Point::$point => Part::$part,)* }
            }

            /// What was done last, in a few words.
            pub fn what(self) -> &'static str {
                match self { $(Point::$point => $what,)* }
            }
        }
    };
}

points! {
    Read, Request, "read", "the request lies in the slot";
    DataInPipe, Request, "data-in-pipe", "the request lies in the slot, its data in the slot's pipe";
    Begun, Request, "begun", "its time is noted";
    Dispatched, Request, "dispatched", "it is decoded and about to be carried out";
    Intending, Request, "before-intent", "the state before the change is known, and not noted";
    Intended, Request, "after-intent", "the state before the change is noted";
    Called, Request, "after-call", "the system call that changes something has returned";
    FdBegun, Request, "fd-begun", "a descriptor is marked as somebody's";
    Announced, Request, "announced", "a change of a table is announced";
    HalfRecord, Request, "half-record", "a record is written, and not published";
    Published, Request, "published", "a record is published";
    Committing, Request, "before-commit", "a commit is written, and not published";
    Committed, Request, "after-commit", "a commit is published";
    HalfApplied, Request, "half-applied", "some changes of a commit are made";
    Forgotten, Request, "forgotten", "one lookup count is given back";
    ForgetNoted, Request, "forget-noted", "the progress of a FORGET is noted";
    Listing, Request, "listing", "the lookup of an entry is counted, and the entry not listed";
    Listed, Request, "listed", "an entry is listed";
    SourceAsked, Request, "source-asked", "a framed source is asked, and its answer not begun";
    SourceAnswers, Request, "source-answers", "the header of its answer is read";
    Streaming, Request, "streaming", "some payload has come out of its socket";
    SourceTaken, Request, "source-taken", "all that was asked for is taken";
    SourceIdle, Request, "source-idle", "its connection is noted to be idle";
    PipeHead, Request, "pipe-head", "the reply's header is in the pipe";
    PipeFilled, Request, "pipe-filled", "the reply is in the pipe";
    PipeParted, Request, "pipe-parted", "a slot has let go of a pipe, and not closed it";
    Finished, Request, "before-done", "the result is known, and not stored";
    Done, Request, "after-done", "the reply is stored";
    Replied, Request, "after-reply", "the kernel has the reply";
    Sent, Request, "sent", "it is noted that the kernel has the reply";
    Clearing, Request, "before-clear", "the request is about to leave the slot";
    HalfCleared, Request, "half-cleared", "the request has left the slot, its journal has not";
    Cleared, Request, "cleared", "the slot is empty";
    Born, Takeover, "takeover", "a worker is about to take over";
    DevicesMended, Takeover, "devices-mended", "the slots' devices are known";
    Reclaimed, Takeover, "reclaimed", "descriptors of nobody are closed";
    Rebuilt, Takeover, "rebuilt", "the file system has what is not in the arena";
    Weighed, Takeover, "weighed", "effects that have not happened are off the record";
    Settled, Takeover, "settled", "the tables are whole";
    Condemned, Takeover, "condemned", "blame is laid";
    Recalled, Takeover, "recalled", "what has happened is answered";
    CarriedOut, Takeover, "carried-out", "what has not happened is done";
    Waiting, Takeover, "waiting", "waiting locks wait again";
    Resent, Takeover, "resent", "the kernel has sent again what it waits for";
    Ready, Takeover, "ready", "the worker is about to serve";
    DeathSeen, Replacement, "death-seen", "the worker is dead, and nothing noted";
    DeathNoted, Replacement, "death-noted", "the next generation has begun, without a worker";
    Replaced, Replacement, "replaced", "the next worker is there";
    Recorded, Replacement, "death-recorded", "the death is counted";
    Promoting, Promotion, "promoting", "a standby is about to take over";
    Numbered, Promotion, "numbered", "it has the supervisor's descriptor";
    Promoted, Promotion, "promoted", "it is the supervisor on the board";
    Inherited, Promotion, "inherited", "it knows its worker";
    Listening, Promotion, "listening", "it has the control socket";
    Upgrading, Upgrade, "upgrading", "an upgrade is about to begin";
    WorkerEnded, Upgrade, "worker-ended", "the worker has ended for it";
    Executing, Upgrade, "executing", "the new program is about to be executed";
    Attached, Upgrade, "attached", "the new program understands the arena";
    Responsible, Upgrade, "responsible", "the new program is the supervisor";
}

impl Point {
    /// The point of a name.
    pub fn named(name: &str) -> Option<Point> {
        Point::ALL.iter().copied().find(|point| point.name() == name)
    }
}

/// What can be switched off, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Protection {
    /// Intents, effects and stored replies.
    Journal,
    /// Requests of dead workers are found in the slots.
    Slots,
    /// How far a FORGET has come.
    Progress,
    /// Lower files are opened without O_APPEND.
    Append,
    /// The registration of a file outlives the worker.
    Backing,
    /// Slots are touched and locked before the first read.
    Prefault,
    /// A connection to a framed source is noted to be busy while an answer is under way.
    Busy,
}

impl Protection {
    /// All of them.
    pub const ALL: &[Protection] = &[
        Protection::Journal,
        Protection::Slots,
        Protection::Progress,
        Protection::Append,
        Protection::Backing,
        Protection::Prefault,
        Protection::Busy,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Protection::Journal => "journal",
            Protection::Slots => "slots",
            Protection::Progress => "forget-progress",
            Protection::Append => "append",
            Protection::Backing => "backing",
            Protection::Prefault => "prefault",
            Protection::Busy => "busy",
        }
    }

    fn bit(self) -> u64 {
        1 << (FIRST_PROTECTION + self as u32)
    }
}

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process sends itself a signal, and goes no further.
    Signal(Signal),
    /// The thread goes no further, and the process lives.
    Hang,
    /// The process takes memory until it is killed.
    Exhaust,
}

/// An armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Where.
    pub point: Point,
    /// What happens there.
    pub action: Action,
    /// Only while a request with this opcode is carried out. Looked at for points of
    /// [`Part::Request`].
    pub opcode: Option<u32>,
    /// Passed so many times before it fires.
    pub skip: u16,
    /// It fires each time, not only once.
    pub again: bool,
}

impl Armed {
    /// SIGKILL at `point`, once.
    pub fn kill(point: Point) -> Armed {
        let action = Action::Signal(Signal::SIGKILL);
        Armed { point, action, opcode: None, skip: 0, again: false }
    }

    /// Limited to requests with this opcode.
    pub fn of(self, opcode: u32) -> Armed {
        Armed { opcode: Some(opcode), ..self }
    }

    /// point + 1 (8 bits), action (8), again (1), skip (16, from bit 24), opcode + 1 (24, from 40)
    fn encode(self) -> u64 {
        let action = match self.action {
            Action::Signal(signal) => signal as u64,
            Action::Hang => 0x80,
            Action::Exhaust => 0x81,
        };
        let opcode = self.opcode.map_or(0, |opcode| u64::from(opcode) + 1);
        (self.point as u64 + 1)
            | action << 8
            | u64::from(self.again) << 16
            | u64::from(self.skip) << 24
            | opcode << 40
    }

    fn decode(word: u64) -> Option<Armed> {
        let point = (word as u8).checked_sub(1)?;
        let action = match (word >> 8) as u8 {
            0x80 => Action::Hang,
            0x81 => Action::Exhaust,
            number => Action::Signal(Signal::try_from(i32::from(number)).ok()?),
        };
        Some(Armed {
            point: *Point::ALL.get(usize::from(point))?,
            action,
            opcode: (word >> 40).checked_sub(1).map(|opcode| opcode as u32),
            skip: (word >> 24) as u16,
            again: word >> 16 & 1 != 0,
        })
    }
}

/// The points of one arena.
#[derive(Clone, Copy, Debug)]
pub struct Points(&'static [AtomicU64]);

impl Points {
    /// Those of `arena`; made if it has none.
    pub fn of(arena: &Arena) -> Result<Points, ArenaError> {
        arena.words("points", WORDS, 1).map(Points)
    }

    fn get(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Acquire)
    }

    fn set(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Release);
    }

    fn set_mode(self, bits: u64, on: bool) {
        if on {
            self.0[MODE].fetch_or(bits, Ordering::AcqRel);
        } else {
            self.0[MODE].fetch_and(!bits, Ordering::AcqRel);
        }
    }

    /// Arms `first`, and `second` for when it has fired. What was armed and counted before is
    /// forgotten. `caller`: the thread whose requests alone count, beside those of nobody.
    pub fn arm(self, first: Armed, second: Option<Armed>, caller: Option<i32>) {
        self.set_mode(ACTIVE, false);
        self.set(FIRED, 0);
        self.set(FIRED + 1, 0);
        self.set(CALLER, caller.map_or(0, |pid| pid as u64));
        self.set(ARMED, first.encode());
        self.set(ARMED + 1, second.map_or(0, Armed::encode));
        self.set_mode(ACTIVE, true);
    }

    /// Nothing is armed or recorded any more. What has fired and was recorded stays to be read.
    pub fn disarm(self) {
        self.set_mode(ACTIVE | RECORDS, false);
        self.set(ARMED, 0);
        self.set(ARMED + 1, 0);
    }

    /// How often the first and the second have fired.
    pub fn fired(self) -> [u64; 2] {
        [self.get(FIRED), self.get(FIRED + 1)]
    }

    /// Records from now on which points are passed, on the way of requests by those with `opcode`.
    pub fn record(self, opcode: Option<u32>, caller: Option<i32>) {
        (PASSED..PASSED + 4).for_each(|word| self.set(word, 0));
        self.set(OPCODE, opcode.map_or(0, |opcode| u64::from(opcode) + 1));
        self.set(CALLER, caller.map_or(0, |pid| pid as u64));
        self.set_mode(RECORDS, true);
    }

    /// The points passed since, before the first armed one had fired and behind it.
    pub fn recorded(self) -> [Vec<Point>; 2] {
        [PASSED, PASSED + 2].map(|at| {
            let bits = u128::from(self.get(at)) | u128::from(self.get(at + 1)) << 64;
            Point::ALL.iter().copied().filter(|point| bits >> *point as u8 & 1 != 0).collect()
        })
    }

    /// Switches a protection off.
    pub fn switch_off(self, protection: Protection) {
        self.set_mode(protection.bit(), true);
    }

    #[cold]
    fn pass(self, point: Point, request: Option<(u32, i32)>) {
        if self.get(MODE) & RECORDS != 0 && self.counts(point, self.get(OPCODE), request) {
            let at = PASSED + if self.get(FIRED) == 0 { 0 } else { 2 };
            self.0[at + point as usize / 64].fetch_or(1 << (point as u64 % 64), Ordering::AcqRel);
        }
        if self.get(MODE) & ACTIVE == 0 {
            return;
        }
        let which = usize::from(self.get(FIRED) > 0 && self.get(ARMED + 1) != 0);
        let word = self.get(ARMED + which);
        let Some(armed) = Armed::decode(word).filter(|armed| armed.point == point) else { return };
        if !self.counts(point, armed.opcode.map_or(0, |opcode| u64::from(opcode) + 1), request) {
            return;
        }
        let next = match (armed.skip, armed.again) {
            (0, true) => word,
            (0, false) => 0,
            (skip, _) => Armed { skip: skip - 1, ..armed }.encode(),
        };
        let cell = &self.0[ARMED + which];
        let won = cell.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if won && armed.skip == 0 {
            self.0[FIRED + which].fetch_add(1, Ordering::AcqRel);
            act(armed.action);
        }
    }

    /// Whether a request at a point is one of those that are meant.
    fn counts(self, point: Point, opcode: u64, request: Option<(u32, i32)>) -> bool {
        if point.part() != Part::Request {
            return true;
        }
        let caller = self.get(CALLER);
        let request = request.unwrap_or_default();
        let right_caller = caller == 0 || request.1 == 0 || request.1 as u64 == caller;
        (opcode == 0 || opcode == u64::from(request.0) + 1) && right_caller
    }
}

fn act(action: Action) {
    match action {
        Action::Signal(signal) => {
            // Sent to oneself a signal does not fail; behind one that has no effect it goes on.
            let _ = raise(signal);
        }
        Action::Hang => loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
        },
        Action::Exhaust => {
            let mut taken = Vec::new();
            loop {
                taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
    }
}

static POINTS: OnceLock<Points> = OnceLock::new();

/// Makes the points of `arena` those of this process and its children.
pub fn install(arena: &Arena) -> Result<(), ArenaError> {
    // Those of an earlier mount of this process stay.
    let _ = POINTS.set(Points::of(arena)?);
    Ok(())
}

/// What is on, of this process's points.
#[inline]
fn active() -> Option<(Points, u64)> {
    let points = POINTS.get()?;
    let mode = points.0[MODE].load(Ordering::Relaxed);
    (mode != 0).then_some((*points, mode))
}

/// The calling thread has come to a point; what it carries out is known from its journal.
#[inline]
pub fn reach(point: Point) {
    if let Some((points, mode)) = active()
        && mode & (ACTIVE | RECORDS) != 0
    {
        points.pass(point, journal::current().and_then(journal::Journal::carried_out));
    }
}

/// The same for a request that nobody carries out yet: its opcode and caller.
#[inline]
pub fn reach_with(point: Point, request: impl FnOnce() -> (u32, i32)) {
    if let Some((points, mode)) = active()
        && mode & (ACTIVE | RECORDS) != 0
    {
        points.pass(point, Some(request()));
    }
}

/// Behind a system call that changes something: its result.
#[inline]
pub fn called<T>(result: T) -> T {
    reach(Point::Called);
    result
}

/// Whether a protection is switched off.
#[inline]
pub fn is_off(protection: Protection) -> bool {
    active().is_some_and(|(_, mode)| mode & protection.bit() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit() {
        let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(Point::ALL.len() <= 128, "two words of bits");
        assert!(Point::ALL.iter().all(|point| Point::named(point.name()) == Some(*point)));
    }

    #[test]
    fn what_is_armed_goes_through_a_word() {
        let kill = Armed::kill(Point::Called);
        let hang = Armed { action: Action::Hang, skip: 300, again: true, ..kill.of(4096) };
        let exhaust = Armed { action: Action::Exhaust, ..kill.of(0) };
        for armed in [kill, hang, exhaust] {
            assert_eq!(Armed::decode(armed.encode()), Some(armed));
        }
        assert_eq!(Armed::decode(0), None);
        assert_eq!(Armed::decode(0xff), None, "no such point");
    }

    fn points() -> Points {
        Points((0..WORDS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak())
    }

    /// A signal without effect.
    fn harmless(point: Point) -> Armed {
        Armed { action: Action::Signal(Signal::SIGCONT), ..Armed::kill(point) }
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let points = points();
        points.arm(harmless(Point::Read).of(9), Some(harmless(Point::Settled)), Some(7));
        points.pass(Point::Settled, None);
        points.pass(Point::Read, Some((8, 7)));
        points.pass(Point::Read, Some((9, 6)));
        assert_eq!(points.fired(), [0, 0]);
        points.pass(Point::Read, Some((9, 0)));
        assert_eq!(points.fired(), [1, 0]);
        points.pass(Point::Settled, None);
        points.pass(Point::Settled, None);
        assert_eq!(points.fired(), [1, 1], "once");
        let again = Armed { again: true, skip: 2, ..harmless(Point::Read) };
        points.arm(again, None, None);
        (0..5).for_each(|_| points.pass(Point::Read, None));
        assert_eq!(points.fired(), [3, 0]);
    }

    #[test]
    fn what_is_passed_is_recorded() {
        let points = points();
        points.record(Some(9), None);
        points.arm(harmless(Point::Called), None, None);
        points.pass(Point::Read, Some((9, 1)));
        points.pass(Point::Begun, Some((8, 1)));
        points.pass(Point::Called, Some((9, 1)));
        points.pass(Point::Responsible, None);
        assert_eq!(points.recorded(), [vec![Point::Read, Point::Called], vec![Point::Responsible]]);
        points.disarm();
        assert_eq!(points.get(MODE), 0);
        points.switch_off(Protection::Backing);
        assert_eq!(points.get(MODE), Protection::Backing.bit());
    }
}
