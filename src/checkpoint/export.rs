//! The files with which diffusers samples a checkpoint: `scheduler_config.json` and
//! `model_index.json`.

use super::metadata::CheckpointMetadata;
use super::scheduler_config::SchedulerConfig;
use crate::diffusion::{ProcessConfig, SamplerName, Variance};
use serde_json::{Value, json};

/// The version of diffusers whose files these are.
const VERSION: &str = "0.42.1";

/// The class of U-Nets in diffusers.
pub(super) const UNET: &str = "UNet2DModel";

/// A scheduler in diffusers' form.
pub(super) struct SchedulerExport {
    /// Text of `scheduler_config.json`.
    pub config: String,
    /// Text of `model_index.json`, if a pipeline of diffusers can sample with this scheduler.
    pub index: Option<String>,
}

impl SchedulerExport {
    /// The scheduler of a U-Net: that of its discrete timesteps, or of flow matching or EDM. The
    /// stochastic differential equations have none: diffusers scales their networks differently.
    pub fn new(scheduler: Option<&SchedulerConfig>, metadata: &CheckpointMetadata) -> Option<SchedulerExport> {
        if let Some(scheduler) = scheduler {
            let mut scheduler = scheduler.clone();
            if metadata.denoiser.learned_variance {
                // Only this class splits the output into mean and variance.
                scheduler.sampler = SamplerName::Ddpm;
                scheduler.options.variance_type = Some(Variance::LearnedRange);
            }
            let class = scheduler.sampler.class();
            let pipeline = class.replace("Scheduler", "Pipeline");
            return Some(SchedulerExport { config: scheduler.to_json(), index: Some(index(&pipeline, class)) });
        }
        match metadata.process {
            ProcessConfig::Flow(flow) => {
                let class = "FlowMatchEulerDiscreteScheduler";
                let config = json!({
                    "_class_name": class, "_diffusers_version": VERSION,
                    // The network receives this number times the noise level.
                    "num_train_timesteps": whole(flow.time_factor), "shift": 1.0,
                });
                // DDPMPipeline samples with any scheduler that has its interface.
                Some(SchedulerExport { config: text(&config), index: Some(index("DDPMPipeline", class)) })
            }
            ProcessConfig::Edm(edm) => {
                let config = json!({
                    "_class_name": "EDMEulerScheduler", "_diffusers_version": VERSION, "num_train_timesteps": 1000,
                    "prediction_type": "epsilon", "sigma_data": edm.data_rms(), "sigma_max": edm.sigma_max,
                    "sigma_min": edm.sigma_min, "sigma_schedule": "karras", "rho": 7.0, "final_sigmas_type": "zero",
                });
                // No pipeline scales the time as the network needs it.
                Some(SchedulerExport { config: text(&config), index: None })
            }
            ProcessConfig::Discrete | ProcessConfig::Vp(_) | ProcessConfig::SubVp(_) | ProcessConfig::Ve(_) => None,
        }
    }
}

fn index(pipeline: &str, scheduler: &str) -> String {
    text(&json!({
        "_class_name": pipeline, "_diffusers_version": VERSION,
        "scheduler": ["diffusers", scheduler], "unet": ["diffusers", UNET],
    }))
}

fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A whole number without a decimal point, as diffusers writes it.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 { (number as u64).into() } else { number.into() }
}
