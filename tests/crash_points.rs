//! Every kill point is one that a mount comes by.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fusex::crash::pieces::{self, PLAIN};
use fusex::crash::target::{FsKind, SOON, Target, wait_until};
use fusex::recovery::board::Cell;
use fusex::recovery::points::{Armed, Part, Point};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::signal::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fusex");
const KINDS: [FsKind; 2] = [FsKind::Passthrough, FsKind::Mem];

fn start(kind: FsKind) -> Target {
    let target = Target::start_program(
        Path::new(PROGRAM),
        kind,
        &["-o", "nopassthrough", "--transport", "splice"],
    )
    .unwrap();
    assert!(has_all_processes(&target), "{}", target.log());
    target
}

/// Waits for those that may take another's place.
fn has_all_processes(target: &Target) -> bool {
    let cells = [Cell::WorkerPid, Cell::StandbyPid, Cell::ReservePid, Cell::SparePid];
    wait_until(SOON, || cells.iter().all(|cell| target.stands(*cell)))
}

/// Waits until each point of a part has been passed, and says which.
fn passed(target: &Target, part: Part) -> BTreeSet<Point> {
    let seen = || BTreeSet::from_iter(target.points().recorded()[0].iter().copied());
    wait_until(Duration::from_secs(5), || all_of(part).is_subset(&seen()));
    seen().into_iter().filter(|point| point.part() == part).collect()
}

fn all_of(part: Part) -> BTreeSet<Point> {
    Point::ALL.iter().copied().filter(|point| point.part() == part).collect()
}

/// What callers do, with a little of all.
fn use_all(dir: &Path) -> std::io::Result<()> {
    let (inner, name, other) = (dir.join("inner"), dir.join("name"), dir.join("other"));
    fs::create_dir(&inner)?;
    File::create(&name)?.write_all(b"0123")?;
    File::create(&other)?.write_all(b"4567")?;
    // Both names are there afterwards too, so that the state before has to be noted.
    let exchange = RenameFlags::RENAME_EXCHANGE;
    renameat2(AT_FDCWD, &name, AT_FDCWD, &other, exchange)?;
    fs::remove_file(&name)?;
    assert_eq!(fs::read(&other)?, b"0123");
    let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    assert_eq!(names.collect::<std::io::Result<BTreeSet<_>>>()?.len(), 2);
    // Their nodes are forgotten.
    fs::remove_file(&other)?;
    fs::remove_dir(&inner)
}

#[test]
fn requests_come_by_all_of_theirs() {
    need_mounts!();
    let mut all = BTreeSet::new();
    for kind in KINDS {
        let target = start(kind);
        target.points().record(None, None);
        use_all(&target.point()).unwrap();
        let here = passed(&target, Part::Request);
        // Intents and commits are what the one has and the other has not.
        let [intents, commits] = [
            BTreeSet::from([Point::Intending, Point::Intended]),
            BTreeSet::from([Point::Committing, Point::Committed, Point::HalfApplied]),
        ];
        let foreign = if kind == FsKind::Mem { &intents } else { &commits };
        let missing: BTreeSet<Point> = &(&all_of(Part::Request) - &here) - foreign;
        let missing = &missing - &of_streams();
        assert!(missing.is_empty(), "{kind:?}: never passed: {missing:?}");
        all.extend(here);
        target.stop().unwrap();
    }
    let here = read_pieces();
    assert!(of_streams().is_subset(&here), "never passed: {:?}", &of_streams() - &here);
    all.extend(here);
    assert_eq!(all, all_of(Part::Request));
}

/// What only a READ of framed pieces comes by, and a worker that finds half a reply in a pipe.
fn of_streams() -> BTreeSet<Point> {
    use Point::{PipeParted, SourceAnswers, SourceAsked, SourceIdle, SourceTaken, Streaming};
    BTreeSet::from([SourceAsked, SourceAnswers, Streaming, SourceTaken, SourceIdle, PipeParted])
}

/// The points of one READ whose worker dies with the reply in its pipe.
fn read_pieces() -> BTreeSet<Point> {
    let target = start(FsKind::Merge);
    target.points().record(None, None);
    target.points().arm(Armed::kill(Point::PipeFilled), None, None);
    let seen = fs::read(target.point().join(PLAIN)).unwrap();
    assert!(seen == pieces::expected());
    assert_eq!(target.points().fired()[0], 1);
    let passed = target.points().recorded().concat();
    target.stop().unwrap();
    passed.into_iter().filter(|point| point.part() == Part::Request).collect()
}

/// Kills a process of each mount; all points of these parts are passed, and others are not.
fn kill(cell: Cell, parts: &[Part]) {
    for kind in KINDS {
        let target = start(kind);
        let generation = target.board().get(Cell::Generation);
        target.points().record(None, None);
        assert!(target.process(cell).unwrap().signal(Signal::SIGKILL));
        if cell == Cell::WorkerPid {
            assert!(target.wait_for_worker(generation), "{}", target.log());
        }
        fs::create_dir(target.point().join("afterwards")).unwrap();
        for part in [Part::Takeover, Part::Replacement, Part::Promotion, Part::Upgrade] {
            let expected = if parts.contains(&part) { all_of(part) } else { BTreeSet::new() };
            let seen =
                if parts.contains(&part) { passed(&target, part) } else { here(&target, part) };
            assert_eq!(seen, expected, "{kind:?}: {part:?}: {}", target.log());
        }
        target.stop().unwrap();
    }
}

/// As [`passed`], as of now.
fn here(target: &Target, part: Part) -> BTreeSet<Point> {
    let seen = target.points().recorded();
    seen[0].iter().copied().filter(|point| point.part() == part).collect()
}

#[test]
fn a_worker_that_dies_is_replaced_by_way_of_all_of_theirs() {
    need_mounts!();
    kill(Cell::WorkerPid, &[Part::Takeover, Part::Replacement]);
}

#[test]
fn a_standby_comes_by_all_of_its_own() {
    need_mounts!();
    kill(Cell::SupervisorPid, &[Part::Promotion]);
}

#[test]
fn an_upgrade_comes_by_all_of_its_own() {
    need_mounts!();
    for kind in KINDS {
        let target = start(kind);
        target.points().record(None, None);
        let mut command = Command::new(PROGRAM);
        let output = common::finish(command.args(["supervise", "upgrade"]).arg(target.point()));
        assert!(output.status.success(), "{output:?}: {}", target.log());
        assert_eq!(passed(&target, Part::Upgrade), all_of(Part::Upgrade), "{kind:?}");
        // Its new worker takes over as any other.
        assert_eq!(passed(&target, Part::Takeover), all_of(Part::Takeover), "{kind:?}");
        assert_eq!(here(&target, Part::Replacement), BTreeSet::new(), "{kind:?}");
        fs::create_dir(target.point().join("afterwards")).unwrap();
        target.stop().unwrap();
    }
}
