//! The plan of a sampler for a process: the f32 tables that the device needs.

use super::prior::{DataMoments, Prior};
use super::process::Process;
use super::sampler::{Action, OdeSpec, Sampler, Stage, StepSpec, Trajectory, Update, discrete_timesteps};
use crate::ops::sampler_step::COEFFICIENTS;
use crate::{Error, Result};

/// The steps of a [`Generator`](super::Generator) from noise to image.
///
/// ```
/// # use degrain::diffusion::processes::Flow;
/// # use degrain::diffusion::samplers::Euler;
/// # use degrain::diffusion::sampler::StepSpec;
/// # use degrain::diffusion::{SamplingPlan, Spacing};
/// // Euler's method from t = 1 to 0 in four steps: x' = x + (t' - t) v.
/// let spec = StepSpec { steps: 4, spacing: Spacing::Leading, offset: 0 };
/// let (plan, warnings) = SamplingPlan::new(&Euler, &Flow::default(), &spec, f32::INFINITY)?;
/// let times: Vec<f64> = plan.stages().iter().map(|stage| stage.time).collect();
/// assert_eq!(times, [1.0, 0.75, 0.5, 0.25]);
/// assert!(warnings.is_empty());
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum SamplingPlan {
    /// Fixed stages.
    Stages(StagePlan),
    /// An equation for the adaptive solver, which chooses its own steps.
    Ode(OdePlan),
}

/// The plan of a sampler with fixed stages. At stage k the network receives the time `times[k]` and
/// the input `inputs[k]` x, and row k of the table moves the state.
#[derive(Clone, Debug, PartialEq)]
pub struct StagePlan {
    /// The stages, `[S]`.
    pub stages: Vec<Stage>,
    /// The times as the network receives them, `[S]`.
    pub times: Vec<f64>,
    /// c_in, the factors of the network's input, `[S]`.
    pub inputs: Vec<f32>,
    /// Coefficients of the operators `sampler_step` and `langevin`, `[S, 12]`.
    pub table: Vec<[f32; COEFFICIENTS as usize]>,
    /// Bound on the magnitude of the predicted image; infinite for none.
    pub clip: f32,
    /// The initial noise.
    pub prior: Prior,
}

/// The plan of the adaptive solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OdePlan {
    /// The equation.
    pub ode: OdeSpec,
    /// The initial noise.
    pub prior: Prior,
}

impl SamplingPlan {
    /// Plans a sampler for a process, and returns the plan with warnings for the user. `clip`
    /// bounds the magnitude of the predicted image: 1 for data in [-1, 1], infinity for no bound.
    /// The adaptive solver does not use it.
    ///
    /// # Errors
    /// [`Error::Config`] for a sampler that does not support this kind of process, a clip that is
    /// not positive, and the errors of [`Sampler::trajectory`].
    pub fn new(
        sampler: &dyn Sampler,
        process: &dyn Process,
        spec: &StepSpec,
        clip: f32,
    ) -> Result<(SamplingPlan, Vec<String>)> {
        let (family, own) = (process.family(), sampler.families());
        if !own.contains(&family) {
            let own: Vec<&str> = own.iter().map(|family| family.describe()).collect();
            return Err(Error::Config(format!(
                "this sampler is for {}, and this model was trained with {} ({})",
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
        let (plan, times) = match sampler.trajectory(process, spec)? {
            Trajectory::Stages(stages) => {
                let times = stages.iter().map(|stage| stage.time).collect();
                (SamplingPlan::Stages(StagePlan::new(process, stages, clip)), times)
            }
            Trajectory::Ode(ode) => (SamplingPlan::Ode(OdePlan { ode, prior: Prior::of(process) }), vec![]),
        };
        let warnings = process.warning().into_iter().chain(sampler.warnings(process, &times)).collect();
        Ok((plan, warnings))
    }

    /// The stages; none for the adaptive solver.
    pub fn stages(&self) -> &[Stage] {
        self.fixed().map_or(&[], |plan| &plan.stages)
    }

    /// The plan of a sampler with fixed stages.
    pub fn fixed(&self) -> Option<&StagePlan> {
        match self {
            SamplingPlan::Stages(plan) => Some(plan),
            SamplingPlan::Ode(_) => None,
        }
    }

    /// Whether sampling adds noise to the initial noise, so that it depends on a seed.
    pub fn adds_noise(&self) -> bool {
        self.stages().iter().any(|stage| match stage.action {
            Action::Move(update) | Action::MoveLearned { update, .. } => update.z != 0.0,
            Action::Correct { .. } => true,
        })
    }

    /// Bound on the magnitude of the predicted image; infinite for none. The adaptive solver has
    /// none: a clip is a kink in the velocity, and Song et al. 2021b (eq. 13) have no clip.
    pub fn clip(&self) -> f32 {
        self.fixed().map_or(f32::INFINITY, |plan| plan.clip)
    }

    /// The initial noise.
    pub fn prior(&self) -> Prior {
        match self {
            SamplingPlan::Stages(plan) => plan.prior,
            SamplingPlan::Ode(plan) => plan.prior,
        }
    }

    /// The time at which sampling starts.
    pub fn first_time(&self) -> Option<f64> {
        match self {
            SamplingPlan::Stages(plan) => plan.stages.first().map(|stage| stage.time),
            SamplingPlan::Ode(plan) => Some(plan.ode.t_range[0]),
        }
    }

    /// The same plan from initial noise with the moments that noised images of this data have:
    /// [`Prior::at`].
    #[must_use]
    pub fn from_data(mut self, process: &dyn Process, data: DataMoments) -> SamplingPlan {
        let Some(first) = self.first_time() else { return self };
        let prior = Prior::at(process, data, first);
        match &mut self {
            SamplingPlan::Stages(plan) => plan.prior = prior,
            SamplingPlan::Ode(plan) => plan.prior = prior,
        }
        self
    }
}

impl StagePlan {
    /// Computes the tables of stages of a process.
    pub fn new(process: &dyn Process, stages: Vec<Stage>, clip: f32) -> StagePlan {
        let inputs: Vec<_> = stages.iter().map(|stage| process.parameterization(stage.time)).collect();
        StagePlan {
            times: inputs.iter().map(|input| input.time).collect(),
            inputs: inputs.iter().map(|input| input.c_in as f32).collect(),
            table: stages.iter().map(|stage| row(process, stage)).collect(),
            stages,
            clip,
            prior: Prior::of(process),
        }
    }
}

/// The row of the operators' table for a stage.
fn row(process: &dyn Process, stage: &Stage) -> [f32; COEFFICIENTS as usize] {
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
