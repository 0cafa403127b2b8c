//! `-t mem` under a worker that is killed again and again, without a mount.
//!
//! The test's own process stands for the kernel and for the supervisor: it puts one request at a
//! time into shared memory, knows from a model what has to come back, and clones the next worker
//! (with a shared fd table, from memory in which nothing was ever served) when it has killed one.
//! A worker finishes the request that the last one has left as a session does.

mod client;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Client, DIR};
use fusex::fs::Filesystem;
use fusex::fs::mem::{Mem, MemConfig};
use fusex::recovery::fds::Kind;
use fusex::sys::memory::{Mapping, PAGE};
use fusex::sys::{Fd, file};
use world::{Ask, Request, World};

/// The tests share one fd table with their workers, and a takeover closes what nobody knows.
static ONE: Mutex<()> = Mutex::new(());

#[test]
fn nothing_is_lost_or_done_twice_while_workers_are_killed() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let world = World::new();
    let mut client = Client::new(&world, 20_260_729);
    let request = Request { ask: Ask::Mkdir, node: 1, name: 9, other: 0, other_name: 0 };
    client.entry(request, Ok(None), DIR);
    let dir = world.line.get(9);
    client.names.insert((1, 9), dir);
    client.things.get_mut(&dir).unwrap().nlink = 2;
    let began = Instant::now();
    while client.kills < 1200 && began.elapsed() < Duration::from_secs(40) {
        client.step(&[1, dir]);
    }
    assert!(client.kills >= 100, "only {} kills", client.kills);
    assert!(client.finished_late >= 10, "only {} kills hit a request", client.finished_late);
    client.clean_up();
    // Whatever has no name and no lookup is gone, with what it held.
    client.kill();
    client.look_at_the_root();
    assert_eq!(world.mem.counts(), (1, 0), "nodes are left: a lookup was counted twice");
    let fds = world.arena.fds().counts();
    assert_eq!((fds.of(Kind::Content), fds.of(Kind::Own)), (0, 0));
}

#[test]
fn damaged_bits_do_not_bring_it_down() {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for seed in 1..100 {
        let world = World::new();
        let mut random = seed * 7919;
        let mut next = move |below: u64| {
            random = u64::wrapping_mul(random, 6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let ask = |ask: Ask, node: u64, name: u64, other: u64| {
            world.line.post(&Request { ask, node, name, other, other_name: name });
            world.serve(false)
        };
        let mut nodes = vec![1];
        for name in 0..20 {
            let kind = [Ask::Mkdir, Ask::Create, Ask::Symlink][name as usize % 3];
            nodes.push(ask(kind, 1, name, 0).unwrap().0);
        }
        ask(Ask::Write, nodes[2], 0, 0).unwrap();
        ask(Ask::SetXattr, nodes[2], 0, 0).unwrap();
        // The tables, behind the header, the board and the marks.
        let mapping = Mapping::attach(world.arena.fd(), 32 << 30).unwrap();
        let words = mapping.words(0, mapping.length() / 8).unwrap();
        let used = used(world.arena.fd(), words);
        for _ in 0..30 {
            let word = used[next(used.len() as u64) as usize];
            word.fetch_xor(1 << next(64), Ordering::Relaxed);
        }
        let mem = Mem::new(MemConfig::default(), &world.arena).unwrap();
        mem.takeover(&world.arena.fds().counts());
        let world = World { mem, ..world };
        let ask = |ask: Ask, node: u64, name: u64, other: u64| {
            world.line.post(&Request { ask, node, name, other, other_name: name });
            world.serve(false)
        };
        for (name, node) in (0..).zip(nodes.iter().skip(1)) {
            // Whatever comes, it is an answer.
            let _ = ask(Ask::Getattr, *node, 0, 0);
            let _ = ask(Ask::Lookup, 1, name, 0);
            let _ = ask(Ask::Rename, 1, name, 1 | u64::from(libc::RENAME_EXCHANGE) << 40);
            let _ = ask(Ask::Unlink, 1, name, 0);
            let _ = ask(Ask::Rmdir, 1, name, 0);
            let _ = ask(Ask::Forget, *node, 0, 1);
        }
        for fd in world.arena.fds().iter() {
            world.arena.fds().close(fd);
        }
        world.arena.fd().close();
    }
}

/// The words of the tables that are not zero. Only pages that are there are looked at: a look
/// would make the others.
fn used(fd: Fd, words: &'static [AtomicU64]) -> Vec<&'static AtomicU64> {
    let mut used = Vec::new();
    let mut at = 64 << 10;
    while let Ok(data) = file::lseek(fd, at, libc::SEEK_DATA as u32) {
        at = file::lseek(fd, data, libc::SEEK_HOLE as u32).unwrap();
        // The first word of a table says how many records were ever used: more than there are
        // only makes a takeover slow, and take memory.
        let pages = words[data as usize / 8..at as usize / 8].chunks(PAGE / 8);
        used.extend(pages.flat_map(|page| &page[1..]));
    }
    used.retain(|word| word.load(Ordering::Relaxed) != 0);
    used
}
