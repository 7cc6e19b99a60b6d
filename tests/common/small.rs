//! The settings of small runs. A test changes only the settings that it is about.

use super::run::digits;
use degrain::train::{LrSchedule, Settings, Size};

/// A run of any preset that takes a second or two: a narrow model on 256 digits. It has no folder.
pub fn small(preset: &str) -> Settings {
    Settings {
        preset: Some(preset.into()),
        size: Some(Size::Tiny),
        data: Some(digits().into()),
        steps: Some(20),
        batch: Some(4),
        lr: Some(2e-3),
        warmup: Some(2),
        lr_schedule: Some(LrSchedule::Constant),
        timesteps: Some(50),
        block_out_channels: Some(vec![8, 8]),
        attention: Some(vec![false, true]),
        norm_num_groups: Some(4),
        condition_channels: Some(4),
        hidden_channels: Some(8),
        validation_count: Some(10),
        validate_every: Some(5),
        sample_every: Some(1000),
        checkpoint_every: Some(1000),
        sampling_steps: Some(3),
        ..Settings::default()
    }
}
