//! `/dev/fd/N`: somebody has opened `/dev/fuse`, mounted it, and handed it down.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::stat::{SFlag, fstat, makedev};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::{Method, MountError, Mounted};
use crate::Errno;
use crate::sys::Fd;

/// Takes descriptor `number` over.
pub(super) fn adopt(number: i32) -> Result<Mounted, MountError> {
    let refuse = |what| MountError::Preopened { fd: number, what };
    let fd = Fd::from_number(number);
    let stat = fstat(fd).map_err(|_| refuse("not open"))?;
    let is_device = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    // The number that the kernel gives /dev/fuse, whatever the path it was opened by.
    if !is_device || stat.st_rdev != makedev(10, 229) {
        return Err(refuse("not /dev/fuse"));
    }
    let device = if number > 2 {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(|_| refuse("not open"))?;
        fd.into_owned()
    } else {
        above_the_standard_ones(fd)?
    };
    Ok(Mounted {
        device,
        mountpoint: None,
        method: Method::Preopened,
        connection: connection(number),
        auto_unmount: None,
    })
}

/// A copy with another number: 0 to 2 become /dev/null in the background.
fn above_the_standard_ones(fd: Fd) -> Result<OwnedFd, MountError> {
    let failed = |errno| MountError::System { what: "fcntl(2) of /dev/fuse", errno };
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(failed)?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| failed(Errno::try_from(error).unwrap_or(Errno::EIO)))?;
    // The number stays taken, but is no device any more: the mount ends with the server's copies.
    match fd.number() {
        0 => dup2_stdin(null),
        1 => dup2_stdout(null),
        _ => dup2_stderr(null),
    }
    .map_err(failed)?;
    Ok(Fd::from_number(copy).into_owned())
}

/// The connection's id from fdinfo, which tells it from Linux 6.18 on.
fn connection(number: i32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("fuse_connection:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn only_the_fuse_device_is_taken() {
        let message = |number| adopt(number).unwrap_err().to_string();
        assert_eq!(
            message(1_000_000),
            "mount point /dev/fd/1000000: not open: open /dev/fuse and mount before starting fusex"
        );
        let null = std::fs::File::open("/dev/null").unwrap();
        let number = null.as_raw_fd();
        let expected = format!("mount point /dev/fd/{number}: not /dev/fuse: open /dev/fuse and");
        assert!(message(number).starts_with(&expected), "{}", message(number));
    }
}
