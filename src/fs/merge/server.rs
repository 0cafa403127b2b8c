//! A server of the framed protocol: for tests, measurements, and `examples/framed-server.rs`.
//!
//! It serves files by name, a thread a connection, until it is dropped. How it cuts and sends its
//! answers can be chosen ([`ServerConfig`]), and on demand it misbehaves ([`Fault`]). It reads the
//! files as they are when they are asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{MsgFlags, Shutdown, sendmsg, shutdown};
use zerocopy::IntoBytes;

use super::address::{Address, Listener};
use super::frame::{Checksum, Header, PAYLOAD_MAX, Request, Shape};
use crate::Errno;

/// How payload is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sending {
    /// Read into memory, and sent with header and footer in one call
    #[default]
    Writev,
    /// By sendfile(2) between header and footer
    Sendfile,
}

/// How answers are cut and sent.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// How packets look.
    pub shape: Shape,
    /// Bytes of payload in a packet, 1 to [`PAYLOAD_MAX`].
    pub packet: usize,
    /// Answers begin and end at a multiple of so many bytes, or at the end of the source; 1: where
    /// the request does.
    pub align: u64,
    /// How payload is sent.
    pub sending: Sending,
    /// Bytes of each write at the most; 0: as many as go.
    pub fragment: usize,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        let (shape, sending) = (Shape::default(), Sending::default());
        ServerConfig { shape, packet: 128 << 10, align: 1, sending, fragment: 0 }
    }
}

/// What a server can do wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection after so many bytes.
    Close(u64),
    /// Sends nothing any more after so many bytes, and leaves the connection open.
    Stall(u64),
    /// Waits before each packet.
    Slow(Duration),
    /// Says that a packet is longer than it is.
    Longer,
    /// Says that a packet is shorter than it is.
    Shorter,
    /// Says that a packet is longer than any may be.
    Huge,
    /// A wrong checksum.
    Checksum,
    /// A wrong byte of payload, which only a checksum of it shows.
    Payload,
    /// The id of another request.
    Id,
    /// Another place than was asked for.
    Offset,
    /// Says that it is done when half is sent.
    Early,
    /// Bytes that are no packet.
    Garbage,
    /// An error number.
    Error(i32),
}

struct Shared {
    config: ServerConfig,
    files: Mutex<HashMap<String, Arc<File>>>,
    /// What is done wrong, and in each how many-th answer.
    fault: Mutex<Option<(Fault, u64)>>,
    requests: AtomicU64,
    connections: AtomicU64,
    stopping: AtomicBool,
    open: Mutex<Vec<(Arc<OwnedFd>, JoinHandle<()>)>>,
}

/// A server that runs, until it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    address: Address,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Listens at `address`, with no files yet. A TCP port of 0 is replaced by a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(address: &Address, config: ServerConfig) -> io::Result<Server> {
        let (listener, address) = address.listen()?;
        let packet = config.packet.clamp(1, PAYLOAD_MAX);
        let shared = Arc::new(Shared {
            config: ServerConfig { packet, align: config.align.max(1), ..config },
            files: Mutex::default(),
            fault: Mutex::default(),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let listener = Arc::new(listener);
        let (own, theirs) = (shared.clone(), listener.clone());
        let thread = std::thread::Builder::new()
            .name("framed".into())
            .spawn(move || accept_all(&own, &theirs))?;
        Ok(Server { shared, listener, address, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves `file` as `name`.
    pub fn add(&self, name: &str, file: File) {
        lock(&self.shared.files).insert(name.to_string(), Arc::new(file));
    }

    /// Serves every regular file in `dir` by its name; returns how many.
    ///
    /// # Errors
    /// The directory cannot be read, or one of the files.
    pub fn add_directory(&self, dir: &Path) -> io::Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.metadata()?.is_file(), entry.file_name().into_string())
            {
                self.add(&name, File::open(entry.path())?);
                count += 1;
            }
        }
        Ok(count)
    }

    /// From here on each `every`-th answer has this fault; `None`: no answer has one.
    pub fn set_fault(&self, fault: Option<Fault>, every: u64) {
        *lock(&self.shared.fault) = fault.map(|fault| (fault, every.max(1)));
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many connections have come.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Closes all connections; new ones are welcome.
    pub fn hang_up(&self) {
        let open = std::mem::take(&mut *lock(&self.shared.open));
        for (socket, thread) in open {
            // Gone already where the client has closed.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
            let _ = thread.join();
        }
    }

    /// Serves until the program is ended.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let number = match &*self.listener {
            Listener::Unix(listener) => listener.as_raw_fd(),
            Listener::Tcp(listener) => listener.as_raw_fd(),
        };
        let _ = shutdown(number, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.hang_up();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn accept_all(shared: &Arc<Shared>, listener: &Listener) {
    while !shared.stopping.load(Ordering::Acquire) {
        let accepted: io::Result<OwnedFd> = match listener {
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| stream.into()),
            Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }),
        };
        let Ok(socket) = accepted else {
            // Without descriptors, or stopped.
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (socket, own) = (Arc::new(socket), shared.clone());
        let theirs = socket.clone();
        let mut open = lock(&shared.open);
        open.retain(|(_, thread)| !thread.is_finished());
        let thread = std::thread::Builder::new().name("framed-one".into()).spawn(move || {
            // How a connection ends is the client's concern.
            let _ = serve(&own, &theirs);
            let _ = shutdown(theirs.as_raw_fd(), Shutdown::Both);
        });
        if let Ok(thread) = thread {
            open.push((socket, thread));
        }
    }
}

