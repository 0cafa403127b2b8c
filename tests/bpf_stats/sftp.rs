//! The other end of an sshfs: an sftp-server on a free port of 127.0.0.1, without ssh between them.
//!
//! No sshd: what it needs of the machine (keys, a user who may log in, directories in /run) would
//! have to be made outside of the test's own place.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::common::{SOON, wait_until};

const PROGRAM: &str = "/usr/lib/openssh/sftp-server";

/// It serves one client.
pub(crate) struct Sftp {
    /// Where it waits for it.
    pub(crate) port: u16,
    child: Receiver<Child>,
}

impl Sftp {
    /// Waits for a client.
    ///
    /// # Errors
    /// Why there is none here.
    pub(crate) fn start() -> Result<Sftp, String> {
        if !Path::new(PROGRAM).exists() {
            return Err(format!("no {PROGRAM}: install openssh-sftp-server"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, child) = channel();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let stream = OwnedFd::from(stream);
            let mut command = Command::new(PROGRAM);
            command.stdin(stream.try_clone().unwrap()).stdout(Stdio::from(stream));
            // Nobody waits for it if the test has failed meanwhile.
            let _ = sender.send(command.spawn().unwrap());
        });
        Ok(Sftp { port, child })
    }
}

impl Drop for Sftp {
    fn drop(&mut self) {
        // Its client has gone, or never came.
        let Ok(mut child) = self.child.try_recv() else { return };
        let ended = wait_until(SOON, || child.try_wait().unwrap().is_some());
        if !ended {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(ended || std::thread::panicking(), "sftp-server goes on without a client");
    }
}
