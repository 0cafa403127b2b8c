//! When the next worker starts, and when there is none any more.
//!
//! A death after progress costs no delay. Deaths in a row without progress are failures: the
//! first ones are answered at once too, later ones after a delay that doubles, and past a number
//! of them the mount is given up, so that no caller hangs for ever.

use std::time::Duration;

/// A worker that lived as long was of use, whether somebody asked it for anything or not.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// Failures that are answered at once.
const AT_ONCE: u64 = 3;
/// The delay after those.
const FIRST_DELAY: Duration = Duration::from_millis(10);
/// The longest delay.
pub(super) const LONGEST: Duration = Duration::from_secs(1);
/// Failures before any worker was ready: the mount never worked, and will not by repetition.
const AT_START: u32 = 3;

/// What a worker has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// It began to serve.
    pub(super) ready: bool,
    /// It finished a request.
    pub(super) finished: bool,
    /// It was killed by somebody else: not by a fault of its own, as far as one can see.
    pub(super) killed: bool,
    /// How long it lived.
    pub(super) lived: Duration,
}

impl Life {
    /// Whether going on like this gets anywhere.
    pub(super) fn progress(self) -> bool {
        self.ready && (self.finished || self.killed || self.lived >= LONG_ENOUGH)
    }
}

/// The delay before the next worker after `failures` in a row; `None`: give up.
pub(super) fn delay(failures: u64, limit: u32, ever_ready: bool) -> Option<Duration> {
    let limit = if ever_ready { limit } else { limit.min(AT_START) };
    if failures > 0 && failures >= u64::from(limit) {
        return None;
    }
    let Some(late) = failures.checked_sub(AT_ONCE + 1) else { return Some(Duration::ZERO) };
    let factor = 1 << late.min(16);
    Some((FIRST_DELAY * factor).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_second() {
        let delays: Vec<u128> =
            (0..13).map(|failures| delay(failures, 30, true).unwrap().as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(delay(29, 30, true), Some(LONGEST));
        assert_eq!(delay(30, 30, true), None);
        assert_eq!(delay(u64::MAX, u32::MAX, true), None);
        assert_eq!(delay(40_000, u32::MAX, true), Some(LONGEST));
    }

    #[test]
    fn what_never_served_is_given_up_early() {
        assert_eq!(delay(2, 30, false), Some(Duration::ZERO));
        assert_eq!(delay(3, 30, false), None);
        assert_eq!(delay(1, 1, false), None);
        assert_eq!(delay(0, 0, true), Some(Duration::ZERO), "a death after progress");
    }

    #[test]
    fn progress() {
        let life =
            Life { ready: true, finished: false, killed: false, lived: Duration::from_millis(2) };
        assert!(!life.progress());
        assert!(Life { finished: true, ..life }.progress());
        assert!(Life { killed: true, ..life }.progress());
        assert!(Life { lived: LONG_ENOUGH, ..life }.progress());
        let all = Life { ready: false, finished: true, killed: true, lived: LONG_ENOUGH };
        assert!(!all.progress(), "one that never serves gets nowhere");
    }
}
