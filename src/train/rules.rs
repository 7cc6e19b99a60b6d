//! Which settings fit each other, and what follows from them. Every refusal says what would fit.

use super::choices::NetworkName;
use super::settings::Config;
use crate::diffusion::{BetaSchedule, ProcessConfig};
use crate::gpu::MAX_WORKGROUPS;
use crate::{Error, Result};

impl Config {
    /// The schedule, rescaled or not.
    pub fn noise(&self) -> BetaSchedule {
        let mut schedule = self.schedule.clone();
        if let BetaSchedule::Linear(range) | BetaSchedule::ScaledLinear(range) | BetaSchedule::Sigmoid(range) =
            &mut schedule
        {
            range.rescale = self.rescale_betas;
        }
        schedule
    }

    pub(super) fn check(&self) -> Result<()> {
        let rule = |holds: bool, message: String| if holds { Ok(()) } else { Err(Error::Config(message)) };
        rule(self.steps > 0, "--steps must be at least 1".into())?;
        // Kernels count images along one dimension of their grid.
        rule((1..=MAX_WORKGROUPS).contains(&self.batch), format!("--batch {}: use 1 to {MAX_WORKGROUPS}", self.batch))?;
        rule(self.timesteps > 1, "--timesteps must be at least 2".into())?;
        rule(self.lr.is_finite() && self.lr > 0.0, format!("--lr {} must be positive", self.lr))?;
        rule(
            (0.0..=1.0).contains(&self.label_dropout),
            format!("--label-dropout {} is no probability", self.label_dropout),
        )?;
        rule((0.0..1.0).contains(&self.ema_decay), format!("--ema-decay {} must be in [0, 1)", self.ema_decay))?;
        rule(
            (0.0..1.0).contains(&self.beta1) && (0.0..1.0).contains(&self.beta2),
            "--beta1 and --beta2 must be in [0, 1)".into(),
        )?;
        let clips = self.max_grad_norm > 0.0 && self.max_grad_norm.is_finite();
        rule(clips, format!("--max-grad-norm {} must be a positive number; 1e30 clips nothing", self.max_grad_norm))?;
        let adds = self.adam_epsilon > 0.0 && self.adam_epsilon.is_finite();
        rule(adds, format!("--adam-epsilon {} must be a positive number, usually 1e-8", self.adam_epsilon))?;
        let decays = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        rule(decays, format!("--weight-decay {} must be a number from 0 on", self.weight_decay))?;
        rule(self.keep_checkpoints > 0, "--keep-checkpoints must be at least 1".into())?;
        let each = [self.validate_every, self.sample_every, self.checkpoint_every];
        rule(
            each.iter().all(|&n| n > 0),
            "--validate-every, --sample-every and --checkpoint-every must be at least 1".into(),
        )?;
        rule(
            self.attention.len() == self.block_out_channels.len(),
            format!(
                "--attention has {} values for {} levels of --block-out-channels",
                self.attention.len(),
                self.block_out_channels.len()
            ),
        )?;
        for (option, value) in [("dropout", self.dropout), ("guidance-rescale", self.guidance_rescale)] {
            rule((0.0..=1.0).contains(&value), format!("--{option} {value} must be between 0 and 1"))?;
        }
        for (option, value) in [("vlb-weight", self.vlb_weight), ("kl-weight", self.kl_weight)] {
            rule(value >= 0.0 && value.is_finite(), format!("--{option} {value} must be a number from 0 on"))?;
        }
        let discrete = self.process == ProcessConfig::Discrete;
        rule(
            discrete || !(self.learned_variance || self.importance_sampling),
            format!(
                "--learned-variance and --importance-sampling are for a process of discrete time steps, not for {}",
                self.process
            ),
        )?;
        let deviates = self.decoder_min_std == 0.0 || self.learned_variance && self.decoder_min_std > 0.0;
        rule(
            deviates,
            format!("--decoder-min-std {} needs --learned-variance, and is not negative", self.decoder_min_std),
        )?;
        let unguided = self.guidance == 1.0 || self.unconditional || self.network == NetworkName::Classifier;
        rule(
            unguided || self.label_dropout > 0.0,
            "guidance needs a null class: train with --label-dropout above 0, or sample with --guidance 1".into(),
        )
    }
}
