//! The interface of a process: the path from image to noise, and the input and target of the
//! network on this path.
//!
//! Every process here is a Gaussian path. The network receives a scaled x_t and predicts a weighted
//! sum of x_0 and eps:
//!
//! ```text
//! x_t = alpha(t) x_0 + sigma(t) eps
//! F(c_in(t) x_t, time(t)) = p(t) x_0 + q(t) eps
//! ```
//!
//! The training tables, the conversion of the network's output, and every sampler follow from these
//! functions. DDPM's discrete steps (Ho et al. 2020), stochastic differential equations (Song et
//! al. 2021b), EDM (Karras et al. 2022) and flow matching (Lipman et al. 2023) differ only in these
//! functions.

use super::schedule::NoiseSchedule;
use std::fmt::Debug;

/// A process at one time: x_t = alpha x_0 + sigma eps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marginal {
    /// Factor of the image.
    pub alpha: f64,
    /// Factor of the noise.
    pub sigma: f64,
    /// d alpha / d t.
    pub alpha_rate: f64,
    /// d sigma / d t.
    pub sigma_rate: f64,
}

impl Marginal {
    /// sigma / alpha, which makes processes comparable; infinite in pure noise.
    pub fn sigma_ratio(&self) -> f64 {
        self.sigma / self.alpha
    }

    /// f of the forward equation dx = f x dt + g dw with this path (Song et al. 2021b, eq. 5):
    /// alpha' / alpha.
    pub fn drift(&self) -> f64 {
        self.alpha_rate / self.alpha
    }

    /// g² of the same equation: 2 sigma sigma' - 2 f sigma².
    pub fn diffusion(&self) -> f64 {
        2.0 * self.sigma * (self.sigma_rate - self.drift() * self.sigma)
    }
}

/// Input and target of the network at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameterization {
    /// Factor of x_t at the network's input.
    pub c_in: f64,
    /// The time as the network receives it.
    pub time: f64,
    /// (p, q): the network predicts p x_0 + q eps.
    pub target: [f64; 2],
}

/// Change of variables for ODE solvers: y = x / scale as a function of the coordinate c, with
/// `dy/dc = slope[0] x_0 + slope[1] eps`. A solver's step is straight in these variables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SolverCoords {
    /// Divisor of x.
    pub scale: f64,
    /// The coordinate c, the solver's independent variable.
    pub coordinate: f64,
    /// Weights of x_0 and eps in dy/dc.
    pub slope: [f64; 2],
}

/// Kinds of processes. Each sampler lists the kinds that it supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// T timesteps, variance preserving: epsilon, x_0 or v is predicted.
    Discrete,
    /// A stochastic differential equation in continuous time.
    Sde,
    /// The noise level itself is the time.
    Edm,
    /// A straight path from noise to image.
    Flow,
}

impl Family {
    /// Description for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Family::Discrete => "a process with discrete timesteps",
            Family::Sde => "a stochastic differential equation",
            Family::Edm => "EDM",
            Family::Flow => "flow matching",
        }
    }
}

/// A Gaussian path from image to noise, with the input and target of the network on it.
pub trait Process: Debug {
    /// A description for messages and for the manifest of a run.
    fn describe(&self) -> String;

    /// Its kind.
    fn family(&self) -> Family;

    /// First and last time of samplers: noise, image.
    fn t_range(&self) -> [f64; 2];

    /// Smallest time used in training (t_eps). Likelihoods integrate from here; the noise at this
    /// time is negligible.
    fn t_eps(&self) -> f64 {
        self.t_range()[1]
    }

    /// The path at a time.
    fn marginal(&self, t: f64) -> Marginal;

    /// The time at which sigma / alpha has a value: the inverse of [`Marginal::sigma_ratio`].
    fn time_of_ratio(&self, ratio: f64) -> f64;

    /// Input and target of the network at a time.
    fn parameterization(&self, t: f64) -> Parameterization;

    /// The times that training draws from, all with equal probability.
    fn training_times(&self) -> Vec<f64>;

    /// Standard deviation of the initial noise of samplers.
    fn prior_std(&self) -> f64 {
        1.0
    }

    /// Times at which the `steps` steps of a solver start, noise first. The last step ends at the
    /// image, which is not in the list. Default: Karras et al. 2022, eq. 5 (rho = 7).
    fn timesteps(&self, steps: u32) -> Vec<f64> {
        let [noise, image] = self.t_range().map(|t| self.marginal(t).sigma_ratio().powf(1.0 / 7.0));
        let part = |k: u32| if steps > 1 { f64::from(k) / f64::from(steps - 1) } else { 0.0 };
        (0..steps).map(|k| self.time_of_ratio((noise + part(k) * (image - noise)).powi(7))).collect()
    }

    /// The solver variables at a time. By default y = x / alpha and c = sigma / alpha, with dy/dc =
    /// eps (Song et al. 2021a, eq. 14).
    fn solver_coords(&self, t: f64) -> SolverCoords {
        let at = self.marginal(t);
        SolverCoords { scale: at.alpha, coordinate: at.sigma_ratio(), slope: [0.0, 1.0] }
    }

    /// The solver variables at the image, where sigma is 0.
    fn image_coords(&self) -> SolverCoords {
        SolverCoords { scale: 1.0, coordinate: 0.0, slope: self.solver_coords(self.t_range()[1]).slope }
    }

    /// The noise schedule of a discrete process; `None` for continuous time.
    fn schedule(&self) -> Option<&NoiseSchedule> {
        None
    }

    /// (c0, c1, c2, c3) such that x_0 = c0 x + c1 m and eps = c2 x + c3 m, for the noisy image x
    /// and the network's output m. Both are linear in x_0 and eps.
    fn to_x0_eps(&self, t: f64) -> [f64; 4] {
        let (at, [p, q]) = (self.marginal(t), self.parameterization(t).target);
        let determinant = at.alpha * q - at.sigma * p;
        [q, -at.sigma, -p, at.alpha].map(|c| c / determinant)
    }

    /// A warning for the user before training, if any.
    fn warning(&self) -> Option<String> {
        None
    }
}

/// Tables for training. Entry k belongs to training time k.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingTables {
    /// The times as the network receives them, `[T]`.
    pub times: Vec<f64>,
    /// (a, b), [T, 2]: the network's input is a x_0 + b eps.
    pub input_factors: Vec<[f32; 2]>,
    /// (p, q), [T, 2]: its target is p x_0 + q eps.
    pub target: Vec<[f32; 2]>,
}

impl TrainingTables {
    /// Computes the tables of a process.
    pub fn new(process: &dyn Process) -> TrainingTables {
        let times = process.training_times();
        let views: Vec<Parameterization> = times.iter().map(|&t| process.parameterization(t)).collect();
        let input_factors = |(&t, view): (&f64, &Parameterization)| {
            let at = process.marginal(t);
            [at.alpha, at.sigma].map(|factor| (view.c_in * factor) as f32)
        };
        TrainingTables {
            input_factors: times.iter().zip(&views).map(input_factors).collect(),
            target: views.iter().map(|view| view.target.map(|x| x as f32)).collect(),
            times: views.iter().map(|view| view.time).collect(),
        }
    }
}
