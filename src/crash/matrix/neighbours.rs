//! Others that use the mount meanwhile: two threads with a file each, open all the time, that they
//! write to and read from, and check; where nothing can be written they read alone. They send READ and
//! WRITE alone, and never crash anything.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::scene::errno;
use crate::crash::CrashError;
use crate::crash::pieces::{SHARED, expected};
use crate::crash::target::Target;

/// Between two rounds of one of them: they are to be there, not to take the machine.
const PAUSE: Duration = Duration::from_micros(500);
const LENGTH: usize = 3000;

/// The neighbours of one mount.
pub(super) struct Neighbours {
    over: Arc<AtomicBool>,
    fault: Arc<Mutex<Option<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbours {
    pub(super) fn start(target: &Target) -> Result<Neighbours, CrashError> {
        let reads_alone = target.pieces().is_some();
        let (over, fault) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Option<String>>>::default());
        let mut threads = Vec::new();
        for number in 0..2_u8 {
            let file = open(&target.point(), number, reads_alone)?;
            let (over, fault) = (over.clone(), fault.clone());
            threads.push(std::thread::spawn(move || {
                let lived = match reads_alone {
                    true => read_on(&file, number, &over),
                    false => live(&file, number, &over),
                };
                if let Err(what) = lived {
                    fault.lock().unwrap().get_or_insert(what);
                }
            }));
        }
        Ok(Neighbours { over, fault, threads })
    }

    /// What one of them saw that is wrong. It has stopped then.
    pub(super) fn take_fault(&self) -> Option<String> {
        self.fault.lock().unwrap().take()
    }

    /// They are to stop when they can.
    pub(super) fn tell_to_stop(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Waits for them. A call that hangs ends with the mount.
    pub(super) fn join(self) {
        self.tell_to_stop();
        for thread in self.threads {
            // Without a panic in it there is nothing to know.
            let _ = thread.join();
        }
    }
}

fn open(point: &Path, number: u8, reads_alone: bool) -> Result<File, CrashError> {
    let mut options = File::options();
    let path = match reads_alone {
        // Else the kernel would soon have all of it.
        true => {
            options.read(true).custom_flags(nix::libc::O_DIRECT);
            point.join(SHARED)
        }
        false => {
            options.read(true).write(true).create_new(true);
            point.join(format!("neighbour-{number}"))
        }
    };
    options.open(&path).map_err(CrashError::io(path.display().to_string()))
}

fn read_on(file: &File, number: u8, over: &AtomicBool) -> Result<(), String> {
    let (expected, mut seen) = (expected(), vec![0; LENGTH]);
    let mut from = usize::from(number) * 1000;
    while !over.load(Ordering::Acquire) {
        let told = |error| format!("a neighbour at {from}: {}", errno(&error));
        file.read_exact_at(&mut seen, from as u64).map_err(told)?;
        if seen != expected[from..from + LENGTH] {
            return Err(format!("a neighbour at {from}: reads something else"));
        }
        // A prime number, so that borders of pieces are met everywhere.
        from = (from + 7919) % (expected.len() - LENGTH);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn live(file: &File, number: u8, over: &AtomicBool) -> Result<(), String> {
    let mut seen = vec![0; LENGTH];
    for round in 0_u64.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        let byte = (round as u8).wrapping_mul(7) ^ number;
        let told = |error| format!("a neighbour in round {round}: {}", errno(&error));
        file.write_all_at(&vec![byte; LENGTH], round % 9 * 1000).map_err(told)?;
        file.read_exact_at(&mut seen, round % 9 * 1000).map_err(told)?;
        if seen.iter().any(|other| *other != byte) {
            return Err(format!("a neighbour in round {round}: reads what it has not written"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
