//! Splits a program into submissions that are short enough for drivers.
//!
//! Drivers reset a device whose submission runs for too long: Windows after two seconds, others
//! after a few more. A training step of a large model can take longer on a slow device. So a
//! program is split into submissions of about [`SECONDS`], by the work of its calls and the rate at
//! which the device has done work before.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Time that one submission should take, in seconds: a twentieth of the strictest limit.
pub const SECONDS: f64 = 0.1;
/// Units of work per byte that a call moves. Devices do 5 to 20 floating-point operations in the
/// time in which they move a byte.
const WORK_PER_BYTE: f64 = 8.0;
/// Units of work per second that are assumed before the first measurement: a slow integrated GPU.
const FIRST_RATE: f64 = 1e11;
/// Runs that take less time, in seconds, are mostly overhead and show a rate that is too low.
const SHORTEST: f64 = 0.02;
/// A wait that was shorter than this did not see the end of its run.
const BLOCKED: Duration = Duration::from_millis(1);

/// Work of a call in units of one floating-point operation.
pub fn work(flops: u64, bytes: u64) -> f64 {
    flops as f64 + WORK_PER_BYTE * bytes as f64
}

/// The rate of a device, measured while it works.
#[derive(Debug)]
pub struct Pace {
    /// Units of work per second.
    rate: Cell<f64>,
    /// The end of the last run, if a wait saw it.
    last_end: Cell<Option<Instant>>,
    /// When runs were submitted, and their work, until a wait sees their end.
    running: RefCell<Vec<(Instant, f64)>>,
    /// Calls per submission, if it does not depend on the rate.
    fixed: Cell<Option<usize>>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            rate: Cell::new(FIRST_RATE),
            last_end: Cell::default(),
            running: RefCell::default(),
            fixed: Cell::default(),
        }
    }
}

impl Pace {
    /// Splits calls with this much work each into ranges for one submission each. A call that
    /// exceeds [`SECONDS`] alone has a submission to itself.
    ///
    /// ```
    /// use degrain::gpu::Pace;
    ///
    /// let pace = Pace::default();
    /// pace.observe(1e12, 1.0);
    /// assert_eq!(pace.split(&[1e10, 1e10, 9e9, 3e9]), [0..2, 2..4]);
    /// ```
    pub fn split(&self, work: &[f64]) -> Vec<Range<usize>> {
        let most = self.fixed.get().unwrap_or(usize::MAX);
        let budget = if self.fixed.get().is_some() { f64::INFINITY } else { SECONDS * self.rate.get() };
        let (mut ranges, mut start, mut sum) = (vec![], 0, 0.0);
        for (call, work) in work.iter().enumerate() {
            if call > start && (sum + work > budget || call - start >= most) {
                ranges.push(start..call);
                (start, sum) = (call, 0.0);
            }
            sum += work;
        }
        if start < work.len() {
            ranges.push(start..work.len());
        }
        ranges
    }

    /// Learns that the device did this work in this time. The rate at most doubles, so that one
    /// wrong measurement is harmless. A short run at most halves it.
    pub fn observe(&self, work: f64, seconds: f64) {
        let (now, before) = (work / seconds.max(1e-9), self.rate.get());
        let least = if seconds < SHORTEST { 0.5 * before } else { 0.0 };
        if now > 0.0 {
            self.rate.set(now.clamp(least, 2.0 * before));
        }
    }

    /// Submits this number of calls at once, whatever they take; `None` goes by the rate. Tests and
    /// benches compare both.
    pub fn set_fixed(&self, calls: Option<usize>) {
        self.fixed.set(calls);
    }

    /// Notes a run that was submitted.
    pub(super) fn began(&self, submitted: Instant, work: f64) {
        if work > 0.0 {
            self.running.borrow_mut().push((submitted, work));
        }
    }

    /// Learns from a wait that began at `wait`: the runs that were submitted until `last` have ended.
    /// It can be a wait for one of them, or for a later read of their results.
    pub(super) fn ended(&self, last: Instant, wait: Instant) {
        let now = Instant::now();
        let mut running = self.running.borrow_mut();
        let count = running.partition_point(|&(submitted, _)| submitted <= last);
        let Some(&(submitted, _)) = running[..count].first() else { return };
        let work = running.drain(..count).map(|(_, work)| work).sum();
        if now - wait < BLOCKED {
            // It had ended before, at a time that nobody knows.
            self.last_end.set(None);
            return;
        }
        // The device began when the run before had ended. If that is not known, the time is
        // too long and the rate too low, which is safe.
        let start = self.last_end.get().map_or(submitted, |end| end.max(submitted));
        self.observe(work, (now - start).as_secs_f64());
        self.last_end.set(Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_splits_by_work_or_by_a_fixed_number() {
        let pace = Pace::default();
        assert_eq!(pace.split(&[]), [0..0; 0]);
        // A tenth of a second of the assumed rate is 1e10.
        assert_eq!(pace.split(&[6e9, 4e9, 1.0, 3e10, 1.0]), [0..2, 2..3, 3..4, 4..5]);
        pace.set_fixed(Some(2));
        assert_eq!(pace.split(&[6e9, 4e9, 1.0, 3e10, 1.0]), [0..2, 2..4, 4..5]);
    }

    #[test]
    fn pace_follows_the_device_carefully() {
        let pace = Pace::default();
        pace.observe(1e12, 0.01);
        assert_eq!(pace.rate.get(), 2.0 * FIRST_RATE, "at most twice the rate at once");
        pace.observe(1e9, 1.0);
        assert_eq!(pace.rate.get(), 1e9, "a slow device is believed at once");
        pace.observe(1e3, 0.001);
        assert_eq!(pace.rate.get(), 0.5e9, "a short run is mostly overhead");
    }

    /// Two runs were submitted, and the wait for the first saw its end.
    #[test]
    fn pace_does_not_take_a_late_wait_for_a_fast_device() {
        let pace = Pace::default();
        let now = Instant::now();
        let before = now - Duration::from_secs(2);
        pace.began(before, 1e11);
        pace.ended(before, now);
        assert_eq!(pace.rate.get(), FIRST_RATE, "the wait returned at once");
        assert_eq!(pace.last_end.get(), None);
        pace.began(before, 4e10);
        pace.ended(before, before);
        let rate = pace.rate.get();
        assert!((1.9e10..2.1e10).contains(&rate), "from the submission to the end: {rate}");
        assert!(pace.last_end.get().is_some());
    }

    /// Nobody waits for the runs of a divided training step: a read of their results does.
    #[test]
    fn pace_learns_from_a_read_of_the_results() {
        let pace = Pace::default();
        let now = Instant::now();
        let [first, second, read] = [4, 3, 2].map(|seconds| now - Duration::from_secs(seconds));
        pace.began(first, 4e10);
        pace.began(second, 2e10);
        pace.began(now, 1e15);
        pace.ended(read, read);
        let rate = pace.rate.get();
        assert!((1.4e10..1.6e10).contains(&rate), "6e10 in 4 seconds: {rate}");
        pace.ended(read, read);
        assert_eq!(pace.rate.get(), rate, "a read alone does not count");
        assert_eq!(*pace.running.borrow(), [(now, 1e15)]);
    }
}
