//! Time per kernel. Each call is timed alone on the device, and the times are summed by kernel.
//! They are compared with the roofline (Williams, Waterman and Patterson 2009): the time that the
//! operations or the bytes would take at the device's peaks, whichever is longer.
//!
//! The bytes are the sizes of the operands, each moved once. A kernel can exceed 100 % of the
//! memory peak if a cache already held its operands, or if it reads only a part of an operand (a
//! batch of the data set).

use super::listing::scaled;
use crate::Result;
use crate::gpu::Context;
use crate::tape::program::Program;
use crate::tape::record::Tape;
use crate::tape::step::Step;
use std::collections::BTreeMap;
use std::fmt;

/// The largest rates that were measured on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Floating-point operations per second, in multiply-adds of f32.
    pub flops: f64,
    /// Bytes per second, read and written together.
    pub bytes: f64,
}

impl Peaks {
    /// The shortest time in seconds that this much work can take.
    pub fn least_time(&self, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.flops).max(bytes as f64 / self.bytes)
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peaks: {}/s, {}/s", scaled(self.flops, "FLOP"), scaled(self.bytes, "B"))
    }
}

/// All calls of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRow {
    /// `shader.entry`.
    pub label: &'static str,
    /// Number of calls.
    pub calls: usize,
    /// Seconds of all calls.
    pub seconds: f64,
    /// Floating-point operations of all calls.
    pub flops: u64,
    /// Bytes of all calls.
    pub bytes: u64,
    /// Seconds that the calls would take at the peaks.
    pub least_seconds: f64,
}

impl ProfileRow {
    /// Share of the roofline. 1 is the best possible.
    pub fn share(&self) -> f64 {
        self.least_seconds / self.seconds
    }
}

/// The kernels of a program, slowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// One row per kernel.
    pub rows: Vec<ProfileRow>,
    /// The peaks of the roofline.
    pub peaks: Peaks,
}

/// Seconds of each call: the median of `runs` runs, after one that does not count because drivers
/// compile then. The program really runs: parameters that it updates are updated `runs` + 1 times.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) if the device was lost or has no time stamps.
pub fn call_times(ctx: &Context, program: &Program, step: &Step, runs: usize) -> Result<Vec<f64>> {
    program.run_timed(ctx, step)?;
    let all: Vec<Vec<f64>> = (0..runs.max(1)).map(|_| program.run_timed(ctx, step)).collect::<Result<_>>()?;
    let median = |call: usize| {
        let mut times: Vec<f64> = all.iter().map(|run| run[call]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] * 1e-9
    };
    Ok((0..all[0].len()).map(median).collect())
}

impl Profile {
    /// Sums the seconds of each call, from [`call_times`], by kernel.
    pub fn from_times(tape: &Tape, times: &[f64], peaks: Peaks) -> Profile {
        assert_eq!(times.len(), tape.calls().len(), "one time per call");
        let mut rows: BTreeMap<&str, ProfileRow> = BTreeMap::new();
        for (call, seconds) in tape.calls().iter().zip(times) {
            let label = call.dispatch.entry.label;
            let new = ProfileRow { label, calls: 0, seconds: 0.0, flops: 0, bytes: 0, least_seconds: 0.0 };
            let row = rows.entry(label).or_insert(new);
            let bytes = tape.bytes(call);
            row.calls += 1;
            row.seconds += seconds;
            row.flops += call.flops;
            row.bytes += bytes;
            row.least_seconds += peaks.least_time(call.flops, bytes);
        }
        let mut rows: Vec<ProfileRow> = rows.into_values().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Profile { rows, peaks }
    }

    /// Seconds of all calls.
    pub fn seconds(&self) -> f64 {
        self.rows.iter().map(|row| row.seconds).sum()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.seconds();
        let width = self.rows.iter().map(|row| row.label.len()).max().unwrap_or(0).max(6);
        writeln!(f, "{:width$}  calls       ms   time     GFLOP/s      GB/s   roofline", "kernel")?;
        let sum = |column: fn(&ProfileRow) -> u64| self.rows.iter().map(column).sum();
        let all = ProfileRow {
            label: "all",
            calls: self.rows.iter().map(|row| row.calls).sum(),
            seconds: total,
            flops: sum(|row| row.flops),
            bytes: sum(|row| row.bytes),
            least_seconds: self.rows.iter().map(|row| row.least_seconds).sum(),
        };
        for row in self.rows.iter().chain([&all]) {
            let ProfileRow { label, calls, seconds, .. } = row;
            let ms = seconds * 1e3;
            let part = 100.0 * seconds / total;
            let share = 100.0 * row.share();
            let gflops = row.flops as f64 * 1e-9 / seconds;
            let gbytes = row.bytes as f64 * 1e-9 / seconds;
            writeln!(f, "{label:width$} {calls:6} {ms:8.3} {part:5.1}% {gflops:11.1} {gbytes:9.2} {share:9.1}%")?;
        }
        writeln!(f, "{}", self.peaks)
    }
}
