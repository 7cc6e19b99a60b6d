//! Values that the host computes for each step: learning rate, Adam's bias corrections, the decay
//! of the EMA, the position in the data set. `finished` is the number of finished steps.

use super::config::{Config, LrSchedule};
use crate::tape::Step;
use std::f64::consts::PI;

/// Learning rate of the step after `finished` steps: a linear warm-up, then the schedule.
pub fn learning_rate(config: &Config, finished: u32) -> f64 {
    if finished < config.warmup {
        return config.lr * (f64::from(finished + 1) / f64::from(config.warmup.max(1)));
    }
    match config.lr_schedule {
        LrSchedule::Constant => config.lr,
        LrSchedule::Cosine => {
            let total = f64::from(config.steps.saturating_sub(config.warmup).max(1));
            let done = (f64::from(finished - config.warmup) / total).min(1.0);
            config.lr * 0.5 * (1.0 + (PI * done).cos())
        }
    }
}

/// Decay of the EMA in the step after n = `finished` steps: min((1 + n) / (10 + n), `ema_decay`),
/// and 0 in the first step (diffusers' EMAModel).
pub fn ema_decay(config: &Config, finished: u32) -> f64 {
    if finished == 0 {
        return 0.0;
    }
    (f64::from(1 + finished) / f64::from(10 + finished)).min(f64::from(config.ema_decay))
}

/// The uniforms of the step after `finished` steps of a run over `count` images.
pub fn step(config: &Config, count: u32, finished: u32) -> Step {
    let seen = u64::from(finished) * u64::from(config.batch);
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(finished as i32 + 1))) as f32;
    Step {
        index: finished,
        epoch: (seen / u64::from(count)) as u32,
        position: (seen % u64::from(count)) as u32,
        learning_rate: learning_rate(config, finished) as f32,
        first_correction: correction(config.beta1),
        second_correction: correction(config.beta2),
        ema_decay: ema_decay(config, finished) as f32,
        ..Step::seeded(config.seed)
    }
}
