//! The log on the device. Every step writes one row, and the host reads the rows later, without
//! waiting for the device.

use super::buffers::LOG;
use crate::Result;
use crate::gpu::{Context, Readback};
use crate::ops::log_step;
use crate::tape::Shape;
use std::time::{Duration, Instant};

/// Rows of the ring buffer: the largest number of steps that can run before the first of them must
/// be read.
const ROWS: u32 = 64;
/// Rows are read at least this often.
const INTERVAL: Duration = Duration::from_millis(300);

/// Shape of the log for a batch size.
pub fn shape(batch: u32) -> Shape {
    Shape::f32([ROWS, log_step::row_width(batch)])
}

/// One row of the log, written by the operator [`log_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogRow<'a> {
    /// Mean loss of the batch.
    pub loss: f32,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f32,
    /// Whether the loss and every gradient are finite. If not, no parameter was changed.
    pub finite: bool,
    /// Whether the step wrote the row. If not, the device did not run its last submission.
    pub written: bool,
    /// Loss of each image, `[B]`.
    pub losses: &'a [f32],
    /// Index of each image's training time, `[B]`.
    pub times: &'a [f32],
}

impl<'a> LogRow<'a> {
    /// The row of the step after `finished` steps.
    fn new(row: &'a [f32], finished: u32) -> LogRow<'a> {
        let header = log_step::row_width(0) as usize;
        let (losses, times) = row[header..].split_at((row.len() - header) / 2);
        let [loss, gradient_norm, flag] = [row[0], row[1], row[2]];
        let written = row[3] == log_step::step_number(finished) as f32;
        LogRow { loss, gradient_norm, finite: flag == 1.0 && loss.is_finite(), written, losses, times }
    }
}

/// Consecutive rows that were read together.
pub struct Rows {
    values: Vec<f32>,
    width: usize,
    /// Number of finished steps before the first row, and after the last.
    steps: std::ops::Range<u32>,
}

impl Rows {
    /// Number of steps that were finished when the last row was written.
    pub fn finished(&self) -> u32 {
        self.steps.end
    }

    /// Each row with the number of its step, from 1.
    pub fn iter(&self) -> impl Iterator<Item = (u32, LogRow<'_>)> {
        self.steps.clone().map(|before| {
            let start = (before % ROWS) as usize * self.width;
            (before + 1, LogRow::new(&self.values[start..][..self.width], before))
        })
    }
}

/// Reads the log of a run.
pub struct DeviceLog {
    batch: u32,
    /// Steps whose rows were read.
    read: u32,
    asked: Instant,
    /// A read that has started, and the number of steps submitted before it.
    pending: Option<(Readback, u32)>,
}

impl DeviceLog {
    /// The log of the steps after the first `finished` steps.
    pub fn new(batch: u32, finished: u32) -> DeviceLog {
        DeviceLog { batch, read: finished, asked: Instant::now(), pending: None }
    }

    /// The rows that can be read without waiting. `finished` steps were submitted, and at most
    /// `in_flight` of them still run.
    pub fn poll(&mut self, ctx: &Context, finished: u32, in_flight: u32) -> Result<Option<Rows>> {
        let complete = self.pending.as_ref().is_some_and(|(_, before)| finished > before + in_flight);
        let rows = if complete { self.take(ctx)? } else { None };
        if self.pending.is_none() && (finished - self.read >= ROWS / 4 || self.asked.elapsed() > INTERVAL) {
            self.ask(ctx, finished)?;
        }
        Ok(rows)
    }

    /// All rows up to step `finished`. Waits for the device.
    pub fn drain(&mut self, ctx: &Context, finished: u32) -> Result<Vec<Rows>> {
        let earlier = self.take(ctx)?;
        self.ask(ctx, finished)?;
        Ok(earlier.into_iter().chain(self.take(ctx)?).collect())
    }

    fn ask(&mut self, ctx: &Context, finished: u32) -> Result<()> {
        self.pending = Some((ctx.start_read(LOG, 0, shape(self.batch).bytes())?, finished));
        self.asked = Instant::now();
        Ok(())
    }

    fn take(&mut self, ctx: &Context) -> Result<Option<Rows>> {
        let Some((readback, finished)) = self.pending.take() else { return Ok(None) };
        let width = log_step::row_width(self.batch) as usize;
        let rows = Rows { values: readback.wait(&ctx.gpu)?, width, steps: self.read..finished };
        self.read = finished;
        Ok(Some(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_row_names_what_the_operator_writes() {
        let row = [0.5, 2.0, 1.0, 8.0, 0.25, 0.75, 3.0, 9.0];
        let (losses, times) = (&row[4..6], &row[6..]);
        let expected = LogRow { loss: 0.5, gradient_norm: 2.0, finite: true, written: true, losses, times };
        assert_eq!(LogRow::new(&row, 7), expected);
        assert!(!LogRow::new(&row, 7 + ROWS).written, "the row of an earlier step");
        assert!(!LogRow::new(&[0.0; 8], 0).written, "an empty log");
        for broken in [[f32::NAN, 2.0, 1.0], [0.5, f32::INFINITY, 0.0]] {
            assert!(!LogRow::new(&[&broken[..], &row[3..]].concat(), 7).finite, "{broken:?}");
        }
    }

    #[test]
    fn log_rows_are_found_past_the_end_of_the_ring() {
        let width = log_step::row_width(0) as usize;
        let values = (0..ROWS).flat_map(|row| [row as f32, 0.0, 1.0, 0.0]).collect();
        let rows = Rows { values, width, steps: ROWS - 1..ROWS + 1 };
        let read: Vec<(u32, f32)> = rows.iter().map(|(step, row)| (step, row.loss)).collect();
        assert_eq!(read, [(ROWS, (ROWS - 1) as f32), (ROWS + 1, 0.0)]);
    }
}