/// Answers one connection's requests.
fn serve(shared: &Shared, socket: &OwnedFd) -> io::Result<()> {
    let mut input = File::from(socket.try_clone()?);
    let mut payload = Vec::new();
    loop {
        let mut bytes = [0; size_of::<Request>()];
        input.read_exact(&mut bytes)?;
        let request = Request::parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let mut name = vec![0; request.name.get() as usize];
        input.read_exact(&mut name)?;
        let number = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = lock(&shared.fault).filter(|(_, every)| number.is_multiple_of(*every));
        let fault = fault.map(|(fault, _)| fault);
        let left = match fault {
            Some(Fault::Close(after) | Fault::Stall(after)) => after,
            _ => u64::MAX,
        };
        let name = String::from_utf8_lossy(&name);
        let file = lock(&shared.files).get(&*name).cloned();
        let config = &shared.config;
        let mut answer = Answer { config, socket, id: request.id.get(), fault, left };
        match (file, fault) {
            (_, Some(Fault::Error(number))) => answer.refuse(number)?,
            (None, _) => answer.refuse(libc::ENOENT)?,
            (Some(file), _) => answer.send(&request, &file, &mut payload)?,
        }
    }
}

/// One answer on its way.
struct Answer<'a> {
    config: &'a ServerConfig,
    socket: &'a OwnedFd,
    id: u64,
    fault: Option<Fault>,
    /// Bytes until the fault.
    left: u64,
}

