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

/// The uniforms of the step after `finished` steps of a run over `count` images, for a rank whose
/// part of a batch begins with image `first`.
pub fn step(config: &Config, count: u32, finished: u32, first: u32) -> Step {
    let seen = u64::from(finished) * u64::from(config.batch) + u64::from(first);
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powi(finished as i32 + 1))) as f32;
    Step {
        index: finished,
        epoch: (seen / u64::from(count)) as u32,
        position: (seen % u64::from(count)) as u32,
        first_image: first,
        learning_rate: learning_rate(config, finished) as f32,
        first_correction: correction(config.beta1),
        second_correction: correction(config.beta2),
        ema_decay: ema_decay(config, finished) as f32,
        ..Step::seeded(config.seed)
    }
}

/// Describes the change of the learning rate between two steps, the last one with the settings
/// `before` and the next one with `after`. `None` if it is less than a tenth of the larger one, or
/// if the settings give the same.
pub fn learning_rate_jump(before: &Config, after: &Config, finished: u32) -> Option<String> {
    let next = learning_rate(after, finished);
    if finished == 0 || learning_rate(before, finished) == next {
        return None;
    }
    let last = learning_rate(before, finished - 1);
    let jumps = (next - last).abs() > 0.1 * next.max(last);
    jumps.then(|| format!("learning rate: {last:.2e} in step {finished} -> {next:.2e} in step {}", finished + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Settings, Size};

    fn config(steps: u32, lr_schedule: LrSchedule) -> Config {
        let (lr, warmup) = (Some(2e-3), Some(10));
        let settings =
            Settings { lr, warmup, steps: Some(steps), lr_schedule: Some(lr_schedule), ..Settings::default() };
        settings.resolve(Size::Base).unwrap()
    }

    #[test]
    fn learning_rate_jump_of_an_extended_cosine_is_described() {
        let short = config(100, LrSchedule::Cosine);
        let long = config(140, LrSchedule::Cosine);
        let jump = learning_rate_jump(&short, &long, 100).unwrap();
        assert_eq!(jump, "learning rate: 6.09e-7 in step 100 -> 4.32e-4 in step 101");
        assert_eq!(learning_rate_jump(&short, &short, 100), None, "the same settings");
        let constant = config(140, LrSchedule::Constant);
        assert_eq!(learning_rate_jump(&config(100, LrSchedule::Constant), &constant, 100), None, "the same rate");
        assert!(learning_rate_jump(&short, &constant, 100).is_some());
    }
}
