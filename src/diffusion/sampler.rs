//! What a sampler is: a list of stages, at each of which the network is asked once and the state is moved by a row of coefficients.

use super::process::{Family, Process};
pub use super::sampler_options::{SamplerOptions, Variance};
use super::schedule::NoiseSchedule;
use super::spacing::Spacing;
use crate::ops::sampler_step::COEFFICIENTS;
use crate::{Error, Result};
use std::fmt::Debug;

/// How the state moves at a stage, for the (clipped) predicted image x_0, the predicted noise e, fresh noise z ~ N(0, 1) and what an earlier
/// stage kept:
/// x' = image x_0 + state x + noise e + fresh z + kept h,  h' = keep · (x_0, x, e)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Update {
    /// Weight of the predicted image.
    pub x0: f64,
    /// Weight of the state.
    pub x: f64,
    /// Weight of the predicted noise.
    pub eps: f64,
    /// Weight of fresh noise.
    pub z: f64,
    /// Weight of what was kept.
    pub h: f64,
    /// Weights of image, state and noise in what is kept for later stages.
    pub h_next: [f64; 3],
}

/// What happens at a stage with the network's answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The state moves.
    Move(Update),
    /// The state moves; where fresh noise is added, its variance is the network's, between these two (learned variance).
    MoveLearned {
        /// The movement; its fresh noise is only a switch.
        update: Update,
        /// Logarithms of the largest and the smallest variance.
        log_variance: [f64; 2],
    },
    /// A step of Langevin dynamics of size `rate` (|z| / |score|)² (Song et al. 2021, algorithms 4 and 5).
    Correct {
        /// 2 alpha r², for the signal-to-noise ratio r.
        rate: f64,
    },
}

/// One evaluation of the network, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The time of the process.
    pub time: f64,
    /// What is done.
    pub action: Action,
}

/// What a sampler makes of a process: fixed stages, or an equation for the adaptive solver.
#[derive(Clone, Debug, PartialEq)]
pub enum Trajectory {
    /// These stages.
    Stages(Vec<Stage>),
    /// dx/dt = alpha' x_0 + sigma' eps (the probability flow, Song et al. 2021, eq. 13) from the first time to the second.
    Ode {
        /// Times of noise and image.
        span: [f64; 2],
        /// Relative and absolute tolerance of a step.
        tolerance: [f64; 2],
    },
}

/// How many steps are to be made, and where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSpec {
    /// Number of steps.
    pub steps: u32,
    /// How a process of discrete time steps chooses them.
    pub spacing: Spacing,
    /// Added to the time steps of [`Spacing::Leading`].
    pub offset: u32,
}

/// All that the device needs: for stage k, the network is told `times[k]`, shown `inputs[k]` x, and its answer is used with row k.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingPlan {
    /// The stages.
    pub stages: Vec<Stage>,
    /// The times as the network is told them, `[S]`.
    pub times: Vec<f64>,
    /// Factors of the network's input, `[S]`.
    pub inputs: Vec<f32>,
    /// Coefficients of the operators `denoise` and `langevin`, [S, 12].
    pub table: Vec<[f32; COEFFICIENTS as usize]>,
    /// Bound on the magnitude of the predicted image; infinite for none.
    pub clip: f32,
    /// Standard deviation of the noise that is started from.
    pub prior_std: f32,
    /// For a trajectory of the adaptive solver, its span and tolerances; there are no stages then.
    pub ode: Option<([f64; 2], [f64; 2])>,
}

/// A way from noise to an image.
pub trait Sampler: Debug {
    /// What it is for.
    fn families(&self) -> &'static [Family];

    /// Its way along a process.
    ///
    /// # Errors
    /// [`Error::Config`] for a number of steps that the process does not have.
    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory>;

    /// What a user should know about this sampler at these stages.
    fn warnings(&self, _process: &dyn Process, _times: &[f64]) -> Vec<String> {
        vec![]
    }
}

