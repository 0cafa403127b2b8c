//! The clocks: monotonic, and that on the wall where the user is.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in ns.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in ns: a system call.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// There is no kernel without these clocks.
fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// A moment as the local clock and calendar show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// 2026.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
    /// 0 to 999.
    pub millisecond: u32,
}

/// `moment` in the time zone of `TZ`, else of `/etc/localtime`; the year 1970 for what the
/// calendar does not have.
pub fn local(moment: SystemTime) -> Local {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or(0);
    // SAFETY: zeros are a `tm`: numbers, and a pointer that may be null.
    let mut broken: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both point to values of this function; it returns null or the second of them.
    let known = unsafe { !libc::localtime_r(&seconds, &mut broken).is_null() };
    if !known {
        return Local { year: 1970, month: 1, day: 1, ..Local::default() };
    }
    Local {
        year: broken.tm_year + 1900,
        month: broken.tm_mon + 1,
        day: broken.tm_mday,
        hour: broken.tm_hour,
        minute: broken.tm_min,
        second: broken.tm_sec,
        millisecond: since.subsec_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_day_of_the_calendar() {
        // Time zones are between 12 hours behind and 14 hours before that of Greenwich.
        let noon = UNIX_EPOCH + Duration::from_millis(1_795_262_400_123);
        let local = local(noon);
        assert_eq!((local.year, local.month), (2026, 11));
        assert!((21..=22).contains(&local.day), "{local:?}");
        assert_eq!((local.second, local.millisecond), (0, 123));
        assert!((0..24).contains(&local.hour) && (0..60).contains(&local.minute));
    }

    #[test]
    fn no_moment_is_too_far() {
        assert_eq!(local(UNIX_EPOCH - Duration::from_secs(1)).second, 0);
        let far = UNIX_EPOCH + Duration::from_secs(1 << 62);
        assert_eq!((local(far).year, local(far).month), (1970, 1));
    }
}
