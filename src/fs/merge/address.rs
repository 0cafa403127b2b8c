//! Where a framed server is: `unix:PATH` or `tcp:HOST:PORT`.

use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fs, io};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::Errno;

/// How long until a server with a full queue is asked again.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// An address as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host, by name or number, and a port.
    Tcp(String, u16),
}

/// An address that can be connected to without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resolved {
    /// A socket in the file system.
    Unix(PathBuf),
    /// All addresses of the host, in the order in which they are tried.
    Tcp(Vec<SocketAddr>),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Address, &'static str> {
        const FORMS: &str = "give unix:PATH or tcp:HOST:PORT";
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = UnixAddr::new(Path::new(path)).is_ok() && !path.is_empty();
            return match fits {
                true => Ok(Address::Unix(path.into())),
                false => Err("the path of a socket has 1 to 107 bytes: give another one"),
            };
        }
        let (host, port) = text
            .strip_prefix("tcp:")
            .and_then(|rest| rest.rsplit_once(':'))
            .filter(|(host, _)| !host.is_empty())
            .ok_or(FORMS)?;
        let port = port.parse().ok().filter(|port| *port > 0 && !text.contains('+'));
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        Ok(Address::Tcp(host.to_string(), port.ok_or("the port is 1 to 65535")?))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Address {
    /// Looks the host up.
    ///
    /// # Errors
    /// There is no such host, or nobody to ask.
    pub fn resolve(&self) -> io::Result<Resolved> {
        Ok(match self {
            Address::Unix(path) => Resolved::Unix(path.clone()),
            Address::Tcp(host, port) => {
                Resolved::Tcp((host.as_str(), *port).to_socket_addrs()?.collect())
            }
        })
    }

    /// Listens there. A socket that nobody listens on any more is replaced. Returns where, for a
    /// port of 0 with the one that was found.
    pub(super) fn listen(&self) -> io::Result<(Listener, Address)> {
        match self {
            Address::Unix(path) => {
                let old = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
                let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
                if old && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
                    fs::remove_file(path)?;
                }
                Ok((Listener::Unix(UnixListener::bind(path)?), self.clone()))
            }
            Address::Tcp(host, port) => {
                let listener = TcpListener::bind((host.as_str(), *port))?;
                let port = listener.local_addr()?.port();
                Ok((Listener::Tcp(listener), Address::Tcp(host.clone(), port)))
            }
        }
    }
}

impl Resolved {
    /// Connects, within `limit`. The descriptor is non-blocking.
    pub(super) fn connect(&self, limit: Duration) -> Result<OwnedFd, Errno> {
        let until = Instant::now() + limit;
        match self {
            Resolved::Unix(path) => connect_unix(path, until),
            Resolved::Tcp(all) => {
                let mut last = Errno::EADDRNOTAVAIL;
                for address in all {
                    match connect_tcp(address, until) {
                        Ok(fd) => return Ok(fd),
                        Err(error) => last = errno(&error),
                    }
                }
                Err(last)
            }
        }
    }
}

/// A unix socket cannot be waited for while its server has a full queue.
fn connect_unix(path: &Path, until: Instant) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address) {
            Ok(()) => return Ok(fd),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if Instant::now() < until => std::thread::sleep(QUEUE_PAUSE),
            Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            Err(error) => return Err(error),
        }
    }
}

fn connect_tcp(address: &SocketAddr, until: Instant) -> io::Result<OwnedFd> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(address, left)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

/// The error number of an error that comes from the kernel.
pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::ETIMEDOUT, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("unix:/run/a:b", Address::Unix("/run/a:b".into())),
            ("tcp:localhost:80", Address::Tcp("localhost".into(), 80)),
            ("tcp:127.0.0.1:65535", Address::Tcp("127.0.0.1".into(), 65535)),
            ("tcp:[::1]:80", Address::Tcp("::1".into(), 80)),
        ] {
            let parsed: Address = text.parse().unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(108));
        for bad in [
            "",
            "unix:",
            "unix",
            "/run/a",
            "tcp:",
            "tcp:host",
            "tcp:host:",
            "tcp::80",
            "tcp:host:0",
            "tcp:host:65536",
            "tcp:host:+80",
            "tcp:host:x",
            "udp:host:80",
            &long,
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_socket_without_a_server_is_replaced_and_another_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("socket"));
        drop(address.listen().unwrap());
        let (_listener, _) = address.listen().unwrap();
        let error = address.listen().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let file = dir.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(Address::Unix(file.clone()).listen().is_err());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let resolved = Address::Unix(dir.path().join("socket")).resolve().unwrap();
        assert_eq!(resolved.connect(Duration::from_secs(1)).unwrap_err(), Errno::ENOENT);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let resolved = Address::Tcp("127.0.0.1".into(), port).resolve().unwrap();
        assert_eq!(resolved.connect(Duration::from_secs(1)).unwrap_err(), Errno::ECONNREFUSED);
    }
}
