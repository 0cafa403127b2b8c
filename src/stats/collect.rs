//! The collector: what BPF counted, joined with what the machine says of its mounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::machine::Machine;
use super::process::{self, Stat};
use super::tier::Tier;
use super::{Caller, Connection, Lost, Node, PENDING_MAX, Request, Slow, Snapshot};
use crate::bpf::{self, Attached, Counted, Listed, Looked, Party, Pending, Purpose};
use crate::sys::clock::monotonic_ns;

/// A request under way for so long is looked for in the kernel's lists: it may be one that has
/// no end, as its caller was killed.
const OLD_NS: u64 = 500_000_000;
/// The open files are looked at so often where fusectl does not say how many requests wait.
const BLIND_AFTER: Duration = Duration::from_secs(5);
/// Paths of nodes are looked for at most so often.
const PATHS_AFTER: Duration = Duration::from_secs(1);
/// The node of a mount's root.
const ROOT: u64 = 1;

/// What a measurement has to find out beyond counts and times.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// How many callers and nodes a snapshot keeps; 0 counts none of them, which costs less.
    pub top: usize,
    /// From which total time on a request is an event, in ns; none for no events.
    pub slow_ns: Option<u64>,
    /// Only these connections, by id; all when empty.
    pub connections: Vec<u32>,
}

/// A measurement, from its start until it is dropped.
pub struct Collector {
    attached: Option<Attached>,
    tier: Tier,
    machine: Machine,
    wants: Wants,
    started_ns: u64,
    /// Who holds which connection's device, as last seen.
    servers: Vec<(u32, u32)>,
    /// When the open files were last looked at, and whether that found requests that were not
    /// seen being sent.
    looked: Option<Instant>,
    had_unseen: bool,
    /// Mount points, by connection.
    roots: HashMap<u32, String>,
    /// Of nodes that are open, by connection and node.
    paths: HashMap<(u32, u64), String>,
    paths_seen: Option<Instant>,
}

impl Collector {
    /// Begins with what the machine lets it have, which [`Collector::tier`] tells; never fails.
    pub fn start(wants: Wants) -> Collector {
        let purpose = Purpose { top: wants.top > 0, slow_ns: wants.slow_ns };
        let (attached, tier) = bpf::attach(purpose);
        Collector {
            attached,
            tier,
            machine: Machine::new(),
            wants,
            started_ns: monotonic_ns(),
            servers: Vec::new(),
            looked: None,
            had_unseen: false,
            roots: HashMap::new(),
            paths: HashMap::new(),
            paths_seen: None,
        }
    }

    /// What it has, and what is missing as far as that was seen by now.
    pub fn tier(&self) -> Tier {
        let mut tier = self.tier.clone();
        tier.missing.extend(self.machine.missing());
        tier
    }

