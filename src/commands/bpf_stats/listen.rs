//! The HTTP end of `--listen`: answers `GET /metrics` until it is told to stop.
//!
//! One thread that never waits for a client: sockets are non-blocking, each client has one request,
//! a limited head and a limited time, and there are only so many of them; one too many takes the
//! place of the oldest. Clients that send garbage, nothing, or do not read keep nobody else from
//! an answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::exit::{Exit, Failure};

/// What the answer is, by the registry of media types.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
/// More than what any scraper sends before its empty line.
const HEAD_MAX: usize = 8192;
const HEADERS_MAX: usize = 64;
/// Clients at once.
const CLIENTS_MAX: usize = 32;
/// How long one client may take in all, as long as Prometheus waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often `stop` is looked at, in ms.
const LOOK_MS: u16 = 200;

/// Serves what `make` returns at `http://ADDR/metrics` until `stop` is set; says on stderr where,
/// with the real port when that of `addr` is 0. An error of `make` is that request's answer, 500.
///
/// # Errors
/// The address cannot be listened at, or poll(2) failed.
pub fn serve(
    addr: SocketAddr,
    make: impl FnMut() -> anyhow::Result<String>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let listener = bind(addr)?;
    // Whoever started it may have closed stderr.
    let _ = writeln!(std::io::stderr(), "metrics at http://{}/metrics", listener.local_addr()?);
    answer(&listener, PATIENCE, make, stop)
}

fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let failure = |error: std::io::Error| {
        let cure = match error.kind() {
            ErrorKind::AddrInUse => "end the program that uses it, or give another port",
            ErrorKind::AddrNotAvailable => "give an address of this machine",
            ErrorKind::PermissionDenied => "give a port from 1024 on",
            _ => "give another address",
        };
        let cause = match error.raw_os_error() {
            Some(errno) => Errno::from_raw(errno).desc().to_string(),
            None => error.to_string(),
        };
        Failure { exit: Exit::System, message: format!("--listen {addr}: {cause}: {cure}") }
    };
    let listener = TcpListener::bind(addr).map_err(failure)?;
    listener.set_nonblocking(true).map_err(failure)?;
    Ok(listener)
}

fn answer(
    listener: &TcpListener,
    patience: Duration,
    mut make: impl FnMut() -> anyhow::Result<String>,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut clients: Vec<Client> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut fds = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        fds.extend(clients.iter().map(|client| client.waits_for()));
        match poll(&mut fds, LOOK_MS) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => anyhow::bail!("--listen: poll(2): {}", errno.desc()),
        }
        accept(listener, &mut clients);
        clients.retain_mut(|client| {
            client.since.elapsed() < patience && client.step(&mut make).unwrap_or(false)
        });
    }
    Ok(())
}

/// Takes in who has come; at once no more than have room, so that those inside get on.
fn accept(listener: &TcpListener, clients: &mut Vec<Client>) {
    for _ in 0..CLIENTS_MAX {
        match listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                if clients.len() == CLIENTS_MAX {
                    clients.remove(0);
                }
                let state = State::Reading(Vec::new());
                clients.push(Client { stream, since: Instant::now(), state });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => {
                // No descriptors or no memory: it would come again at once.
                std::thread::sleep(Duration::from_millis(u64::from(LOOK_MS)));
                return;
            }
        }
    }
}

/// One connection and how far it is.
struct Client {
    stream: TcpStream,
    since: Instant,
    state: State,
}

enum State {
    /// What came of the head.
    Reading(Vec<u8>),
    /// The answer, and how much of it has gone.
    Writing(Vec<u8>, usize),
    /// All has gone. What the client still sends is read: closing with data unread would take
    /// the answer from it.
    Closing,
}

impl Client {
    fn waits_for(&self) -> PollFd<'_> {
        let flags = match self.state {
            State::Writing(..) => PollFlags::POLLOUT,
            State::Reading(_) | State::Closing => PollFlags::POLLIN,
        };
        PollFd::new(self.stream.as_fd(), flags)
    }

    /// Goes on as far as that needs no waiting; false when it is over.
    fn step(&mut self, make: impl FnMut() -> anyhow::Result<String>) -> std::io::Result<bool> {
        match self.advance(make) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            result => result,
        }
    }

    fn advance(
        &mut self,
        mut make: impl FnMut() -> anyhow::Result<String>,
    ) -> std::io::Result<bool> {
        let mut bytes = [0; 1024];
        while let State::Reading(head) = &mut self.state {
            let length = self.stream.read(&mut bytes)?;
            if length == 0 {
                return Ok(false);
            }
            head.extend(&bytes[..length]);
            if let Some(response) = respond(head, &mut make) {
                self.state = State::Writing(response, 0);
            }
        }
        while let State::Writing(response, gone) = &mut self.state {
            *gone += self.stream.write(&response[*gone..])?;
            if *gone == response.len() {
                self.stream.shutdown(Shutdown::Write)?;
                self.state = State::Closing;
            }
        }
        // Once a step, so that one who sends without end does not hold up the others.
        Ok(self.stream.read(&mut bytes)? > 0)
    }
}

/// The whole response to a head; none as long as it is not all there.
fn respond(head: &[u8], make: impl FnMut() -> anyhow::Result<String>) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let too_long = || Some(response("431 Request Header Fields Too Large", "", PLAIN, "", true));
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() < HEAD_MAX => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => too_long(),
        Err(_) => Some(response("400 Bad Request", "", PLAIN, "", true)),
        Ok(httparse::Status::Complete(_)) => {
            Some(answer_to(request.method.unwrap_or(""), request.path.unwrap_or(""), make))
        }
    }
}

fn answer_to(
    method: &str,
    target: &str,
    mut make: impl FnMut() -> anyhow::Result<String>,
) -> Vec<u8> {
    let path = target.split('?').next().unwrap_or(target);
    let with_body = method != "HEAD";
    if path != "/metrics" {
        return response("404 Not Found", "", PLAIN, "not here: try /metrics\n", with_body);
    }
    if !matches!(method, "GET" | "HEAD") {
        let allow = "Allow: GET, HEAD\r\n";
        return response("405 Method Not Allowed", allow, PLAIN, "try GET\n", with_body);
    }
    match make() {
        Ok(metrics) => response("200 OK", "", OPENMETRICS, &metrics, with_body),
        Err(error) => {
            let error = format!("{error:#}\n");
            response("500 Internal Server Error", "", PLAIN, &error, with_body)
        }
    }
}

/// `more` is further header lines, each with its end. Without the body its length stays.
fn response(status: &str, more: &str, kind: &str, body: &str, with_body: bool) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{more}Content-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    (head + if with_body { body } else { "" }).into_bytes()
}

#[cfg(test)]
mod tests;
