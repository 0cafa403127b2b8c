//! A socket is one mount's alone, and who is refused there hears why.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fusex::exit::Exit;
use fusex::supervise::client::ask;
use fusex::supervise::protocol::Request;
use nix::sys::signal::Signal;

use crate::common::{DEFAULT, Mount, Place, USER, sys};
use crate::line::{goes, mount, number, said, socket, status, supervise};
use crate::need_mounts;

/// Ends the mount, and the servers of the place with it, while its supervisor is stopped.
fn late_supervisor(place: &Place) -> (u32, std::os::fd::OwnedFd) {
    mount(&[], &place.source(), &place.point());
    let connection = place.mounts()[0].minor;
    let supervisor = number(&status(&place.point()), "supervisor_pid");
    let supervisor = sys::pidfd(supervisor as i32).unwrap();
    sys::signal_pidfd(&supervisor, Signal::SIGSTOP).unwrap();
    place.unmount_all();
    (connection, supervisor)
}

#[test]
fn a_supervisor_removes_its_own_socket_only() {
    need_mounts!();
    for _ in 0..20 {
        let (old, new) = (Place::new(), Place::new());
        let (connection, late) = late_supervisor(&old);
        // The kernel gives the number to the next one, which may be another test's.
        mount(&[], &new.source(), &new.point());
        let same = new.mounts()[0].minor == connection;
        sys::signal_pidfd(&late, Signal::SIGCONT).unwrap();
        drop(old);
        assert_eq!(number(&status(&new.point()), "generation"), 0);
        assert_eq!(said(supervise("stop", &new.point())), "");
        if same {
            return goes(&socket(connection));
        }
    }
    crate::skip!("other mounts get the number every time");
}

#[test]
fn a_refusal_reaches_who_asked() {
    need_mounts!();
    let mount = Mount::new(DEFAULT);
    let socket = socket(mount.connection());
    fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    for _ in 0..1000 {
        let failure = USER.run(|| ask(&socket, Request::Stop)).unwrap_err();
        let expected = format!("user {} may not: run it as root or as user 0", USER.uid);
        assert_eq!((failure.exit, failure.message), (Exit::Usage, expected));
    }
}
