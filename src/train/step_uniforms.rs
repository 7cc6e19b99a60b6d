//! What the host computes for each step: learning rate, Adam's bias corrections, the decay of the average, the place in the data set.

use super::choices::LrSchedule;
use super::settings::Config;
use crate::tape::Step;
use std::f64::consts::PI;

/// Learning rate of step `n` (from 0): rises linearly over the warm-up, then falls as the settings say.
pub fn learning_rate(config: &Config, n: u32) -> f64 {
    let warm = f64::from(n + 1) / f64::from(config.warmup.max(1));
    if n < config.warmup {
        return config.lr * warm;
    }
    match config.lr_schedule {
        LrSchedule::Constant => config.lr,
        LrSchedule::Cosine => {
            let rest = f64::from(config.steps.saturating_sub(config.warmup).max(1));
            let passed = (f64::from(n - config.warmup) / rest).min(1.0);
            config.lr * 0.5 * (1.0 + (PI * passed).cos())
        }
    }
}

/// Decay of the moving average in step `n` (from 0): min((1 + n) / (10 + n), largest), zero at first (diffusers' EMAModel).
pub fn ema_decay(config: &Config, n: u32) -> f64 {
    if n == 0 { 0.0 } else { (f64::from(1 + n) / f64::from(10 + n)).min(f64::from(config.ema_decay)) }
}

/// The values of step `n` (from 0) of a run over `count` images.
pub fn step(config: &Config, count: u32, n: u32) -> Step {
    let seen = u64::from(n) * u64::from(config.batch);
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(n as i32 + 1))) as f32;
    Step {
        seed_low: config.seed as u32,
        seed_high: (config.seed >> 32) as u32,
        index: n,
        epoch: (seen / u64::from(count)) as u32,
        position: (seen % u64::from(count)) as u32,
        learning_rate: learning_rate(config, n) as f32,
        first_correction: correction(config.beta1),
        second_correction: correction(config.beta2),
        ema_decay: ema_decay(config, n) as f32,
        ..Step::default()
    }
}
