//! Training steps that several ranks divide. Each computes the gradient of its part of the batch.
//! The ranks add their gradients, and then each changes its own copy of the parameters by the same
//! numbers.
//!
//! Image numbers, timesteps, noise and dropped labels depend on an image's place in the whole
//! batch, so they do not depend on the number of ranks. Every rank has the losses of the whole
//! batch for the log and for importance sampling. Batch normalization uses the mean and variance of
//! a rank's part; the running ones are averaged over the ranks after each step.

use super::clock::Progress;
use super::continuation::without_places;
use super::data_loader::DataLoader;
use super::ranks::{LOSS, Ranks, TIME, WHOLE_LOSS, WHOLE_TIME};
use super::trainer::Trainer;
use crate::Result;
use crate::nn::{GRADIENTS, PARAMETERS, statistics_of};
use crate::ranks::{AllReduce, Communicator};
use crate::tape::{Program, Step, record};
use sha2::{Digest, Sha256};
use std::rc::Rc;

/// Steps after which the ranks compare their parameters, if there is no checkpoint in between.
const COMPARE_EVERY: u32 = 100;

/// Advice for ranks that start differently.
const SAME_CHECKPOINT: &str = "Their checkpoints differ: give all of them a copy of the same one";

/// A compiled training step.
pub(super) struct TrainingStep {
    pub program: Program,
    /// The number of calls up to the gradient.
    gradient_calls: usize,
    calls: usize,
    all_reduce: AllReduce,
}

impl Trainer {
    /// Divides every batch between ranks. Call it before [`Trainer::resume`], on every rank, and
    /// then [`Trainer::run`]. Only rank 0 prints, and writes the run's folder.
    ///
    /// If `run` fails on one rank, the others may wait for it. Then end all of them, as
    /// `Mpi::abort` does.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a batch that cannot be divided into equal parts.
    pub fn on_ranks(mut self, communicator: Rc<dyn Communicator>) -> Result<Trainer> {
        self.ranks = Ranks::new(communicator, self.config.batch)?;
        self.loader = DataLoader::new(&self.ctx, &self.config, &self.dataset, self.ranks.part)?;
        Ok(self)
    }

    /// Records and compiles the training step with the images and tables that it needs. Returns the
    /// FLOPs of this rank.
    pub(super) fn compile_step(&mut self) -> Result<(TrainingStep, u64)> {
        let (tape, gradient_calls) = record(&self.ctx, |t| self.record_training(t))?;
        // Before the upload, because the named buffers include the data set.
        self.check_memory(&tape)?;
        self.upload()?;
        let program = Program::compile(&mut self.ctx, &tape)?;
        let calls = tape.calls().len();
        Ok((TrainingStep { program, gradient_calls, calls, all_reduce: AllReduce::default() }, tape.summary().flops))
    }

    /// Uses the forms of kernels that rank 0 chose, on every rank. Rank 0 gives its programs, and
    /// the others call it before they record theirs.
    ///
    /// # Errors
    /// As [`Context::share_kernel_choices`](crate::gpu::Context::share_kernel_choices).
    pub(super) fn share_forms(&mut self, programs: Option<(&TrainingStep, Option<&Program>)>) -> Result<()> {
        if !self.ranks.are_several() {
            return Ok(());
        }
        let forms = |(step, validation): (&TrainingStep, Option<&Program>)| {
            let validation = validation.map(|program| program.forms().clone()).unwrap_or_default();
            step.program.forms().clone().with(&validation)
        };
        let recorded = programs.map(forms).unwrap_or_default();
        self.ctx.pinned = self.ctx.share_kernel_choices(&*self.ranks.communicator, &recorded)?;
        Ok(())
    }

    /// Restores the checkpoint to continue from, or initializes the parameters.
    ///
    /// # Errors
    /// A damaged checkpoint; ranks whose parameters or training states differ.
    pub(super) fn restore_or_initialize(&mut self) -> Result<Progress> {
        let mut state = Sha256::new();
        let start = match &self.checkpoint {
            Some((_, folder)) if self.ranks.are_several() => self.restore(folder, |values| state.update(values))?,
            Some((_, folder)) => self.restore(folder, |_| ())?,
            None => {
                self.initialize()?;
                Progress::default()
            }
        };
        self.compare_parameters(start.step)?;
        if self.ranks.are_several() {
            // Also the moments, the EMA and the history of losses.
            self.ranks.compare(&["another training state"], &[state.finalize().into()], SAME_CHECKPOINT)?;
        }
        Ok(start)
    }