    /// Everything since the start, and what is under way now. Begins a new interval of maxima.
    ///
    /// # Errors
    /// mountinfo or a BPF map cannot be read.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let Some(attached) = &mut self.attached else {
            let connections = self.machine.connections().context("mountinfo")?;
            return Ok(self.seen(connections, Lost::default()));
        };
        let interval = attached.next_interval();
        let mut counted = attached.counted(interval)?;
        let lost = attached.lost()?;
        let mut connections = self.connections(&mut counted)?;
        if self.wants.top > 0 {
            self.add_parties(&mut connections)?;
        }
        Ok(self.seen(connections, lost))
    }

    /// What is under way now; nothing that is counted, and no new interval.
    ///
    /// # Errors
    /// As those of [`Collector::snapshot`].
    pub fn in_flight(&mut self) -> Result<Snapshot> {
        let connections = self.connections(&mut BTreeMap::new())?;
        Ok(self.seen(connections, Lost::default()))
    }

    /// Hands over slow requests as they come, for `wait` at the most.
    ///
    /// # Errors
    /// The ring buffer cannot be read.
    pub fn events(&mut self, wait: Duration, each: &mut dyn FnMut(Slow)) -> Result<()> {
        let Some(attached) = &self.attached else {
            std::thread::sleep(wait);
            return Ok(());
        };
        let mut events = Vec::new();
        attached.events(wait, &mut |slow| events.push(slow))?;
        let of = &self.wants.connections;
        events.retain(|slow| of.is_empty() || of.contains(&slow.connection));
        if !events.is_empty() {
            self.look_for_paths()?;
        }
        for mut slow in events {
            self.add_path(slow.connection, &mut slow.request);
            each(slow);
        }
        Ok(())
    }

    fn seen(&self, mut connections: Vec<Connection>, lost: Lost) -> Snapshot {
        let of = &self.wants.connections;
        connections.retain(|connection| of.is_empty() || of.contains(&connection.id));
        let taken_ns = monotonic_ns();
        let counts = self.attached.as_ref();
        Snapshot {
            taken_ns,
            wall: SystemTime::now(),
            covers_ns: counts.map_or(0, |_| taken_ns.saturating_sub(self.started_ns)),
            connections,
            lost,
            memory_bytes: counts.map_or(0, Attached::memory),
        }
    }

    /// All connections, with what was counted and what is under way. What was counted of one
    /// that is gone is forgotten.
    fn connections(&mut self, counted: &mut BTreeMap<u32, Counted>) -> Result<Vec<Connection>> {
        let mut connections = self.machine.connections().context("mountinfo")?;
        let Some(attached) = &mut self.attached else {
            return Ok(connections);
        };
        let root = |it: &Connection| Some((it.id, it.mount_point.as_ref()?.display().to_string()));
        self.roots = connections.iter().filter_map(root).collect();
        let pending = attached.pending(monotonic_ns())?;
        let ids = counted.keys().copied().chain(pending.iter().map(|pending| pending.dev));
        // Not mounted here: elsewhere, or not any more.
        let mut hidden: BTreeSet<u32> = ids.collect();
        hidden.retain(|id| connections.iter().all(|connection| connection.id != *id));
        // Where nobody tells whether there are more, now and then, and as long as there were.
        let blind = connections.iter().any(|connection| connection.waiting.is_none())
            && (self.had_unseen || self.looked.is_none_or(|at| at.elapsed() >= BLIND_AFTER));
        let needed =
            blind || !hidden.is_empty() || needs_look(&connections, &pending, &self.servers);
        let mut looked = if needed { attached.look(true, false)? } else { None };
        let mut unseen = Vec::new();
        if let Some(looked) = &mut looked {
            self.servers.clone_from(&looked.servers);
            unseen = looked.unseen(&pending);
            not_new(attached, &mut unseen)?;
            (self.looked, self.had_unseen) = (Some(Instant::now()), !unseen.is_empty());
        }
        for id in hidden {
            if self.servers.iter().any(|(served, _)| *served == id) {
                connections.push(Connection { id, ..Connection::default() });
            } else {
                counted.remove(&id);
                attached.drop_connection(id)?;
            }
        }
        for connection in &mut connections {
            connection.generation = attached.generation(connection.id)?;
            connection.split = self.tier.split;
        }
        self.add_pending(&mut connections, pending, looked.as_ref(), &unseen)?;
        for connection in &mut connections {
            let counts = counted.remove(&connection.id).unwrap_or_default();
            connection.unanswered = counts.unanswered;
            connection.operations = counts.operations.into_values().collect();
            self.add_server(connection, counts.server);
        }
        Ok(connections)
    }

    /// Who answers: who did last, else who is known to the machine, else who has the device.
    fn add_server(&mut self, connection: &mut Connection, answered: Option<(u64, u32)>) {
        let answered = answered.and_then(|(_, pid)| self.machine.server(pid));
        let of = |(id, pid): &(u32, u32)| (*id == connection.id).then_some(*pid);
        let holder = self.servers.iter().find_map(of);
        connection.server = answered
            .or(connection.server.take())
            .or_else(|| holder.and_then(|pid| self.machine.server(pid)));
    }

    /// Gives each connection its requests under way, oldest first.
    fn add_pending(
        &self,
        connections: &mut [Connection],
        pending: Vec<Pending>,
        looked: Option<&Looked>,
        unseen: &[Listed],
    ) -> Result<()> {
        let Some(attached) = &self.attached else {
            return Ok(());
        };
        let mut of: BTreeMap<u32, Vec<Request>> = BTreeMap::new();
        for pending in &pending {
            let gone = !connections.iter().any(|connection| connection.id == pending.dev);
            let listed = looked.and_then(|looked| looked.lists(pending));
            if gone || looked.is_some() && listed.is_none() && is_gone(pending.request.caller.tid) {
                attached.drop_request(pending)?;
            } else {
                let request = joined(attached, pending, listed)?;
                of.entry(pending.dev).or_default().push(request);
            }
        }
        for listed in unseen {
            if let Some(request) = earlier(&listed.request, monotonic_ns() - self.started_ns) {
                of.entry(listed.dev).or_default().push(request);
            }
        }
        for connection in connections {
            let mut requests = of.remove(&connection.id).unwrap_or_default();
            connection.in_flight = Some(requests.len() as u64);
            requests.sort_by_key(|request| std::cmp::Reverse(request.age_ns));
            requests.truncate(PENDING_MAX);
            for request in &mut requests {
                request.caller.command = command_of(request.caller.tid);
                self.add_path(connection.id, request);
            }
            connection.pending = requests;
        }
        Ok(())
    }

    /// Gives each connection its callers and nodes, most requests first.
    fn add_parties(&mut self, connections: &mut [Connection]) -> Result<()> {
        self.look_for_paths()?;
        let Some(attached) = &self.attached else {
            return Ok(());
        };
        let (callers, nodes) = (attached.callers()?, attached.nodes()?);
        let find = |connections: &mut [Connection], dev: u32| {
            connections.iter().position(|connection| connection.id == dev)
        };
        for (dev, pid, Party { count, total_ns, command }) in callers {
            if let Some(at) = find(connections, dev) {
                let (pid, command) = (pid as u32, bpf::text(&command));
                connections[at].callers.push(Caller { pid, command, count, total_ns });
            }
        }
        for (dev, id, Party { count, total_ns, .. }) in nodes {
            if let Some(at) = find(connections, dev) {
                let path = self.path_of(dev, id);
                connections[at].nodes.push(Node { id, path, count, total_ns });
            }
        }
        for connection in connections {
            connection.sort_parties();
        }
        Ok(())
    }

    /// Learns the paths of all open files of FUSE mounts.
    fn look_for_paths(&mut self) -> Result<()> {
        if self.paths_seen.is_some_and(|seen| seen.elapsed() < PATHS_AFTER) {
            return Ok(());
        }
        if let Some(attached) = &mut self.attached
            && let Some(looked) = attached.look(false, true)?
        {
            let paths = looked.files.into_iter().map(|file| ((file.dev, file.node), file.path));
            self.paths = paths.collect();
            self.paths_seen = Some(Instant::now());
        }
        Ok(())
    }

    /// The path of a request's node, with the name below it where it looks one up.
    fn add_path(&self, connection: u32, request: &mut Request) {
        if let Some(node) = self.path_of(connection, request.node) {
            request.path = Some(match &request.path {
                Some(name) => format!("{}/{name}", node.trim_end_matches('/')),
                None => node,
            });
        }
    }

    fn path_of(&self, connection: u32, node: u64) -> Option<String> {
        let paths = if node == ROOT {
            self.roots.get(&connection)
        } else {
            self.paths.get(&(connection, node))
        };
        paths.cloned()
    }
}

