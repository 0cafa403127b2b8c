//! The control socket: how people talk to a supervisor.
//!
//! A stream socket in a directory of root's or of the user's. It never blocks the loop: what a
//! client sends is read as it comes, a silent one is dropped, and one whose peer credentials are
//! not root's or the owner's is refused. Bytes from it are hostile until they are parsed.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, SockFlag, accept4, getsockopt, send, sockopt};

use crate::Errno;
use crate::mount::mountinfo::Entry;
use crate::recovery::board::{Board, Cell};
use crate::sys::Fd;

use super::process::INTRODUCED;
use super::protocol::{Answer, LONGEST, Request, Status, line, parse};
use super::supervisor::Supervisor;
use super::{Config, Work, numbers};

/// A client that has not sent its line by then is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where this user's supervisors have their sockets; `None` for a user without a directory for
/// what runs.
pub(super) fn directory() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some("/run/fusex".into());
    }
    let directory = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    directory.is_absolute().then(|| directory.join("fusex"))
}

/// The socket of the supervisor of a connection.
pub fn path(connection: u32) -> Option<PathBuf> {
    Some(directory()?.join(format!("{connection}.sock")))
}

/// The socket of the supervisor of another user's mount, as root finds it.
pub(super) fn path_of_user(entry: &Entry) -> Option<PathBuf> {
    let mut options = entry.super_options.split(',');
    let user: u32 = options.find_map(|option| option.strip_prefix("user_id="))?.parse().ok()?;
    Some(format!("/run/user/{user}/fusex/{}.sock", entry.minor).into())
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// A worker after this generation.
    Restart(u64),
    /// A worker of this version.
    Upgrade,
    /// The end.
    Stop,
}

#[derive(Debug)]
struct Client {
    received: Vec<u8>,
    until: Instant,
    waits: Option<Waits>,
}

/// The socket and its clients; client `i` is descriptor [`numbers::CLIENTS`] + `i`.
#[derive(Debug)]
pub(super) struct Control {
    path: Option<PathBuf>,
    /// The socket's inode: the next mount may get this one's number, and its path with it, before
    /// this one is closed.
    inode: u64,
    clients: [Option<Client>; numbers::CLIENT_COUNT],
}

fn fd_of(index: usize) -> Fd {
    Fd::from_number(numbers::CLIENTS + index as i32)
}

/// Makes the socket, in the place of one that a dead supervisor may have left.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        let mode = if nix::unistd::geteuid().is_root() { 0o755 } else { 0o700 };
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    }
    // Under a name of its own first: there it gets its mode before anybody finds it.
    let own = path.with_extension(std::process::id().to_string());
    match std::fs::remove_file(&own) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&own)?;
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    std::fs::rename(&own, path)?;
    Ok(listener)
}

impl Control {
    /// Listens. Without a socket the mount is none the worse, only nobody can ask.
    pub(super) fn listen(config: &Config) -> Control {
        let mut control = Control { path: None, inode: 0, clients: Default::default() };
        let Some(path) = &config.control else { return control };
        let placed = listen(path).and_then(|listener| {
            let inode = std::fs::symlink_metadata(path)?.ino();
            numbers::put(Fd::from_owned(listener.into()), numbers::LISTENER)?;
            Ok(inode)
        });
        match placed {
            Ok(inode) => {
                control.path = Some(path.clone());
                control.inode = inode;
                control.adopt(config.client);
            }
            Err(error) => {
                let path = path.display();
                tracing::warn!("no control socket: {path}: {error}: 'fusex supervise' cannot ask");
            }
        }
        control
    }

    /// Takes over whoever waits for the upgrade that has just been made.
    fn adopt(&mut self, client: Option<i32>) {
        let index = client.and_then(|number| usize::try_from(number - numbers::CLIENTS).ok());
        if let Some(place) = index.and_then(|index| self.clients.get_mut(index)) {
            let until = Instant::now() + PATIENCE;
            *place = Some(Client { received: Vec::new(), until, waits: Some(Waits::Upgrade) });
        }
    }