impl Answer<'_> {
    fn refuse(&mut self, error: i32) -> io::Result<()> {
        let (head, foot) = self.config.shape.edges(&Header::failed(self.id, error), &[]);
        self.write(&[&head, &foot], false)
    }

    fn send(&mut self, request: &Request, file: &File, buffer: &mut Vec<u8>) -> io::Result<()> {
        let (align, size) = (self.config.align, file.metadata()?.len());
        let asked_end = request.offset.get().saturating_add(request.length.get());
        let mut at = request.offset.get() / align * align;
        let mut end = asked_end.checked_next_multiple_of(align).unwrap_or(size).min(size);
        if self.fault == Some(Fault::Early) {
            end = at + end.saturating_sub(at) / 2;
        }
        loop {
            let length = end.saturating_sub(at).min(self.config.packet as u64) as usize;
            let last = at + length as u64 >= end;
            self.packet(file, at, length, last, buffer)?;
            at += length as u64;
            if last {
                return Ok(());
            }
        }
    }

    fn packet(
        &mut self,
        file: &File,
        at: u64,
        length: usize,
        last: bool,
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        if let Some(Fault::Slow(pause)) = self.fault {
            std::thread::sleep(pause);
        }
        let sums = self.config.shape.checksum == Checksum::Payload;
        let by_file = self.config.sending == Sending::Sendfile;
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let buffer = &mut buffer[..length];
        if sums || !by_file || self.fault == Some(Fault::Payload) {
            file.read_exact_at(buffer, at)?;
        }
        let (head, foot) = self.edges(at, length, last, buffer);
        if by_file && self.fault != Some(Fault::Payload) {
            self.write(&[&head], true)?;
            self.send_file(file, at, length)?;
            return self.write(&[&foot], false);
        }
        if self.fault == Some(Fault::Payload)
            && let Some(byte) = buffer.last_mut()
        {
            *byte ^= 0x20;
        }
        self.write(&[&head, buffer, &foot], false)
    }

    /// Header and footer, right or wrong.
    fn edges(&self, at: u64, length: usize, last: bool, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut id, mut said, mut said_at) = (self.id, length, at);
        match self.fault {
            Some(Fault::Longer) => said += 8,
            Some(Fault::Shorter) => said /= 2,
            Some(Fault::Huge) => said = PAYLOAD_MAX + 1,
            Some(Fault::Id) => id += 1,
            Some(Fault::Offset) => said_at += 1,
            _ => {}
        }
        let (mut head, mut foot) =
            self.config.shape.edges(&Header::new(id, said_at, said, last), payload);
        match self.fault {
            // The last field.
            Some(Fault::Checksum) => foot[super::frame::FOOTER_MIN - 1] ^= 1,
            Some(Fault::Garbage) => head.as_mut_bytes().fill(0x5a),
            _ => {}
        }
        (head, foot)
    }

    /// Writes all of it; `more` follows.
    fn write(&mut self, parts: &[&[u8]], more: bool) -> io::Result<()> {
        let more = MsgFlags::from_bits_retain(if more { libc::MSG_MORE } else { 0 });
        let flags = MsgFlags::MSG_NOSIGNAL | more;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut done = 0;
        while done < total {
            let room = self.room(total - done)?;
            let slices = behind(parts, done, room);
            done += self.sent(sendmsg::<()>(self.socket.as_raw_fd(), &slices, &[], flags, None))?;
        }
        Ok(())
    }

    fn send_file(&mut self, file: &File, at: u64, length: usize) -> io::Result<()> {
        let mut offset = i64::try_from(at).map_err(io::Error::other)?;
        let end = offset + length as i64;
        while offset < end {
            let room = self.room((end - offset) as usize)?;
            let sent = sendfile64(self.socket.as_fd(), file.as_fd(), Some(&mut offset), room);
            if self.sent(sent)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn sent(&mut self, result: Result<usize, Errno>) -> io::Result<usize> {
        let sent = match result {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        self.left -= sent as u64;
        Ok(sent)
    }

    /// How many of `wanted` bytes the next call may send. At the place of a fault it does what
    /// the fault is.
    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        if self.left == 0 {
            if let Some(Fault::Stall(_)) = self.fault {
                // Until the client closes. It says nothing more: it waits.
                let _ = File::from(self.socket.try_clone()?).read(&mut [0]);
            }
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let fragment = if self.config.fragment == 0 { usize::MAX } else { self.config.fragment };
        Ok(wanted.min(fragment).min(usize::try_from(self.left).unwrap_or(usize::MAX)))
    }
}

/// `length` bytes of `parts`, behind the first `skip`.
fn behind<'a>(parts: &[&'a [u8]], mut skip: usize, mut length: usize) -> Vec<IoSlice<'a>> {
    let mut slices = Vec::with_capacity(parts.len());
    for part in parts {
        let rest = &part[skip.min(part.len())..];
        skip -= part.len() - rest.len();
        let taken = &rest[..length.min(rest.len())];
        length -= taken.len();
        if !taken.is_empty() {
            slices.push(IoSlice::new(taken));
        }
    }
    slices
}