/// What a measurement would have here: all is tried, and taken away again.
pub fn probe() -> Tier {
    let (mut tier, mut machine) = (bpf::probe(), Machine::new());
    // Without mountinfo nothing is known that could be said.
    if machine.connections().is_ok() {
        tier.missing.extend(machine.missing());
    }
    tier
}

/// Whether the open files have to be looked at, which takes a time that grows with their number.
fn needs_look(connections: &[Connection], pending: &[Pending], servers: &[(u32, u32)]) -> bool {
    let has_server = |id: u32| servers.iter().any(|(served, _)| *served == id);
    pending.iter().any(|pending| pending.request.age_ns >= OLD_NS)
        || connections.iter().any(|connection| {
            let seen = pending.iter().filter(|pending| pending.dev == connection.id).count() as u64;
            connection.waiting.is_some_and(|waiting| waiting > seen)
                || connection.server.is_none() && !has_server(connection.id)
        })
}

/// A request that was seen being sent, with what the kernel's list has of it.
fn joined(attached: &Attached, pending: &Pending, listed: Option<&Listed>) -> Result<Request> {
    let mut request = pending.request.clone();
    if let Some(Listed { request: other, .. }) = listed {
        (request.unique, request.read) = (other.unique, other.read);
        request.path.clone_from(&other.path);
    }
    if request.unique != 0
        && request.queue_ns.is_none()
        && let Some(read_ns) = attached.arrival(pending.dev, request.unique)?
    {
        // It may be that of an earlier connection with the same id.
        request.queue_ns = pending.queue_ns(read_ns);
        request.read = request.queue_ns.map_or(request.read, |_| Some(true));
    }
    Ok(request)
}

/// Leaves out the requests that came during the look: those that were seen being sent by now,
/// and those of unknown age that have been answered.
fn not_new(attached: &mut Attached, unseen: &mut Vec<Listed>) -> Result<()> {
    if unseen.iter().any(|listed| listed.request.older)
        && let Some(again) = attached.look(true, false)?
    {
        unseen.retain(|listed| again.has(listed));
    }
    if !unseen.is_empty() {
        let pending = attached.pending(monotonic_ns())?;
        unseen.retain(|listed| !pending.iter().any(|pending| listed.is(pending)));
    }
    Ok(())
}

/// A request that was not seen being sent, `running_ns` after the measurement's start; none when
/// it is younger than that.
fn earlier(listed: &Request, running_ns: u64) -> Option<Request> {
    if !listed.older && listed.age_ns < running_ns {
        return None;
    }
    let mut request = listed.clone();
    request.age_ns = listed.age_ns.max(running_ns);
    // The kernel's lists have the thread; its process is what users know.
    let status = fs::read_to_string(format!("/proc/{}/status", listed.caller.tid));
    let line = status.unwrap_or_default();
    let group = line.lines().find_map(|line| line.strip_prefix("Tgid:"));
    request.caller.pid = group.and_then(|pid| pid.trim().parse().ok()).unwrap_or(0);
    Some(request)
}

/// Whether a thread does not exist any more, or only as a zombie.
fn is_gone(tid: u32) -> bool {
    thread(tid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

fn command_of(tid: u32) -> String {
    thread(tid).map_or(String::new(), |stat| stat.name)
}

fn thread(tid: u32) -> Option<Stat> {
    process::stat(Path::new(&format!("/proc/{tid}")))
}
