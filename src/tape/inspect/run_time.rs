//! Time of whole runs of a program by the clock, for comparison with the times of its kernels.
//!
//! [`call_times`](super::call_times) times each kernel alone, which hides the time that passes
//! between kernels: the start of each dispatch, and the work of the host.

use super::listing::scaled;
use super::profile::Peaks;
use crate::Result;
use crate::gpu::Context;
use crate::tape::program::Program;
use crate::tape::step::Step;
use std::fmt;
use std::time::Instant;

/// Seconds of a run by the clock: the mean of `runs` runs, each submitted while the one before
/// runs, as in training. One run before them does not count, because drivers compile then.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) if the device was lost.
pub fn run_time(ctx: &Context, program: &Program, step: &Step, runs: usize) -> Result<f64> {
    ctx.wait_for(&program.run(ctx, step)?)?;
    let runs = runs.max(1);
    let began = Instant::now();
    let mut last = program.run(ctx, step)?;
    for _ in 1..runs {
        let next = program.run(ctx, step)?;
        ctx.wait_for(&last)?;
        last = next;
    }
    ctx.wait_for(&last)?;
    Ok(began.elapsed().as_secs_f64() / runs as f64)
}

/// A whole run: its time, its speed, and the time between its kernels. `Display` prints them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunTime {
    /// Seconds of a run, from [`run_time`].
    pub wall: f64,
    /// Seconds of all kernels, each timed alone.
    pub kernels: f64,
    /// Floating-point operations of a run.
    pub flops: u64,
    /// The peaks of the device.
    pub peaks: Peaks,
}

impl fmt::Display for RunTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = self.flops as f64 / self.wall;
        let (wall, kernels, speed_text) = (1e3 * self.wall, 1e3 * self.kernels, scaled(speed, "FLOP/s"));
        let share = 100.0 * speed / self.peaks.flops;
        write!(f, "{wall:.1} ms by the clock, {speed_text}, {share:.1} % of the measured peak; ")?;
        let gap = wall - kernels;
        if gap >= 0.0 {
            write!(f, "{kernels:.1} ms in kernels, {gap:.1} ms ({:.0} %) between them", 100.0 * gap / wall)
        } else {
            write!(f, "the kernels, each timed alone, add up to {kernels:.1} ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_shows_the_gaps_and_the_share_of_the_peak() {
        let peaks = Peaks { flops: 60e12, bytes: 2e12 };
        let time = RunTime { wall: 0.02, kernels: 0.015, flops: 120_000_000_000, peaks };
        assert_eq!(
            time.to_string(),
            "20.0 ms by the clock, 6.00 TFLOP/s, 10.0 % of the measured peak; 15.0 ms in kernels, 5.0 ms (25 %) between them"
        );
        let alone = RunTime { kernels: 0.025, ..time }.to_string();
        assert!(alone.ends_with("; the kernels, each timed alone, add up to 25.0 ms"), "{alone}");
    }
}
