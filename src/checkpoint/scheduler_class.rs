//! The classes of diffusers' schedulers. A class that adds noise by betas describes a model that
//! every sampler for discrete timesteps can sample, so the class matters only for its defaults.
//!
//! The defaults are those of diffusers 0.42.1, and `tests/it/diffusion/classes.rs` compares them.

use crate::diffusion::{SamplerName, Spacing};
use serde_json::{Map, Value};

/// What a class says about the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SchedulerClass {
    /// The sampler with the same name and options, if there is one.
    pub sampler: Option<SamplerName>,
    /// The default of `beta_start` and `beta_end`.
    pub betas: [f64; 2],
    /// The default of `timestep_spacing`.
    pub spacing: Spacing,
}

/// The betas of Ho et al. 2020.
const HO: [f64; 2] = [1e-4, 0.02];
/// The betas of Stable Diffusion.
const STABLE: [f64; 2] = [0.000_85, 0.012];

/// Classes with discrete timesteps, their default betas, and whether their default spacing is
/// `leading` (or else `linspace`). The betas of all of them are linear by default.
const DISCRETE: [(&str, [f64; 2], bool); 20] = [
    ("DDPMScheduler", HO, true),
    ("DDIMScheduler", HO, true),
    ("DDPMParallelScheduler", HO, true),
    ("DDIMParallelScheduler", HO, true),
    ("DDIMInverseScheduler", HO, true),
    ("PNDMScheduler", HO, true),
    ("RePaintScheduler", HO, true),
    ("DEISMultistepScheduler", HO, false),
    ("DPMSolverMultistepScheduler", HO, false),
    ("DPMSolverMultistepInverseScheduler", HO, false),
    ("DPMSolverSinglestepScheduler", HO, false),
    ("EulerDiscreteScheduler", HO, false),
    ("EulerAncestralDiscreteScheduler", HO, false),
    ("LMSDiscreteScheduler", HO, false),
    ("SASolverScheduler", HO, false),
    ("UniPCMultistepScheduler", HO, false),
    ("DPMSolverSDEScheduler", STABLE, false),
    ("HeunDiscreteScheduler", STABLE, false),
    ("KDPM2DiscreteScheduler", STABLE, false),
    ("KDPM2AncestralDiscreteScheduler", STABLE, false),
];

/// Classes whose models cannot be sampled here, and why.
const REFUSED: [(&str, &str); 9] = [
    ("ScoreSdeVe", "the network of this variance exploding equation is scaled in another way than here"),
    ("ScoreSdeVp", "its file does not say how the network receives the time"),
    ("KarrasVe", "its file does not say how the network is scaled"),
    (
        "EDM",
        "its file does not say how the network receives the time. A checkpoint of degrain has degrain.json for this",
    ),
    ("CMStochasticIterative", "consistency models are not supported"),
    ("LCM", "a distilled model predicts something else than the noise of its betas"),
    ("TCD", "a distilled model predicts something else than the noise of its betas"),
    ("VQDiffusion", "discrete states are not supported"),
    ("CosineDPMSolver", "its noise levels are continuous and it has no betas"),
];

/// Keys that change what the network was trained for, with the only supported value and why.
const FIXED: [(&str, &str, &str); 5] = [
    ("use_flow_sigmas", "false", "flow matching needs the class FlowMatchEulerDiscreteScheduler"),
    ("timestep_type", "\"discrete\"", "the network would receive log(sigma) instead of a timestep"),
    ("snr_shift_scale", "1.0", "it shifts the noise levels"),
    ("predict_epsilon", "true", "set `prediction_type` to \"sample\" instead"),
    ("invert_sigmas", "false", "time would run from image to noise"),
];

/// Keys that the other classes have for their own steps. They do not change the model.
const SAMPLING: &[&str] = &[
    "algorithm_type",
    "base_image_seq_len",
    "base_shift",
    "corrector_order",
    "disable_corrector",
    "euler_at_final",
    "eta",
    "final_sigmas_type",
    "flow_shift",
    "interpolation_type",
    "lambda_min_clipped",
    "lower_order_final",
    "max_image_seq_len",
    "max_shift",
    "noise_sampler_seed",
    "predict_x0",
    "predictor_order",
    "set_alpha_to_one",
    "shift",
    "shift_terminal",
    "sigma_max",
    "sigma_min",
    "skip_prk_steps",
    "solver_order",
    "solver_p",
    "solver_type",
    "stochastic_sampling",
    "tau_func",
    "thresholding",
    "time_shift_type",
    "use_beta_sigmas",
    "use_dynamic_shifting",
    "use_exponential_sigmas",
    "use_karras_sigmas",
    "use_lu_lambdas",
    "variance_type",
];

/// Whether a key concerns only the steps of another sampler.
pub(super) fn is_sampling_key(key: &str) -> bool {
    SAMPLING.contains(&key)
}

/// The class of a config.
///
/// # Errors
/// A class that is not supported, and a class that is not known and whose betas are not all given.
pub(super) fn find(name: &str, map: &Map<String, Value>) -> Result<SchedulerClass, String> {
    let sampler = SamplerName::ALL.iter().copied().find(|sampler| sampler.diffusers_class() == Some(name));
    if let Some((_, betas, leading)) = DISCRETE.iter().find(|(class, ..)| *class == name) {
        let spacing = if *leading { Spacing::Leading } else { Spacing::Linspace };
        return Ok(SchedulerClass { sampler, betas: *betas, spacing });
    }
    if let Some((_, problem)) = REFUSED.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        return Err(format!("`_class_name` = \"{name}\" is not supported: {problem}"));
    }
    // A class that this version does not know, if it says everything about its betas.
    let schedule = map.get("beta_schedule").is_some_and(Value::is_string);
    let given = map.get("trained_betas").is_some_and(Value::is_array);
    let cosine = map.get("beta_schedule").is_some_and(|schedule| schedule == "squaredcos_cap_v2");
    let range = ["beta_start", "beta_end"].iter().all(|key| map.get(*key).is_some_and(Value::is_number));
    let complete = given || cosine || (schedule && range);
    if complete && map.contains_key("num_train_timesteps") && map.contains_key("prediction_type") {
        return Ok(SchedulerClass { sampler: None, betas: HO, spacing: Spacing::Linspace });
    }
    Err(format!(
        "`_class_name` = \"{name}\" is not supported: the class is not known, and the file does not give all of \
         `num_train_timesteps`, `prediction_type` and its betas (`trained_betas`, or `beta_schedule`, `beta_start` and \
         `beta_end`)"
    ))
}

/// Takes the keys of [`FIXED`] out of the map.
///
/// # Errors
/// A value that is not the supported one.
pub(super) fn take_fixed(map: &mut Map<String, Value>) -> Result<(), String> {
    for (key, only, why) in FIXED {
        // Python writes null for a default.
        let Some(value) = map.remove(key).filter(|value| !value.is_null()) else { continue };
        let number = |text: &str| text.parse::<f64>().ok();
        let text = value.to_string();
        let equal = text == only || (value.is_number() && value.as_f64() == number(only));
        if !equal {
            return Err(format!("`{key}` = {value} is not supported: it must be {only}: {why}"));
        }
    }
    Ok(())
}
