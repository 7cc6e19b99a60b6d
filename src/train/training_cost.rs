//! The cost of a training step, without training.

use super::config::Settings;
use super::trainer::Trainer;
use crate::Result;
use crate::data::Dataset;
use crate::gpu::Context;
use std::sync::Arc;

/// Cost of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingCost {
    /// Floating-point operations per image.
    pub flops_per_image: u64,
    /// Bytes of device memory.
    pub bytes: u64,
}

impl TrainingCost {
    /// Computes the cost for these settings. The images are not copied, and nothing runs.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; streamed images whose buffers the device
    /// cannot bind.
    pub fn new(ctx: &Context, settings: Settings, data: &Arc<Dataset>) -> Result<TrainingCost> {
        let trainer = Trainer::unprepared(ctx, settings, data)?;
        let summary = trainer.training_tape()?.summary();
        Ok(TrainingCost {
            flops_per_image: summary.flops / u64::from(trainer.config().batch),
            bytes: summary.slot_bytes + summary.named_bytes,
        })
    }
}