/// The plan of a sampler for a process. `clip` bounds the predicted image, as the data is bounded: 1, or infinity for none.
///
/// # Errors
/// [`Error::Config`] for a sampler that is not for this kind of process, a clip that is not positive, and what [`Sampler::trajectory`] refuses.
pub fn plan(
    name: &str,
    sampler: &dyn Sampler,
    process: &dyn Process,
    spec: &StepSpec,
    clip: f32,
) -> Result<(SamplingPlan, Vec<String>)> {
    let (family, own) = (process.family(), sampler.families());
    if !own.contains(&family) {
        let own: Vec<&str> = own.iter().map(|family| family.describe()).collect();
        return Err(Error::Config(format!(
            "the sampler {name} is for {}, and this model was trained with {} ({})",
            own.join(" or "),
            family.describe(),
            process.describe()
        )));
    }
    if clip.is_nan() || clip <= 0.0 {
        return Err(Error::Config(format!(
            "the predicted image is clipped to {clip}: use a positive number, usually 1"
        )));
    }
    match process.schedule() {
        Some(_) => discrete_timesteps(process, spec).map(|_| ())?,
        None if spec.steps == 0 => return Err(Error::Config("0 sampling steps: use at least 1".into())),
        None => (),
    }
    let (stages, ode) = match sampler.trajectory(process, spec)? {
        Trajectory::Stages(stages) => (stages, None),
        Trajectory::Ode { span, tolerance } => (vec![], Some((span, tolerance))),
    };
    let times: Vec<f64> = stages.iter().map(|stage| stage.time).collect();
    let warnings = sampler.warnings(process, &times);
    Ok((assemble(process, stages, ode, clip), warnings))
}

/// What the device needs of stages.
pub(super) fn assemble(
    process: &dyn Process,
    stages: Vec<Stage>,
    ode: Option<([f64; 2], [f64; 2])>,
    clip: f32,
) -> SamplingPlan {
    let views: Vec<_> = stages.iter().map(|stage| process.parameterization(stage.time)).collect();
    SamplingPlan {
        times: views.iter().map(|view| view.time).collect(),
        inputs: views.iter().map(|view| view.c_in as f32).collect(),
        table: stages.iter().map(|stage| row(process, stage)).collect(),
        stages,
        clip,
        prior_std: process.prior_std() as f32,
        ode,
    }
}

/// The row of the operators' table for a stage.
pub(super) fn row(process: &dyn Process, stage: &Stage) -> [f32; COEFFICIENTS as usize] {
    let [c0, c1, c2, c3] = process.to_x0_eps(stage.time);
    let with = |u: &Update, last: [f64; 4]| [c0, c1, c2, c3, u.x0, u.x, u.eps, u.z, last[0], last[1], last[2], last[3]];
    let row = match &stage.action {
        Action::Move(u) => with(u, [u.h, u.h_next[0], u.h_next[1], u.h_next[2]]),
        Action::MoveLearned { update, log_variance: [largest, smallest] } => {
            with(update, [0.0, 0.0, *largest, *smallest])
        }
        Action::Correct { rate } => {
            let score = -1.0 / process.marginal(stage.time).sigma;
            [c0, c1, c2, c3, score, *rate, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        }
    };
    row.map(|c| c as f32)
}

/// The time steps that are visited of a discrete schedule, falling.
///
/// # Errors
/// As [`Spacing::timesteps`].
pub(super) fn discrete_timesteps<'a>(
    process: &'a dyn Process,
    spec: &StepSpec,
) -> Result<(&'a NoiseSchedule, Vec<u32>)> {
    let Some(noise) = process.schedule() else {
        return Err(Error::Config(format!("{} has no discrete time steps", process.describe())));
    };
    Ok((noise, spec.spacing.timesteps(spec.steps, noise.timesteps(), spec.offset)?))
}

/// A warning if the first visited time step, which gets pure noise, is one where the model expects to see something of the image.
pub(super) fn late_start_warning(process: &dyn Process, times: &[f64]) -> Option<String> {
    let (noise, first) = (process.schedule()?, *times.first()? as u32);
    let bits = noise.kl_bits(first, 1.0);
    let last = noise.timesteps() - 1;
    (first < last && bits > 0.01).then(|| {
        format!(
            "sampling starts with pure noise at time step {first} of 0..={last}, where the model expects something of an image ({bits:.3} bits \
             a dimension): use more steps or the spacing `trailing`"
        )
    })
}

/// abar at the time step that a visit leads to: 1 beyond the first.
pub(super) fn alpha_bar_at(noise: &NoiseSchedule, t: Option<u32>) -> f64 {
    t.map_or(1.0, |t| noise.alphas_cumprod()[t as usize])
}

/// Variance of x_p given x_t and x_0, from abar_t and abar_p (Ho et al. 2020, eq. 7; Song et al. 2021, eq. 16 with eta = 1).
pub(super) fn posterior_variance(bar: f64, bar_next: f64) -> f64 {
    (1.0 - bar_next) / (1.0 - bar) * (1.0 - bar / bar_next)
}
