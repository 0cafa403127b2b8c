//! More of everything than fits: inodes, open files, bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::child::Child;
use crate::common::{
    self, DEFAULT, Mode, Mount, Place, SERVED, SINGLE, SOON, WRITEBACK, errno, sys, wait_until,
};
use crate::need_mounts;

/// The limit of open files on the machines this is made for.
const FILES: u32 = 20_000;

/// Lets this process open as many files as it may.
fn raise_own_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

fn file(number: usize) -> PathBuf {
    format!("{:03}/{number}", number / 500).into()
}

/// Makes files that contain their own numbers.
fn fill(dir: &Path, count: usize) {
    for number in 0..count {
        let path = dir.join(file(number));
        if number % 500 == 0 {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        fs::write(path, number.to_string()).unwrap();
    }
}

/// Everything is known to the kernel for the whole test.
const KNOWN: Mode = &["-o", "entry_timeout=1000,attr_timeout=1000"];

#[test]
fn twenty_five_thousand_known_files() {
    need_mounts!();
    const COUNT: usize = 25_000;
    let place = Place::new();
    fill(&place.source(), COUNT);
    let mount = Mount::at(place, KNOWN, Some(FILES));
    let point = mount.point();
    let stat = |number: usize| fs::metadata(point.join(file(number))).unwrap();
    let numbers: Vec<u64> = (0..COUNT).map(|number| stat(number).ino()).collect();
    // Held by an O_PATH descriptor each, the kernel cannot forget these.
    let held: Vec<File> = (0..COUNT)
        .step_by(50)
        .map(|number| {
            let mut options = OpenOptions::new();
            let options = options.read(true).custom_flags(libc::O_PATH);
            options.open(point.join(file(number))).unwrap()
        })
        .collect();
    for number in (0..COUNT).step_by(7) {
        assert_eq!(stat(number).ino(), numbers[number]);
        let below = fs::metadata(mount.source().join(file(number))).unwrap();
        assert_eq!(below.ino(), numbers[number]);
    }
    for number in (0..COUNT).step_by(11) {
        let text = fs::read_to_string(point.join(file(number))).unwrap();
        assert_eq!(text, number.to_string());
    }
    for (index, held) in held.iter().enumerate() {
        let number = index * 50;
        fs::remove_file(point.join(file(number))).unwrap();
        let path = sys::proc_path(held.as_fd());
        assert_eq!(fs::read_to_string(path).unwrap(), number.to_string(), "without a name");
    }
    fs::write(point.join("new"), "still works").unwrap();
}

#[test]
fn fifteen_thousand_open_files() {
    need_mounts!();
    const COUNT: usize = 15_000;
    if raise_own_limit() < u64::from(FILES) {
        crate::skip!(format!("the limit of open files is below {FILES}"));
    }
    for mode in [DEFAULT, SERVED] {
        let place = Place::new();
        fill(&place.source(), COUNT);
        let mount = Mount::at(place, mode, Some(FILES));
        let point = mount.point();
        let open = |number: usize| {
            let mut options = OpenOptions::new();
            let result = options.read(true).write(true).open(point.join(file(number)));
            result.unwrap_or_else(|error| panic!("{mode:?} {number}: {error}"))
        };
        let mut files: Vec<File> = (0..COUNT).map(open).collect();
        for number in (0..COUNT).step_by(10) {
            fs::remove_file(point.join(file(number))).unwrap();
        }
        for (number, file) in files.iter_mut().enumerate() {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, number.to_string());
            if number % 10 == 0 {
                assert_eq!(file.metadata().unwrap().nlink(), 0);
                file.write_all(b" and more").unwrap();
            }
        }
        fs::write(point.join("new"), "still works").unwrap();
    }
}

#[test]
fn files_known_by_handle_live_on_without_a_name() {
    need_mounts!();
    // So few descriptors that nearly every file is known by its handle.
    const COUNT: usize = 1000;
    for mode in [DEFAULT, SERVED, SINGLE] {
        let place = Place::new();
        fill(&place.source(), COUNT);
        let mount = Mount::at(place, mode, Some(300));
        let point = mount.point();
        let path = |number: usize| point.join(file(number));
        (0..COUNT).for_each(|number| assert!(path(number).exists()));
        let mut by_path = OpenOptions::new();
        by_path.read(true).custom_flags(libc::O_PATH);
        for number in (0..COUNT).rev().step_by(40) {
            let open = OpenOptions::new().read(true).write(true).open(path(number)).unwrap();
            let known = by_path.open(path(number + 1 - 2)).unwrap();
            // By unlinking, and by another file in its place.
            fs::remove_file(path(number)).unwrap();
            fs::write(path(number), "another").unwrap();
            fs::rename(path(number), path(number - 1)).unwrap();
            let mut text = String::new();
            (&open).read_to_string(&mut text).unwrap();
            assert_eq!(text, number.to_string());
            assert_eq!(open.metadata().unwrap().nlink(), 0);
            assert_eq!(known.metadata().unwrap().nlink(), 0);
            let again = fs::read_to_string(sys::proc_path(known.as_fd())).unwrap();
            assert_eq!(again, (number - 1).to_string());
            assert_eq!(fs::read_to_string(path(number - 1)).unwrap(), "another");
        }
    }
}

