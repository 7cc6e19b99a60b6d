//! Data N(mean, variance), for which the best prediction is linear in x and known: samplers must give the data back.

use super::linear::follow;
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::process::Family;
use degrain::diffusion::{
    BetaSchedule, NoiseSchedule, Prediction, Process, SamplerName, SamplerOptions, Spacing, Variance,
};

const PREDICTIONS: [Prediction; 3] = [Prediction::Epsilon, Prediction::Sample, Prediction::VPrediction];

/// (a, b) of the best prediction a x + b for data N(mean, variance).
fn best(prediction: Prediction, bar: f64, mean: f64, variance: f64) -> (f64, f64) {
    // x_t = sqrt(bar) x_0 + sqrt(1 - bar) eps: regression of x_0 and of eps on it.
    let total = bar * variance + 1.0 - bar;
    let image = (bar.sqrt() * variance / total, mean - bar * variance * mean / total);
    let noise = ((1.0 - bar).sqrt() / total, -(1.0 - bar).sqrt() / total * bar.sqrt() * mean);
    match prediction {
        Prediction::Epsilon => noise,
        Prediction::Sample => image,
        Prediction::VPrediction => {
            let v = |noise: f64, image: f64| bar.sqrt() * noise - (1.0 - bar).sqrt() * image;
            (v(noise.0, image.0), v(noise.1, image.1))
        }
    }
}

/// The samplers of discrete time steps whose number is fixed.
fn samplers() -> impl Iterator<Item = SamplerName> {
    let serves = |name: &SamplerName| {
        let families = name.build(&SamplerOptions::default()).unwrap().families();
        *name != SamplerName::Ode && families.contains(&Family::Discrete)
    };
    SamplerName::ALL.iter().copied().filter(serves)
}

/// Mean and variance of what comes out of N(0, 1), by the table as the device gets it.
fn sampled(config: &SchedulerConfig, spec: u32, mean: f64, variance: f64) -> (f64, f64) {
    let (plan, _) = config.plan(spec).unwrap();
    let plan = plan.fixed().unwrap();
    let (noise, process) = (config.noise_schedule().unwrap(), config.process().unwrap());
    let rows: Vec<[f64; 12]> = plan.table.iter().map(|row| row.map(f64::from)).collect();
    let answer = |&t: &f64| {
        let bar = if t.fract() == 0.0 { noise.alphas_cumprod()[t as usize] } else { process.marginal(t).alpha.powi(2) };
        best(config.prediction, bar, mean, variance)
    };
    let answers: Vec<(f64, f64)> = plan.times.iter().map(answer).collect();
    follow(&plan.stages, &rows, &answers, (0.0, 1.0))
}

fn config(sampler: SamplerName, prediction: Prediction, variance: Variance) -> SchedulerConfig {
    let mut options = SamplerOptions::default();
    if sampler == SamplerName::Ddpm {
        options.variance_type = Some(variance);
    }
    SchedulerConfig { sampler, prediction, options, clip: None, ..SchedulerConfig::default() }
}

#[track_caller]
fn near(found: (f64, f64), expected: (f64, f64), tolerance: f64) {
    let error = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
    assert!(error <= tolerance, "{found:?} is not {expected:?}: {error:e}");
}

#[test]
fn a_single_point_is_found_in_any_number_of_steps() {
    for prediction in PREDICTIONS {
        for sampler in samplers() {
            for spec in [2, 10, 50, 1000] {
                let config = config(sampler, prediction, Variance::FixedSmall);
                near(sampled(&config, spec, 0.7, 0.0), (0.7, 0.0), 2e-5);
            }
        }
    }
}

#[test]
fn standard_normal_data_is_kept_by_fixed_large() {
    for prediction in PREDICTIONS {
        for spec in [10, 50, 1000] {
            let config = config(SamplerName::Ddpm, prediction, Variance::FixedLarge);
            // The last step adds no noise: what is missing is the noise of time step 0.
            near(sampled(&config, spec, 0.0, 1.0), (0.0, 1.0 - 1e-4), 1e-5);
        }
    }
}

#[test]
fn a_gaussian_is_recovered_by_all_steps() {
    for prediction in PREDICTIONS {
        for (mean, deviation) in [(0.3, 0.5), (-0.7, 0.2), (0.0, 1.0)] {
            let data = (mean, deviation * deviation);
            let of = |sampler, variance| sampled(&config(sampler, prediction, variance), 1000, data.0, data.1);
            near(of(SamplerName::Ddpm, Variance::FixedSmall), data, 0.02);
            near(of(SamplerName::Ddpm, Variance::FixedLarge), data, 0.02);
            near(of(SamplerName::Ddim, Variance::FixedSmall), data, 0.02);
        }
    }
}

/// The spacing whose first step is the last time step, so that steps are the only cause of error.
fn ddim_error(spec: u32, eta: f64) -> f64 {
    let mut config = config(SamplerName::Ddim, Prediction::Epsilon, Variance::FixedSmall);
    config.options.eta = Some(eta);
    config.spacing = Spacing::Trailing;
    (sampled(&config, spec, 0.0, 0.25).1 - 0.25).abs()
}

#[test]
fn the_error_falls_with_the_number_of_steps() {
    for eta in [0.0, 0.5, 1.0] {
        let errors = [20, 100, 500].map(|spec| ddim_error(spec, eta));
        assert!(errors[0] > 2.0 * errors[1] && errors[1] > 2.0 * errors[2] && errors[2] < 0.02, "{errors:?}");
    }
}

#[test]
fn ddim_turns_standard_normal_data_by_angles() {
    // x_0 = sqrt(bar) x, e = sqrt(1 - bar) x: a step is the cosine of the difference of angles.
    for schedule in [BetaSchedule::default(), BetaSchedule::Cosine] {
        let noise = NoiseSchedule::new(&schedule, 1000, false).unwrap();
        let angle = |t: i64| if t < 0 { 0.0 } else { noise.alphas_cumprod()[t as usize].sqrt().acos() };
        let config =
            SchedulerConfig { schedule, ..config(SamplerName::Ddim, Prediction::VPrediction, Variance::FixedSmall) };
        let expected: f64 = (0..50).map(|k| (angle(20 * k) - angle(20 * k - 20)).cos().powi(2)).product();
        near(sampled(&config, 50, 0.0, 1.0), (0.0, expected), 1e-5);
    }
}

#[test]
fn all_predictions_sample_alike() {
    for sampler in samplers() {
        let of = |prediction| sampled(&config(sampler, prediction, Variance::FixedSmall), 50, 0.3, 0.25);
        PREDICTIONS.iter().for_each(|&prediction| near(of(prediction), of(Prediction::Sample), 1e-5));
    }
}
