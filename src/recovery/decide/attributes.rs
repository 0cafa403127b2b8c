//! Attributes.

use std::time::Duration;

use crate::wire::Timestamp;
use crate::wire::flags::SetattrValid;
use crate::wire::ops::{SetTime, Setattr};

/// SETATTR, to be done again: "now" is when the request `began` (on CLOCK_REALTIME). All else is
/// absolute.
///
/// So a time that somebody may have seen already does not move on with each death of a worker.
pub fn setattr(op: &Setattr, began: Duration) -> Setattr {
    let secs = i64::try_from(began.as_secs()).unwrap_or(i64::MAX);
    let at = SetTime::At(Timestamp { secs, nanos: began.subsec_nanos() });
    let fixed =
        |time: Option<SetTime>| time.map(|time| if time == SetTime::Now { at } else { time });
    Setattr {
        valid: op.valid - SetattrValid::FATTR_ATIME_NOW - SetattrValid::FATTR_MTIME_NOW,
        atime: fixed(op.atime),
        mtime: fixed(op.mtime),
        ..*op
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_when_the_request_began() {
        let valid = SetattrValid::FATTR_ATIME
            | SetattrValid::FATTR_ATIME_NOW
            | SetattrValid::FATTR_MTIME
            | SetattrValid::FATTR_MODE;
        let given = SetTime::At(Timestamp { secs: 5, nanos: 6 });
        let op = Setattr {
            valid,
            fh: None,
            lock_owner: None,
            mode: Some(0o600),
            uid: None,
            gid: None,
            size: None,
            atime: Some(SetTime::Now),
            mtime: Some(given),
            ctime: None,
        };
        let fixed = setattr(&op, Duration::new(1_700_000_000, 7));
        let began = SetTime::At(Timestamp { secs: 1_700_000_000, nanos: 7 });
        let valid = valid - SetattrValid::FATTR_ATIME_NOW;
        assert_eq!(fixed, Setattr { valid, atime: Some(began), ..op });
        assert_eq!(setattr(&fixed, Duration::ZERO), fixed, "nothing is left to fix");
    }
}
