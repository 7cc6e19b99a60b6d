//! Data N(mean, variance), for which the optimal output of a network is known and linear in x, so
//! that the mean and variance of the samples can be computed.

use degrain::diffusion::ode::{Settings, solve};
use degrain::diffusion::process::Marginal;
use degrain::diffusion::sampler::{Action, OdeSpec, Stage, StepSpec};
use degrain::diffusion::{
    BetaSchedule, Discrete, NoiseSchedule, Prediction, Process, ProcessConfig, SamplerName, SamplerOptions,
    SamplingPlan, Spacing, StagePlan,
};

pub fn discrete(schedule: &str, prediction: Prediction) -> Discrete {
    let schedule: BetaSchedule = schedule.parse().unwrap();
    Discrete::new(NoiseSchedule::new(&schedule, 1000, false).unwrap(), prediction).unwrap()
}

/// Every process with its default values, and with the other predictions that it has.
pub fn processes() -> Vec<Box<dyn Process>> {
    let build = |config: ProcessConfig| config.build(|| Ok(discrete("linear", Prediction::Epsilon))).unwrap();
    let defaults = ProcessConfig::all_defaults().into_iter();
    let others = ProcessConfig::all_defaults().into_iter().flat_map(|process| {
        let other = [Prediction::VPrediction, Prediction::Sample].map(|prediction| process.predicting(prediction));
        other.into_iter().filter(move |other| *other != process)
    });
    defaults
        .chain(others)
        .map(build)
        .chain([Box::new(discrete("cosine", Prediction::VPrediction)) as Box<dyn Process>])
        .collect()
}

/// The plan of a sampler, without clipping.
pub fn plan(name: SamplerName, options: SamplerOptions, process: &dyn Process, steps: u32) -> SamplingPlan {
    let spec = StepSpec { steps, spacing: Spacing::Trailing, offset: 0 };
    SamplingPlan::new(&*name.build(&options).unwrap(), process, &spec, f32::INFINITY).unwrap().0
}