    /// That of a dead supervisor: whom it talked to is not known, but for who waits for an upgrade.
    pub(super) fn inherited(self, board: Board, config: &Config) -> Control {
        if let Some(client) = board.get(Cell::Upgrading).checked_sub(1) {
            let error = "upgrade: the installed program ended before it took over: \
                         the old version goes on";
            tracing::error!("{error}");
            say(Fd::from_number(client as i32), &Answer::Error(error.to_string()));
            board.set(Cell::Upgrading, 0);
        }
        (0..numbers::CLIENT_COUNT).for_each(|index| numbers::clear(fd_of(index).number()));
        let inode = |path: &PathBuf| std::fs::symlink_metadata(path).map_or(0, |found| found.ino());
        let is_lost = self.path.as_ref().is_some_and(|path| inode(path) != self.inode);
        // A new version has put its own there, and died. There is no worker then, whose takeover
        // would close what is opened here.
        if is_lost && board.get(Cell::WorkerPid) == 0 {
            return Control::listen(&Config { client: None, ..config.clone() });
        }
        Control { path: self.path, inode: self.inode, clients: Default::default() }
    }

    /// Whether a new client has a place.
    pub(super) fn accepts(&self) -> bool {
        self.path.is_some() && self.clients.iter().any(Option::is_none)
    }

    /// The descriptors of clients that have not sent all yet.
    pub(super) fn reading(&self) -> impl Iterator<Item = i32> {
        let reads = |client: &Option<Client>| client.as_ref().is_some_and(|it| it.waits.is_none());
        (0..numbers::CLIENT_COUNT)
            .filter(move |index| reads(&self.clients[*index]))
            .map(|index| fd_of(index).number())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let reading = self.clients.iter().flatten().filter(|client| client.waits.is_none());
        reading.map(|client| client.until).min()
    }

    /// Takes in whoever waits to be. Only while no worker takes over: accept(2) has no say in
    /// the number.
    fn accept(&mut self, owner: u32) {
        while let Some(index) = self.clients.iter().position(Option::is_none) {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let Ok(accepted) = accept4(numbers::LISTENER, flags) else { return };
            if numbers::put(Fd::from_number(accepted), fd_of(index).number()).is_err() {
                return;
            }
            let until = Instant::now() + PATIENCE;
            self.clients[index] = Some(Client { received: Vec::new(), until, waits: None });
            if let Err(error) = may_ask(fd_of(index), owner) {
                self.answer(index, &Answer::Error(error));
            }
        }
    }

    /// The line of a client, once it is there, or why there will be none.
    fn read(&mut self, index: usize) -> Option<Result<Request, String>> {
        let client = self.clients[index].as_mut().filter(|client| client.waits.is_none())?;
        let mut buffer = [0; LONGEST];
        match nix::unistd::read(fd_of(index), &mut buffer) {
            Ok(0) => {
                self.drop_client(index);
                return None;
            }
            Ok(length) => client.received.extend_from_slice(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < client.until => return None,
            Err(_) => {
                self.drop_client(index);
                return None;
            }
        }
        match client.received.iter().position(|&byte| byte == b'\n') {
            Some(end) if end < LONGEST => Some(parse(&client.received[..end])),
            None if client.received.len() < LONGEST => None,
            _ => Some(Err(format!("not a request: longer than {LONGEST} bytes"))),
        }
    }

    /// Answers, and ends the talk.
    fn answer(&mut self, index: usize, answer: &Answer) {
        say(fd_of(index), answer);
        self.drop_client(index);
    }

    fn drop_client(&mut self, index: usize) {
        self.clients[index] = None;
        numbers::clear(fd_of(index).number());
    }

    /// The clients that wait for something that `is` so.
    fn waiting(&self, is: impl Fn(Waits) -> bool) -> Vec<usize> {
        let waits = |index: &usize| {
            self.clients[*index].as_ref().and_then(|client| client.waits).is_some_and(&is)
        };
        (0..numbers::CLIENT_COUNT).filter(waits).collect()
    }

    /// No more clients, no more socket.
    fn close(&mut self) {
        if let Some(path) = self.path.take() {
            // As long as it listens, nobody else's socket has its inode.
            if std::fs::symlink_metadata(&path).is_ok_and(|it| it.ino() == self.inode) {
                // A path that is gone, or in a directory that is: nothing is left of it.
                let _ = std::fs::remove_file(path);
            }
            numbers::clear(numbers::LISTENER);
        }
        (0..numbers::CLIENT_COUNT).for_each(|index| self.drop_client(index));
    }
}

/// A client that does not read gets nothing: its buffer is empty, so that a line always fits.
fn say(client: Fd, answer: &Answer) {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    // It may be gone.
    let _ = send(client.as_raw_fd(), &line(answer), flags);
}

/// Root and the owner may.
fn may_ask(client: Fd, owner: u32) -> Result<(), String> {
    let peer = getsockopt(&client, sockopt::PeerCredentials)
        .map_err(|errno| format!("who asks cannot be told: {}", errno.desc()))?;
    if peer.uid() == 0 || peer.uid() == owner {
        return Ok(());
    }
    Err(format!("user {} may not: run it as root or as user {owner}", peer.uid()))
}

impl<W: Work> Supervisor<'_, W> {
    /// Talks to clients as far as that goes without waiting.
    pub(super) fn serve_clients(&mut self) {
        if self.control.path.is_none() {
            return;
        }
        if self.quiescent() {
            self.control.accept(self.config.owner_uid);
        }
        for index in 0..numbers::CLIENT_COUNT {
            match self.control.read(index) {
                None => {}
                Some(Ok(request)) => self.carry_out(index, request),
                Some(Err(error)) => self.control.answer(index, &Answer::Error(error)),
            }
        }
        let worker = &self.worker;
        let ready = self.control.waiting(|waits| match waits {
            Waits::Restart(generation) => worker.is_ready_after(generation),
            Waits::Upgrade => worker.is_ready(),
            Waits::Stop => false,
        });
        ready.into_iter().for_each(|index| self.answer_ok(index));
    }

