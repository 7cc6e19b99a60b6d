//! How samples are drawn from a checkpoint: as its run drew them, but for what is asked for.

use super::pipeline::Pipeline;
use super::sampler::{SamplerOptions, SamplingPlan, Variance};
use super::samplers::SamplerName;
use super::scheduler_config::SchedulerConfig;
use super::spacing::Spacing;
use crate::{Error, Result};

/// What is asked for; the rest is the checkpoint's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct SamplingOptions {
    /// Scale of classifier-free guidance; 1 is none. The run's unless given, or 2 where the model has a null class
    #[cfg_attr(feature = "cli", arg(long, allow_negative_numbers = true))]
    pub guidance: Option<f32>,
    /// How noise becomes an image; as the run drew its samples unless given
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub sampler: Option<SamplerName>,
    /// Steps; the run's unless given, or 50
    #[cfg_attr(feature = "cli", arg(long))]
    pub steps: Option<u32>,
    /// Its options.
    #[cfg_attr(feature = "cli", command(flatten))]
    pub options: SamplerOptions,
    /// Spacing of the time steps; the checkpoint's unless given
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub spacing: Option<Spacing>,
}

/// A way of drawing samples from a checkpoint.
#[derive(Clone, Debug)]
pub struct ResolvedSampling {
    /// Scheduler and sampler.
    pub scheduler: SchedulerConfig,
    /// The stages.
    pub plan: SamplingPlan,
    /// Steps asked of the sampler.
    pub steps: u32,
    /// Scale of classifier-free guidance.
    pub guidance: f32,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl ResolvedSampling {
    /// In words: the sampler and its steps.
    pub fn describe(&self) -> String {
        match self.plan.ode {
            Some(_) => format!("adaptive steps of {}", self.title()),
            None => format!("{} steps of {}", self.steps, self.title()),
        }
    }

    fn title(&self) -> &'static str {
        match self.scheduler.sampler {
            SamplerName::Ddpm => "DDPM",
            SamplerName::Ddim => "DDIM",
            other => other.name(),
        }
    }
}

impl Pipeline {
    /// The way that is asked for.
    ///
    /// # Errors
    /// A sampler, option or guidance that the model cannot follow; steps asked of a solver that chooses them itself.
    pub fn sampling(&self, options: &SamplingOptions) -> Result<ResolvedSampling> {
        let guidance = self.guidance(options.guidance)?;
        let scheduler = self.scheduler(options);
        let steps = options.steps.or(self.card.sampling.map(|sampling| sampling.steps)).unwrap_or(50);
        let (plan, warnings) = scheduler.plan_for(&*self.process, steps)?;
        if plan.ode.is_some() && options.steps.is_some() {
            return Err(Error::Config(
                "--steps: the sampler ode chooses its steps itself, by --rtol and --atol".into(),
            ));
        }
        Ok(ResolvedSampling { scheduler, plan, steps, guidance, warnings })
    }

    fn scheduler(&self, options: &SamplingOptions) -> SchedulerConfig {
        let mut scheduler = self.scheduler.clone();
        let own = self.card.sampling.map(|sampling| sampling.sampler);
        // A folder of other makers is sampled by DDIM, unless a discrete process is not what it has.
        let sampler = options.sampler.or(own).unwrap_or(SamplerName::Ddim);
        if scheduler.sampler != sampler {
            scheduler.options = Default::default();
        }
        scheduler.sampler = sampler;
        if sampler == SamplerName::Ddim {
            scheduler.options.use_clipped_model_output = Some(true);
        }
        if sampler == SamplerName::Ddpm && self.card.learned_variance {
            scheduler.options.variance_type = Some(Variance::LearnedRange);
        }
        scheduler.spacing = options.spacing.unwrap_or(scheduler.spacing);
        scheduler.options = options.options.or(scheduler.options);
        scheduler
    }

    fn guidance(&self, wanted: Option<f32>) -> Result<f32> {
        let null_class = self.card.labels.and_then(|labels| labels.null_class());
        let own = self.card.sampling.map(|sampling| sampling.guidance);
        let scale = wanted.or(own).unwrap_or(if null_class.is_some() { 2.0 } else { 1.0 });
        match self.card.labels {
            Some(labels) => labels.guided(scale).map(|_| scale),
            None if scale == 1.0 => Ok(scale),
            None => Err(Error::Config(format!(
                "--guidance {scale}: the model was trained without classes, so there is nothing to guide by"
            ))),
        }
    }
}
