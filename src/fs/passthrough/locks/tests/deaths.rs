//! Workers that die at each step of each kind of request, and successors that die in the takeover.

use std::process::Command;

use super::*;
use crate::recovery::fds::Fds;

/// Set for the process in which nothing else runs.
const ALONE: &str = "FUSEX_TEST_LOCKS_ALONE";
/// All bytes that A's requests are about.
const BYTES: std::ops::Range<u64> = 0..200;

/// A request of A.
#[derive(Clone, Copy, Debug)]
enum Request {
    Set(u64, u64, u32),
    Wait(u64, u64, u32),
    Flush,
    Release,
}

use Request::{Flush, Release, Set, Wait};

/// How many ranges A has (see `set_many`), and what it asks for then.
const CASES: [(usize, Request); 16] = [
    (0, Set(0, 0, WRITE)),
    (0, Wait(0, 0, READ)),
    // B is in the way.
    (0, Set(FAR, FAR, READ)),
    (1, Set(FAR, FAR, READ)),
    (1, Set(4, 5, READ)),
    (1, Wait(4, 5, READ)),
    // From one record to two, by one more and by a split.
    (12, Set(48, 49, READ)),
    (12, Set(4, 4, READ)),
    (40, Set(160, 161, READ)),
    (40, Set(80, 80, UNLOCK)),
    (13, Set(4, 5, UNLOCK)),
    (40, Set(0, 190, READ)),
    (1, Set(0, 1, UNLOCK)),
    (1, Flush),
    (40, Flush),
    (13, Release),
];

impl Request {
    fn run(self, locks: &Locks, path: &Path) -> Result<()> {
        match self {
            Set(start, end, kind) => set(locks, path, &request(A, start, end, kind)),
            Wait(start, end, kind) => {
                locks.wait(NODE, &request(A, start, end, kind), || open(path))
            }
            Flush => {
                locks.drop_owner((NODE, A));
                Ok(())
            }
            Release => {
                locks.drop_opened(NODE, fh(A));
                Ok(())
            }
        }
    }

    fn changes(self, byte: u64) -> bool {
        match self {
            Set(start, end, _) | Wait(start, end, _) => (start..=end).contains(&byte),
            Flush | Release => true,
        }
    }
}

/// What a takeover does before it asks the file system.
fn reclaim(fds: Fds, locks: &Locks) {
    fds.reclaim(|kind, index, fd| kind == Kind::Lock && locks.holds(index, fd));
}

fn high_fds() -> usize {
    let is_open =
        |number: &i32| nix::fcntl::fcntl(Fd::from_number(*number), nix::fcntl::F_GETFD).is_ok();
    (FIRST..1024).filter(is_open).count()
}

/// A and B with their locks, in a first worker.
fn begin(place: &Place, ranges: usize) -> Arc<Locks> {
    let locks = place.worker();
    set(&locks, &place.path, &request(B, FAR, FAR, WRITE)).unwrap();
    set_many(&locks, &place.path, A, ranges);
    Arc::new(locks)
}

/// What A has noted.
fn ranges_of(locks: &Locks) -> Vec<Noted> {
    held(locks).remove(&A).map_or(Vec::new(), |(.., ranges)| ranges)
}

/// The kind of lock on each byte.
fn kinds(ranges: &[Noted]) -> Vec<u32> {
    let at = |byte| ranges.iter().find(|(start, end, _)| (*start..=*end).contains(&byte));
    BYTES.map(|byte| at(byte).map_or(UNLOCK, |(.., kind)| *kind)).collect()
}

/// All is as one finished request leaves it, and nothing is left when A and B have gone.
fn check(place: &Place, locks: &Locks, expected: &[Noted]) {
    let held = held(locks);
    let ranges = held.get(&A).map(|(.., ranges)| &ranges[..]);
    assert_eq!(ranges, (!expected.is_empty()).then_some(expected));
    assert_eq!(place.kernel_has(BYTES), kinds(expected));
    assert_eq!(place.kernel_has(FAR..FAR + 2), [WRITE, UNLOCK]);
    assert_eq!(held[&B].3, [(FAR, FAR, WRITE)]);
    assert_eq!((place.lock_fds(), high_fds()), (held.len(), held.len()));
    let records = held.values().map(|(.., ranges)| ranges.len().div_ceil(INLINE).max(1));
    assert_eq!(locks.notes.table.count(), records.sum::<usize>() as u64);
    locks.drop_owner((NODE, A));
    locks.drop_owner((NODE, B));
    assert_eq!((locks.notes.table.count(), place.lock_fds(), high_fds()), (0, 0, 0));
}

/// The first worker dies at step `at` of the request, the second at step `again` of its takeover,
/// the third does the request again. Whether they died.
fn die(
    place: &Place,
    case: (usize, Request),
    at: u32,
    again: u32,
    expected: &[Noted],
) -> [bool; 2] {
    let (ranges, request) = case;
    let first = begin(place, ranges);
    let path = place.path.clone();
    let died = dies_at(at, move || {
        let _ = request.run(&first, &path);
    });
    let second = Arc::new(Locks::new(&place.arena).unwrap());
    reclaim(place.arena.fds(), &second);
    let died_again = dies_at(again, move || second.takeover());
    let third = Locks::new(&place.arena).unwrap();
    reclaim(place.arena.fds(), &third);
    third.takeover();
    if died {
        let outside = |kinds: Vec<u32>| -> Vec<u32> {
            let kept = BYTES.zip(kinds).filter(|(byte, _)| !request.changes(*byte));
            kept.map(|(_, kind)| kind).collect()
        };
        assert_eq!(outside(kinds(&ranges_of(&third))), outside(kinds(expected)));
        assert_eq!(outside(place.kernel_has(BYTES)), outside(kinds(expected)));
        let _ = request.run(&third, &place.path);
    }
    check(place, &third, expected);
    [died, died_again]
}

/// A death at step `at`, and at each step of the takeover behind it; false: there is no such step.
fn dies_everywhere(place: &Place, case: (usize, Request), at: u32, expected: &[Noted]) -> bool {
    for again in 0.. {
        eprintln!("{case:?}: dies at {at}, and at {again}");
        let [died, died_again] = die(place, case, at, again, expected);
        if !died_again {
            return died;
        }
    }
    false
}

#[test]
fn a_successor_goes_on_wherever_a_worker_dies() {
    // A takeover closes all that has no mark: nothing else may run in the process.
    if std::env::var_os(ALONE).is_none() {
        let name =
            "fs::passthrough::locks::tests::deaths::a_successor_goes_on_wherever_a_worker_dies";
        let mut test = Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
        return;
    }
    let place = place();
    // What this process was started with.
    reclaim(place.arena.fds(), &place.worker());
    for case in CASES {
        let whole = begin(&place, case.0);
        let refused = matches!(case.1, Set(FAR, ..)).then_some(Errno::EAGAIN);
        assert_eq!(case.1.run(&whole, &place.path).err(), refused, "{case:?}");
        let expected = ranges_of(&whole);
        check(&place, &whole, &expected);
        let mut at = 0;
        while dies_everywhere(&place, case, at, &expected) {
            at += 1;
        }
        assert!(at > 0, "{case:?} has steps");
    }
}