    /// Checks that all ranks train the same: called before anything is written.
    ///
    /// # Errors
    /// [`Error::Config`] with the first difference.
    pub(super) fn compare_ranks(&self) -> Result<()> {
        if !self.ranks.are_several() {
            return Ok(());
        }
        let settings = without_places(&self.config)?;
        let names = [
            "another version of degrain",
            "other settings",
            "another data set",
            "another checkpoint to continue from",
            "another device or driver",
        ];
        let adapter = self.ctx.gpu.adapter();
        let device = format!("{} {} {} {}", adapter.name, adapter.backend, adapter.driver, self.ctx.target());
        let digests = [
            digest(env!("CARGO_PKG_VERSION").as_bytes()),
            digest(settings.as_bytes()),
            digest(self.data_sha256.as_bytes()),
            // A checkpoint of step 0 is not a new run.
            digest(format!("{:?}", self.checkpoint.as_ref().map(|(step, _)| step)).as_bytes()),
            digest(device.as_bytes()),
        ];
        self.ranks.compare(
            &names,
            &digests,
            "Start all ranks with the same program, options and files on the same kind of device",
        )
    }

    /// Checks that all ranks have the same parameters after `step` steps.
    ///
    /// # Errors
    /// [`Error::Config`] with the ranks whose parameters differ from those of rank 0.
    pub(super) fn compare_parameters(&self, step: u32) -> Result<()> {
        if !self.ranks.are_several() {
            return Ok(());
        }
        let parameters = self.objective.model().parameters();
        let mut values: Vec<f32> = self.ctx.read(PARAMETERS, 0, parameters.flat_shape().len())?;
        if let Some(statistics) = parameters.statistics() {
            values.extend(self.ctx.read::<f32>(&statistics_of(PARAMETERS), 0, statistics.len())?);
        }
        let name = format!("other parameters after step {step}");
        let advice = if step == self.finished_steps() {
            SAME_CHECKPOINT
        } else {
            "One of their devices or drivers computes wrong results: check each of them with train --verify"
        };
        self.ranks.compare(&[&name], &[digest(bytemuck::cast_slice(&values))], advice)
    }

    /// [`Trainer::compare_parameters`] at every checkpoint and every 100 steps.
    ///
    /// # Errors
    /// As [`Trainer::compare_parameters`].
    pub(super) fn compare_parameters_if_due(&self, step: u32, saves: bool) -> Result<()> {
        if saves || step.is_multiple_of(COMPARE_EVERY) { self.compare_parameters(step) } else { Ok(()) }
    }

    /// Runs a training step together with the other ranks. `stop` asks all of them to stop after
    /// it. Returns whether any rank asked.
    pub(super) fn run_divided(&self, training: &mut TrainingStep, step: &Step, stop: bool) -> Result<bool> {
        training.program.run_calls(&self.ctx, 0..training.gradient_calls, step)?;
        let stopping = self.gather_losses(stop)?;
        self.add_gradients(&mut training.all_reduce)?;
        training.program.run_calls(&self.ctx, training.gradient_calls..training.calls, step)?;
        Ok(stopping)
    }

    /// Gives every rank the losses and times of the whole batch.
    fn gather_losses(&self, stop: bool) -> Result<bool> {
        let count = self.ranks.part.count as usize;
        let mut own: Vec<f32> = self.ctx.read(LOSS, 0, count)?;
        let times: Vec<u32> = self.ctx.read(TIME, 0, count)?;
        own.extend(times.iter().map(|&time| f32::from_bits(time)));
        own.push(f32::from(u8::from(stop)));
        let all = self.ranks.communicator.all_gather(&own);
        let rows = || all.chunks(own.len());
        let losses: Vec<f32> = rows().flat_map(|row| &row[..count]).copied().collect();
        let times: Vec<u32> = rows().flat_map(|row| &row[count..2 * count]).map(|time| time.to_bits()).collect();
        self.ctx.write(WHOLE_LOSS, 0, &losses)?;
        self.ctx.write(WHOLE_TIME, 0, &times)?;
        Ok(rows().any(|row| row[2 * count] != 0.0))
    }

    /// Gives every rank the sum of the gradients, and the mean of the running statistics.
    fn add_gradients(&self, all_reduce: &mut AllReduce) -> Result<()> {
        let parameters = self.objective.model().parameters();
        let length = parameters.flat_shape().len();
        let mut values: Vec<f32> = self.ctx.read(GRADIENTS, 0, length)?;
        let running = parameters.statistics().map(|shape| (statistics_of(PARAMETERS), shape.len()));
        if let Some((name, length)) = &running {
            values.extend(self.ctx.read::<f32>(name, 0, *length)?);
        }
        all_reduce.sum(&*self.ranks.communicator, &mut values);
        let (gradients, statistics) = values.split_at_mut(length);
        self.ctx.write(GRADIENTS, 0, gradients)?;
        if let Some((name, _)) = &running {
            let ranks = self.ranks.communicator.size() as f32;
            statistics.iter_mut().for_each(|value| *value /= ranks);
            self.ctx.write(name, 0, statistics)?;
        }
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