#[test]
fn without_descriptors_one_call_fails_and_the_next_works() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, SINGLE] {
        let place = Place::new();
        fill(&place.source(), 1000);
        let mount = Mount::at(place, mode, Some(200));
        let point = mount.point();
        for _ in 0..3 {
            let mut open = Vec::new();
            let failed = (0..1000).find_map(|number| match File::open(point.join(file(number))) {
                Ok(file) => {
                    open.push(file);
                    None
                }
                Err(error) => Some(errno(error)),
            });
            assert!(open.len() > 20, "{mode:?}: only {} were opened", open.len());
            let expected = matches!(failed, Some(Errno::EMFILE | Errno::ENFILE));
            assert!(expected, "{mode:?}: {failed:?}");
            let made = common::code(File::create(point.join("new")));
            let expected = matches!(made, Ok(()) | Err(Errno::EMFILE | Errno::ENFILE));
            assert!(expected, "{mode:?}: {made:?}");
            // What is open goes on.
            for (number, file) in open.iter_mut().enumerate() {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text, number.to_string());
            }
            drop(open);
            let works = || fs::write(point.join("after"), "works").is_ok();
            assert!(wait_until(SOON, works), "{mode:?}");
            for number in (0..1000).step_by(9) {
                let text = fs::read_to_string(point.join(file(number))).unwrap();
                assert_eq!(text, number.to_string());
            }
        }
    }
}

#[test]
fn a_full_file_system_refuses_and_goes_on() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, WRITEBACK] {
        let place = Place::new();
        place.tmpfs(&place.source(), "size=1m");
        let mount = Mount::at(place, mode, None);
        let point = mount.point();
        fs::write(point.join("kept"), [b'k'; 100_000]).unwrap();
        let write = || {
            let mut file = File::create(point.join("large"))?;
            file.write_all(&vec![b'l'; 2 << 20])?;
            file.sync_all()
        };
        assert_eq!(common::code(write()), Err(Errno::ENOSPC), "{mode:?}");
        assert!(fs::read(point.join("kept")).unwrap() == [b'k'; 100_000]);
        let mut space = File::open(point.join("kept")).unwrap();
        fs::remove_file(point.join("large")).unwrap();
        let again = || {
            let mut file = File::create(point.join("small"))?;
            file.write_all(&[b's'; 200_000])?;
            file.sync_all()
        };
        // The end of the file that was too large may be known a moment later.
        assert!(wait_until(SOON, || again().is_ok()), "{mode:?}");
        assert!(fs::read(mount.source().join("small")).unwrap() == [b's'; 200_000]);
        assert_eq!(space.read(&mut [0; 10]).unwrap(), 10);
        let fallocated = nix::fcntl::fallocate(
            File::create(point.join("reserved")).unwrap(),
            nix::fcntl::FallocateFlags::empty(),
            0,
            4 << 20,
        );
        assert_eq!(fallocated, Err(Errno::ENOSPC), "{mode:?}");
    }
}

#[test]
fn no_inodes_left() {
    need_mounts!();
    let place = Place::new();
    place.tmpfs(&place.source(), "size=1m,nr_inodes=20");
    let mount = Mount::at(place, DEFAULT, None);
    let point = mount.point();
    let make = |number: usize| common::code(File::create(point.join(number.to_string())));
    let results: Vec<_> = (0..30).map(make).collect();
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert!((15..20).contains(&made), "{results:?}");
    assert!(results[made..].iter().all(|result| *result == Err(Errno::ENOSPC)), "{results:?}");
    let dir = common::code(fs::create_dir(point.join("dir")));
    let link = common::code(std::os::unix::fs::symlink("x", point.join("link")));
    assert_eq!([dir, link], [Err(Errno::ENOSPC); 2]);
    fs::remove_file(point.join("0")).unwrap();
    // The inode is free once the kernel has told the server that it forgot it.
    assert!(wait_until(SOON, || make(0) == Ok(())));
}

#[test]
fn callers_killed_in_the_middle_leave_nothing() {
    need_mounts!();
    for mode in [DEFAULT, SERVED, SINGLE] {
        let mount = Mount::new(mode);
        let point = mount.point();
        // Descriptors of inodes and open files.
        let (source, descriptors) = (mount.source(), format!("/proc/{}/fd", mount.pid()));
        let held = || {
            let all = fs::read_dir(&descriptors).unwrap();
            let targets = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
            targets.filter(|target| target.starts_with(&source)).collect::<Vec<_>>()
        };
        let baseline = held();
        for round in 0..6 {
            let mut children: Vec<Child> = (0..3).map(|_| Child::start()).collect();
            children.iter_mut().for_each(|child| child.tell(&format!("churn {}", point.display())));
            std::thread::sleep(std::time::Duration::from_millis(60 + round * 17));
            children.iter_mut().for_each(Child::kill);
            drop(children);
            // What they had not removed yet.
            for entry in fs::read_dir(&point).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let back = wait_until(SOON, || {
            fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
            held() == baseline
        });
        assert!(back, "{mode:?}: {:?} are held, {baseline:?} were before", held());
    }
}