/// What a pattern with this seed has from `offset` on: a different byte wherever one looks.
pub fn pattern(seed: u64, offset: u64, bytes: &mut [u8]) {
    for (at, byte) in (offset..).zip(bytes) {
        let word = ((at / 8) ^ seed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = ((word ^ (word >> 31)) >> (at % 8 * 8)) as u8;
    }
}

/// A file in memory with the first `size` bytes of a pattern.
///
/// # Errors
/// No memory.
pub fn pattern_file(seed: u64, size: u64) -> io::Result<File> {
    let file = File::from(memfd_create(c"pattern", MFdFlags::MFD_CLOEXEC)?);
    let mut block = vec![0; 1 << 16];
    for at in (0..size).step_by(block.len()) {
        let length = (size - at).min(block.len() as u64) as usize;
        pattern(seed, at, &mut block[..length]);
        file.write_all_at(&block[..length], at)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::frame::{FOOTER_MIN, HEADER_MIN};
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const SIZE: u64 = 100_000;

    fn start(dir: &Path, config: ServerConfig) -> (Server, UnixStream) {
        let path = dir.join("socket");
        let server = Server::start(&Address::Unix(path.clone()), config).unwrap();
        server.add("one", pattern_file(1, SIZE).unwrap());
        (server, UnixStream::connect(path).unwrap())
    }

    fn ask(stream: &mut UnixStream, id: u64, name: &str, offset: u64, length: u64) {
        let request = Request::new(name.len(), id, offset, length);
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(name.as_bytes()).unwrap();
    }

    /// The packets of an answer: offset and payload, each checked.
    fn answer(stream: &mut UnixStream, shape: Shape, id: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut packets = Vec::new();
        loop {
            let mut head = vec![0; shape.header];
            stream.read_exact(&mut head)?;
            let header = Header::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
            let mut payload = vec![0; header.length.get() as usize];
            stream.read_exact(&mut payload)?;
            let mut foot = vec![0; shape.footer];
            stream.read_exact(&mut foot)?;
            if !shape.belongs(&head, &payload, &foot) || header.id.get() != id {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if header.error.get() != 0 {
                return Err(io::Error::from_raw_os_error(header.error.get() as i32));
            }
            packets.push((header.offset.get(), payload));
            if header.is_last() {
                return Ok(packets);
            }
        }
    }

    #[test]
    fn answers_are_cut_as_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for sending in [Sending::Writev, Sending::Sendfile] {
            for checksum in [Checksum::None, Checksum::Header, Checksum::Payload] {
                for fragment in [0, 999] {
                    let shape = Shape { header: 102, footer: 102, checksum };
                    let config =
                        ServerConfig { shape, packet: 10_000, align: 4096, sending, fragment };
                    let (server, mut stream) = start(dir.path(), config);
                    ask(&mut stream, 5, "one", 90_000, 50_000);
                    let packets = answer(&mut stream, shape, 5).unwrap();
                    let places: Vec<_> = packets.iter().map(|(at, it)| (*at, it.len())).collect();
                    assert_eq!(places, [(86_016, 10_000), (96_016, 3_984)], "{config:?}");
                    for (at, payload) in packets {
                        let mut expected = vec![0; payload.len()];
                        pattern(1, at, &mut expected);
                        assert!(payload == expected, "{config:?} at {at}");
                    }
                    ask(&mut stream, 6, "two", 0, 1);
                    let error = answer(&mut stream, shape, 6).unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
                    assert_eq!((server.requests(), server.connections()), (2, 1));
                }
            }
        }
    }

    #[test]
    fn faults_are_faults() {
        let dir = tempfile::tempdir().unwrap();
        let shape = Shape { header: HEADER_MIN, footer: FOOTER_MIN, checksum: Checksum::Payload };
        let config = ServerConfig { shape, packet: 4096, ..ServerConfig::default() };
        let (server, _) = start(dir.path(), config);
        for fault in [
            Fault::Close(50),
            Fault::Shorter,
            Fault::Longer,
            Fault::Huge,
            Fault::Checksum,
            Fault::Payload,
            Fault::Id,
            Fault::Garbage,
            Fault::Error(libc::EACCES),
            Fault::Stall(50),
        ] {
            let mut stream = UnixStream::connect(dir.path().join("socket")).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            server.set_fault(Some(fault), 1);
            ask(&mut stream, 5, "one", 0, 10_000);
            assert!(answer(&mut stream, shape, 5).is_err(), "{fault:?}");
            server.set_fault(None, 1);
        }
        let mut stream = UnixStream::connect(dir.path().join("socket")).unwrap();
        ask(&mut stream, 6, "one", 0, 10_000);
        assert_eq!(answer(&mut stream, shape, 6).unwrap().len(), 3);
    }
}
