//! Looking for the next request before going to sleep.
//!
//! A caller in a loop sends its next request some microseconds after the last answer. To sleep
//! meanwhile costs more than to wait: on a virtual machine with two CPUs, waking a thread on
//! an idle CPU takes 25 us each way, and answering a cold stat from sleep to sleep three times
//! the CPU time of answering it awake. So, while requests come like that, a thread looks at
//! the queue for a while first. Between two looks it gives the CPU to whoever wants it: to the
//! caller, above all, when that was woken on the same CPU.
//!
//! Whether it pays is known from the last requests. What did not pay is not tried again until
//! a request comes soon after the thread has fallen asleep.

use std::time::{Duration, Instant};

use crate::sys::{Fd, device};

/// A request within this time after falling asleep would have been worth waiting for.
const SOON: Duration = Duration::from_micros(200);
/// How sure it can be that looking pays: so many failures in a row and it sleeps at once.
const SURE: u32 = 4;

/// One thread's experience.
#[derive(Debug)]
pub(super) struct Patience {
    spin: Duration,
    sureness: u32,
    asleep_since: Option<Instant>,
}

impl Patience {
    /// Looks for up to `spin`; zero, as is right with one CPU, where nobody can send a request
    /// meanwhile: never.
    pub(super) fn new(spin: Duration) -> Patience {
        Patience { spin, sureness: 0, asleep_since: None }
    }

    /// Before the device is read: returns when there is a request, or when it is time to sleep.
    pub(super) fn wait(&mut self, device: Fd) {
        if self.pays() {
            // An error is for the read to report.
            self.look(|| device::readable(device, 0).unwrap_or(true));
        }
    }

    /// Whether to look for a request; it is time to sleep otherwise.
    pub(super) fn pays(&mut self) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let now = Instant::now();
        self.learn(now);
        if self.sureness == 0 {
            self.asleep_since = Some(now);
        }
        self.sureness > 0
    }

    /// Looks by `is_there`, as long as that may pay.
    pub(super) fn look(&mut self, mut is_there: impl FnMut() -> bool) {
        let start = Instant::now();
        loop {
            if is_there() {
                self.sureness = SURE;
                return;
            }
            std::thread::yield_now();
            let now = Instant::now();
            if now - start >= self.spin {
                self.sureness -= 1;
                self.asleep_since = Some(now);
                return;
            }
        }
    }

    /// What the last sleep says. It lasted until the request now answered was read; the time
    /// of the answer is in it too, which makes the guess a careful one.
    fn learn(&mut self, now: Instant) {
        if let Some(since) = self.asleep_since.take()
            && now - since < SOON
        {
            self.sureness = (self.sureness + 1).min(SURE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    fn patience(sureness: u32) -> Patience {
        Patience { spin: Duration::from_millis(2), sureness, asleep_since: None }
    }

    #[test]
    fn it_gives_up_after_failures_and_learns_from_a_short_sleep() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let device = Fd::from_number(reader.as_raw_fd());
        let mut patience = patience(SURE);
        for left in (0..SURE).rev() {
            patience.wait(device);
            assert_eq!(patience.sureness, left);
            patience.asleep_since = None;
        }
        let start = Instant::now();
        patience.wait(device);
        assert!(start.elapsed() < patience.spin, "it does not look any more");
        // The sleep was short: it looks again, and finds something.
        patience.asleep_since = Some(Instant::now());
        writer.write_all(b"request").unwrap();
        patience.wait(device);
        assert_eq!(patience.sureness, SURE);
    }

    #[test]
    fn a_long_sleep_teaches_nothing() {
        let mut patience = patience(0);
        let now = Instant::now();
        patience.asleep_since = Some(now);
        patience.learn(now + SOON);
        assert_eq!(patience.sureness, 0);
    }
}
