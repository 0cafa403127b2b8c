//! Who sends the packets of a socket: a server of the framed protocol, in threads of this process.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use zerocopy::IntoBytes;

use super::frames::Frames;
use super::{BenchError, Result, Source};
use crate::fs::merge::address::Address;
use crate::fs::merge::frame::{Request, Shape};
use crate::fs::merge::server::{Server, ServerConfig};

/// The name of what a peer serves.
pub(super) const NAME: &str = "bytes";

/// The peers of a run: one for each kind of socket and size of a packet.
pub(super) struct Peers {
    dir: PathBuf,
    bytes: PathBuf,
    running: BTreeMap<(Source, usize), Server>,
    answers: u64,
}

impl Peers {
    /// They serve the file `bytes`, and have their sockets in `dir`.
    pub(super) fn new(dir: &Path, bytes: &Path) -> Peers {
        Peers { dir: dir.into(), bytes: bytes.into(), running: BTreeMap::new(), answers: 0 }
    }

    /// Where the peer is that sends packets of `size` bytes.
    pub(super) fn address(&mut self, source: Source, size: usize) -> Result<Address> {
        if let Some(server) = self.running.get(&(source, size)) {
            return Ok(server.address().clone());
        }
        let address = match source {
            Source::Tcp => Address::Tcp("127.0.0.1".into(), 0),
            _ => Address::Unix(self.dir.join(format!("peer-{size}"))),
        };
        let failed = || BenchError::io(format!("a peer at {address}"));
        let config = ServerConfig { packet: size, ..ServerConfig::default() };
        let server = Server::start(&address, config).map_err(failed())?;
        server.add(NAME, File::open(&self.bytes).map_err(failed())?);
        let address = server.address().clone();
        self.running.insert((source, size), server);
        Ok(address)
    }

    /// A connection, the request for the first `total` bytes that is to be written to it, and the
    /// packets of `size` bytes that follow then.
    pub(super) fn connect(
        &mut self,
        source: Source,
        size: usize,
        total: usize,
    ) -> Result<(OwnedFd, Vec<u8>, Frames)> {
        let address = self.address(source, size)?;
        self.answers += 1;
        let request = Request::new(NAME.len(), self.answers, 0, total as u64);
        let message = [request.as_bytes(), NAME.as_bytes()].concat();
        let socket = match &address {
            Address::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
            Address::Tcp(host, port) => {
                TcpStream::connect((host.as_str(), *port)).map(OwnedFd::from)
            }
        };
        let socket = socket.map_err(BenchError::io(format!("the peer at {address}")))?;
        Ok((socket, message, Frames::new(Shape::default(), self.answers, 0)))
    }
}