    fn answer_ok(&mut self, index: usize) {
        let status = Answer::Ok(Box::new(self.status()));
        self.control.answer(index, &status);
    }

    fn carry_out(&mut self, index: usize, request: Request) {
        let waits = match request {
            Request::Status => return self.answer_ok(index),
            Request::Upgrade => {
                let why = self.upgrade(fd_of(index).number());
                let error = format!("upgrade: {why}: the old version goes on");
                return self.control.answer(index, &Answer::Error(error));
            }
            Request::Restart => Waits::Restart(self.restart_worker()),
            Request::Stop => {
                self.begin_stop();
                Waits::Stop
            }
        };
        if let Some(client) = &mut self.control.clients[index] {
            client.waits = Some(waits);
        }
    }

    /// The last steps: whoever asked for the end has it.
    pub(super) fn end_control(&mut self) {
        let waiting = self.control.waiting(|waits| waits == Waits::Stop);
        waiting.into_iter().for_each(|index| self.answer_ok(index));
        self.control.close();
    }

    fn status(&self) -> Status {
        // One that does not stand on its own yet is none.
        let get = |cell| Some(self.board.get(cell)).filter(|v| v & INTRODUCED == 0).unwrap_or(0);
        let (inodes, open_files) = self.work.counts();
        let (killed, signal) = (get(Cell::DeathsKilled), get(Cell::DeathsSignal));
        let (exit, timeout) = (get(Cell::DeathsExit), get(Cell::DeathsTimeout));
        let mount_point = self.config.mount_point.as_ref();
        Status {
            schema: 1,
            mount_point: mount_point.map(|path| path.to_string_lossy().into_owned()),
            connection: self.config.connection,
            generation: get(Cell::Generation),
            worker_pid: get(Cell::WorkerPid),
            supervisor_pid: get(Cell::SupervisorPid),
            standby_pid: get(Cell::StandbyPid),
            reserve_pid: get(Cell::ReservePid),
            spare_pid: get(Cell::SparePid),
            worker_deaths: killed + signal + exit + timeout,
            deaths_killed: killed,
            deaths_signal: signal,
            deaths_exit: exit,
            deaths_timeout: timeout,
            restarts: get(Cell::Restarts),
            supervisor_deaths: get(Cell::SupervisorDeaths),
            last_takeover_ns: get(Cell::LastTakeover),
            recovered_from_slots: get(Cell::RecoveredFromSlots),
            recovered_resent: get(Cell::RecoveredResent),
            recovered_from_journal: get(Cell::RecoveredFromJournal),
            recovered_probed: get(Cell::RecoveredProbed),
            poisoned: get(Cell::Poisoned),
            leaked_lookups: get(Cell::LeakedLookups),
            damaged_records: get(Cell::Damaged),
            spliced: get(Cell::Spliced),
            splice_fallbacks_short: get(Cell::SpliceShort),
            splice_fallbacks_full: get(Cell::SpliceFull),
            splice_fallbacks_refused: get(Cell::SpliceRefused),
            splice_fallbacks_examined: get(Cell::SpliceExamined),
            splices: get(Cell::Splices),
            pipe_bytes: get(Cell::PipeBytes),
            inodes,
            open_files,
        }
    }
}
