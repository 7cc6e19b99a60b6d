//! Where a program's time goes: each call timed alone on the device, summed by kernel, and held against the roofline (Williams, Waterman
//! and Patterson 2009): the time that the operations or the bytes would take at the device's peaks, whichever is longer.
//!
//! Bytes are those of the operands, each moved once. A kernel that rereads what a cache held may pass 100 % of the memory peak, and so may
//! one that reads only a part of an operand (a batch out of the data set).

use super::listing::scaled;
use super::program::Program;
use super::record::Tape;
use super::step::Step;
use crate::Result;
use crate::gpu::Context;
use std::collections::BTreeMap;
use std::fmt;

/// What the device reached at best, a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Floating-point operations a second, in multiply-adds of f32.
    pub flops: f64,
    /// Bytes a second, read and written together.
    pub bytes: f64,
}

impl Peaks {
    /// The shortest time, in seconds, that this much work can take.
    pub fn least_time(&self, flops: u64, bytes: u64) -> f64 {
        (flops as f64 / self.flops).max(bytes as f64 / self.bytes)
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peaks: {}/s, {}/s", scaled(self.flops, "FLOP"), scaled(self.bytes, "B"))
    }
}

/// The calls of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `shader.entry`.
    pub label: &'static str,
    /// How often it is called.
    pub calls: usize,
    /// Seconds of all calls together.
    pub seconds: f64,
    /// Floating-point operations of all calls.
    pub flops: u64,
    /// Bytes of all calls.
    pub bytes: u64,
    /// Seconds that the calls would take at the peaks.
    pub least: f64,
}

impl Row {
    /// Share of the roofline: 1 is the best that the device can do.
    pub fn share(&self) -> f64 {
        self.least / self.seconds
    }
}

/// The kernels of a program by falling time.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// One for each kernel.
    pub rows: Vec<Row>,
    /// What the rows are held against.
    pub peaks: Peaks,
}

/// Seconds of each call: the median of `runs` runs, after one that is not counted (drivers compile at the first).
///
/// # Errors
/// The device's, or it has no time stamps.
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
    /// Times a program of this record. It really runs: parameters that it updates are updated `runs` + 1 times.
    ///
    /// # Errors
    /// The device's, or it has no time stamps.
    pub fn measure(
        ctx: &Context,
        tape: &Tape,
        program: &Program,
        step: &Step,
        runs: usize,
        peaks: Peaks,
    ) -> Result<Profile> {
        Ok(Profile::from_times(tape, &call_times(ctx, program, step, runs)?, peaks))
    }

    /// Sums the seconds of each call by kernel.
    pub fn from_times(tape: &Tape, times: &[f64], peaks: Peaks) -> Profile {
        assert_eq!(times.len(), tape.calls().len(), "one time for each call");
        let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
        for (call, seconds) in tape.calls().iter().zip(times) {
            let label = call.dispatch.entry.label;
            let new = Row { label, calls: 0, seconds: 0.0, flops: 0, bytes: 0, least: 0.0 };
            let row = rows.entry(label).or_insert(new);
            let bytes = tape.bytes(call);
            row.calls += 1;
            row.seconds += seconds;
            row.flops += call.flops;
            row.bytes += bytes;
            row.least += peaks.least_time(call.flops, bytes);
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
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
        let (total, width) = (self.seconds(), self.rows.iter().map(|row| row.label.len()).max().unwrap_or(0).max(6));
        writeln!(f, "{:width$}  calls       ms   time     GFLOP/s      GB/s   roofline", "kernel")?;
        let mut line = |label: &str, calls: usize, seconds: f64, flops: u64, bytes: u64, least: f64| {
            let (ms, part, share) = (seconds * 1e3, 100.0 * seconds / total, 100.0 * least / seconds);
            let (gflops, gbytes) = (flops as f64 * 1e-9 / seconds, bytes as f64 * 1e-9 / seconds);
            writeln!(f, "{label:width$} {calls:6} {ms:8.3} {part:5.1}% {gflops:11.1} {gbytes:9.2} {share:9.1}%")
        };
        for row in &self.rows {
            line(row.label, row.calls, row.seconds, row.flops, row.bytes, row.least)?;
        }
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum();
        let calls = self.rows.iter().map(|row| row.calls).sum();
        line("all", calls, total, sum(|r| r.flops), sum(|r| r.bytes), self.rows.iter().map(|r| r.least).sum())?;
        writeln!(f, "{}", self.peaks)
    }
}
