//! Mounting and unmounting without privilege: `fusermount3` does it.
//!
//! It opens `/dev/fuse`, mounts, and passes the descriptor through the socket whose number
//! `_FUSE_COMMFD` tells. Its own `auto_unmount` is not used: being set-user-id root,
//! it (3.14) cannot look into a user's mount and leaves it there unless `allow_other` is given.

use std::ffi::OsStr;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt,
    socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{MountError, Options, check};
use crate::Errno;
use crate::sys::Fd;

/// Places where it may be that are not in every PATH.
const USUAL: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/run/wrappers/bin"];
/// How long it may take to mount, seconds.
const PATIENCE: i64 = 30;

/// What it says, what the user can do about it, and whether it is a matter of permission; the
/// rest is passed on as it is.
const CURES: &[(&str, &str, bool)] = &[
    ("open /dev/fuse: Permission", "run as root, or allow it with 'chmod 666 /dev/fuse'", true),
    ("user_allow_other", "add the line 'user_allow_other' to it, or leave the option out", true),
    ("no write access", "mount on a directory that is yours", true),
    ("not owned by user", "mount on a directory that is yours", true),
    ("not permitted", "fusermount3 must be set-user-id root: reinstall the package fuse3", true),
    ("Permission denied", "run as root, or have the permission given", true),
    ("not found in", "only its owner or root can unmount it", true),
    ("mount_max", "unmount one, or raise 'mount_max' in /etc/fuse.conf", false),
    ("is forbidden", "mount on a directory of an ordinary file system", false),
];

/// Mounts at `path`.
pub(super) fn mount(path: &Path, label: &str, options: &Options) -> Result<OwnedFd, MountError> {
    check::device_exists()?;
    let failed = |errno| MountError::System { what: "fusermount3", errno };
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)
            .map_err(failed)?;
    setsockopt(&ours, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE)).map_err(failed)?;
    let mut command = command()?;
    command.arg("-o").arg(OsStr::from_bytes(&options.fusermount_options(label)));
    command.arg("--").arg(path).env("_FUSE_COMMFD", theirs.as_raw_fd().to_string());
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).map_err(failed)?;
    let child = command.spawn().map_err(|error| failed(errno_of(&error)))?;
    drop(theirs);
    let device = match receive(&ours) {
        Ok(Some(device)) => device,
        other => return Err(complaint(path, child, other.err())),
    };
    reap(path, child)?;
    Ok(device)
}

/// Unmounts `path`.
pub(super) fn unmount(path: &Path, lazy: bool) -> Result<(), MountError> {
    let mut command = command()?;
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(path);
    let child = command.spawn();
    let failed = |errno| MountError::System { what: "fusermount3", errno };
    reap(path, child.map_err(|error| failed(errno_of(&error)))?)
}

/// The program, its messages piped to us and in English.
fn command() -> Result<Command, MountError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(USUAL.iter().map(PathBuf::from));
    let mut programs = places.map(|place| place.join("fusermount3"));
    let program = programs.find(|program| program.is_file()).ok_or(MountError::NoFusermount)?;
    let mut command = Command::new(program);
    command.env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(command)
}

/// Waits for the program's end; an error if it was not a success.
fn reap(path: &Path, mut child: Child) -> Result<(), MountError> {
    let mut words = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What could be read is all there is to say.
        let _ = stderr.read_to_string(&mut words);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(translate(path, &words, &status.to_string())),
        Err(error) => Err(MountError::System { what: "fusermount3", errno: errno_of(&error) }),
    }
}

/// Why no descriptor came: what the program said, or that it said nothing in time.
fn complaint(path: &Path, mut child: Child, errno: Option<Errno>) -> MountError {
    if let Some(errno) = errno {
        // It may hang in a system call on somebody's file system: ours must end.
        let _ = child.kill();
        return MountError::System { what: "fusermount3: no descriptor from it", errno };
    }
    let silent = || translate(path, "", "ended without passing a descriptor");
    reap(path, child).err().unwrap_or_else(silent)
}

/// Its message as one line of ours.
fn translate(path: &Path, words: &str, status: &str) -> MountError {
    let line = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(status).trim();
    if line.ends_with("Device or resource busy") {
        return MountError::Busy { path: path.into(), users: super::unmount::users(path) };
    }
    // It calls itself as it was called: by a path.
    let line = line.split_once("fusermount3: ").map_or(line, |(_, message)| message);
    let known = CURES.iter().find(|(needle, ..)| line.contains(needle));
    let (cure, permission) = known
        .map_or(("run as root to do without it", false), |(_, cure, permission)| {
            (*cure, *permission)
        });
    MountError::Fusermount {
        path: path.into(),
        message: format!("fusermount3: {line}: {cure}"),
        permission,
    }
}

/// The descriptor that comes through the socket; `None` if the other end closed without one.
fn receive(socket: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            other => break other?,
        }
    };
    let descriptor = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
        _ => None,
    });
    Ok(descriptor.map(|number| Fd::from_number(number).into_owned()))
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use nix::sys::socket::{ControlMessage, sendmsg};
    use std::io::IoSlice;

    #[test]
    fn its_words_become_one_line_with_a_cure() {
        let path = Path::new("/mnt/x");
        for (words, exit, line) in [
            (
                "fusermount3: option allow_other only allowed if 'user_allow_other' is set in \
                 /etc/fuse.conf\n",
                Exit::Usage,
                "/mnt/x: fusermount3: option allow_other only allowed if 'user_allow_other' is \
                 set in /etc/fuse.conf: add the line 'user_allow_other' to it, or leave the \
                 option out",
            ),
            (
                "warning\n/usr/bin/fusermount3: user has no write access to mountpoint /mnt/x\n\n",
                Exit::Usage,
                "/mnt/x: fusermount3: user has no write access to mountpoint /mnt/x: mount on a \
                 directory that is yours",
            ),
            ("", Exit::Mount, "/mnt/x: fusermount3: exit status: 3: run as root to do without it"),
        ] {
            let error = translate(path, words, "exit status: 3");
            assert_eq!((error.to_string().as_str(), error.exit()), (line, exit));
        }
        let busy = "fusermount3: failed to unmount /mnt/x: Device or resource busy\n";
        assert!(matches!(translate(path, busy, ""), MountError::Busy { .. }));
    }

    #[test]
    fn a_descriptor_comes_through_the_socket() {
        let pair = || {
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap()
        };
        let (ours, theirs) = pair();
        let null = std::fs::File::open("/dev/null").unwrap();
        let rights = [null.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        let data = [IoSlice::new(b"\0")];
        sendmsg::<()>(theirs.as_raw_fd(), &data, &control, MsgFlags::empty(), None).unwrap();
        let received = receive(&ours).unwrap().unwrap();
        let device = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(device(received.as_raw_fd()), Path::new("/dev/null"));
        let flags = fcntl(&received, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));

        let (ours, theirs) = pair();
        drop(theirs);
        assert!(receive(&ours).unwrap().is_none(), "the other end went away");
    }
}