/// The row of a stage, in f64, as the operators `sampler_step` and `langevin` take it.
pub fn row(process: &dyn Process, stage: &Stage) -> [f64; 12] {
    let [c0, c1, c2, c3] = process.to_x0_eps(stage.time);
    match stage.action {
        Action::Move(u) => {
            let [h0, h1, h2] = u.h_next;
            [c0, c1, c2, c3, u.x0, u.x, u.eps, u.z, u.h, h0, h1, h2]
        }
        Action::MoveLearned { update: u, log_variance: [largest, smallest] } => {
            [c0, c1, c2, c3, u.x0, u.x, u.eps, u.z, 0.0, 0.0, largest, smallest]
        }
        Action::Correct { rate } => {
            [c0, c1, c2, c3, -1.0 / process.marginal(stage.time).sigma, rate, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        }
    }
}

/// Data N(mean, variance).
#[derive(Clone, Copy)]
pub struct Gaussian {
    pub mean: f64,
    pub variance: f64,
}

impl Gaussian {
    /// (a, b) of E[x_0 | x] = a x + b.
    pub fn image(&self, at: &Marginal) -> (f64, f64) {
        let (total, covariance) = (self.at(at).1, at.alpha * self.variance);
        (covariance / total, self.mean * (1.0 - at.alpha * covariance / total))
    }

    /// (a, b) of the optimal output a x + b of a network.
    pub fn answer(&self, process: &dyn Process, t: f64) -> (f64, f64) {
        let (at, [p, q]) = (process.marginal(t), process.parameterization(t).target);
        let (image, total) = (self.image(&at), self.at(&at).1);
        // E[eps | x] = sigma (x - alpha mean) / total.
        let noise = (at.sigma / total, -at.sigma * at.alpha * self.mean / total);
        (p * image.0 + q * noise.0, p * image.1 + q * noise.1)
    }

    /// Mean and variance of x_t.
    pub fn at(&self, at: &Marginal) -> (f64, f64) {
        (at.alpha * self.mean, at.alpha * at.alpha * self.variance + at.sigma * at.sigma)
    }
}

/// Mean and variance of x after stages with these rows and these outputs a x + b of the network,
/// from the mean and variance of x before.
fn follow(stages: &[Stage], rows: &[[f64; 12]], answers: &[(f64, f64)], start: (f64, f64)) -> (f64, f64) {
    // The state is x and the history h, which is not used before it is written.
    let (mut mean, mut covariance) = ([start.0, 0.0], [[start.1, 0.0], [0.0, 0.0]]);
    for ((stage, c), &(a, b)) in stages.iter().zip(rows).zip(answers) {
        // x_0 and e are each slope x + shift.
        let (image, noise) = ((c[0] + c[1] * a, c[1] * b), (c[2] + c[3] * a, c[3] * b));
        let (matrix, shift, fresh) = if let Action::Correct { .. } = stage.action {
            // In many dimensions the norms equal their expectations.
            let (slope, shift) = (c[4] * noise.0, c[4] * noise.1);
            let size = c[5] / (slope * slope * covariance[0][0] + (slope * mean[0] + shift).powi(2));
            ([[1.0 + size * slope, 0.0], [0.0, 1.0]], [size * shift, 0.0], 2.0 * size)
        } else {
            let of = |w: [f64; 3]| (w[0] * image.0 + w[1] + w[2] * noise.0, w[0] * image.1 + w[2] * noise.1);
            let (moved, kept) = (of([c[4], c[5], c[6]]), of([c[9], c[10], c[11]]));
            ([[moved.0, c[8]], [kept.0, 0.0]], [moved.1, kept.1], c[7] * c[7])
        };
        let times = |v: [f64; 2]| matrix.map(|row| row[0] * v[0] + row[1] * v[1]);
        mean = times(mean);
        mean.iter_mut().zip(shift).for_each(|(mean, shift)| *mean += shift);
        let half = covariance.map(times); // S M', as S is symmetric
        let [first, second] = [times([half[0][0], half[1][0]]), times([half[0][1], half[1][1]])];
        covariance = [[first[0] + fresh, second[0]], [first[1], second[1]]];
    }
    (mean[0], covariance[0][0])
}

/// Mean and variance of the samples of a plan that starts from this mean and variance.
pub fn sampled(process: &dyn Process, plan: &SamplingPlan, data: Gaussian, start: (f64, f64)) -> (f64, f64) {
    if let SamplingPlan::Ode(plan) = plan {
        let OdeSpec { t_range, rtol: relative, atol: absolute } = plan.ode;
        let mut slope = |t: f64, x: &[f64]| {
            let at = process.marginal(t);
            let (answer, [c0, c1, c2, c3]) = (data.answer(process, t), process.to_x0_eps(t));
            let of = |x: &f64| {
                let m = answer.0 * x + answer.1;
                at.alpha_rate * (c0 * x + c1 * m) + at.sigma_rate * (c2 * x + c3 * m)
            };
            Ok(x.iter().map(of).collect())
        };
        let settings = Settings { relative, absolute, rows: 2, ..Settings::default() };
        let deviation = start.1.sqrt();
        let end = solve(&mut slope, t_range, vec![start.0, start.0 + deviation], settings, &mut |_| Ok(())).unwrap().x;
        return (end[0], (end[1] - end[0]).powi(2));
    }
    let stages = plan.stages();
    let rows: Vec<[f64; 12]> = stages.iter().map(|stage| row(process, stage)).collect();
    let answers: Vec<_> = stages.iter().map(|stage| data.answer(process, stage.time)).collect();
    follow(stages, &rows, &answers, start)
}

/// As [`sampled`], with the f32 table that the device gets.
pub fn sampled_by_table(process: &dyn Process, plan: &StagePlan, data: Gaussian, start: (f64, f64)) -> (f64, f64) {
    let rows: Vec<[f64; 12]> = plan.table.iter().map(|row| row.map(f64::from)).collect();
    let answers: Vec<_> = plan.stages.iter().map(|stage| data.answer(process, stage.time)).collect();
    follow(&plan.stages, &rows, &answers, start)
}
