//! DPM-Solver++(2M) with and without noise: against diffusers in float64, and for Gaussian data.

use super::golden;
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::process::Process;
use degrain::diffusion::processes::Edm;
use degrain::diffusion::sampler::{Action, Stage, StepSpec};
use degrain::diffusion::{Discrete, SamplerName, SamplerOptions, SamplingPlan, Spacing};
use serde_json::Value;

fn with_eta(eta: f64) -> SamplerOptions {
    SamplerOptions { eta: Some(eta), ..SamplerOptions::default() }
}

fn plan(process: &Discrete, eta: f64, steps: u32) -> SamplingPlan {
    let sampler = SamplerName::DpmSolver.build(&with_eta(eta)).unwrap();
    let spec = StepSpec { steps, spacing: Spacing::Trailing, offset: 0 };
    SamplingPlan::new(&*sampler, process, &spec, 1.0).unwrap().0
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn dpm_solver_steps_match_diffusers() {
    let golden = golden("multistep.json");
    let mut compared = 0;
    for case in golden["cases"].as_array().unwrap() {
        let (config, _) = SchedulerConfig::from_json(&case["config"].to_string()).unwrap();
        let process = config.process().unwrap();
        let eta = if case["algorithm"] == "sde-dpmsolver++" { 1.0 } else { 0.0 };
        let states = case["states"].as_array().unwrap();
        let plan = plan(&process, eta, states.len() as u32);
        let mut x = numbers(&golden["start"]);
        let mut history = vec![0.0; x.len()];
        for (k, stage) in plan.stages().iter().enumerate() {
            assert_eq!(Some(stage.time), case["timesteps"][k].as_f64());
            let Action::Move(update) = stage.action else { panic!("{stage:?}") };
            // m = p x_0 + q eps and x = alpha x_0 + sigma eps.
            let ([p, q], at) = (process.parameterization(stage.time).target, process.marginal(stage.time));
            let (output, noise) = (numbers(&golden["outputs"][k]), numbers(&golden["noise"][k]));
            let expected = numbers(&states[k]);
            for i in 0..x.len() {
                let x0 = (q * x[i] - at.sigma * output[i]) / (q * at.alpha - p * at.sigma);
                let terms = [update.x0 * x0, update.x * x[i], update.z * noise[i], update.h * history[i]];
                assert_eq!((update.eps, update.h_next), (0.0, [1.0, 0.0, 0.0]));
                (x[i], history[i]) = (terms.iter().sum(), x0);
                // Both sides are float64, and an error of x grows with the terms.
                let size: f64 = terms.iter().map(|term| term.abs()).sum();
                assert!(
                    (x[i] - expected[i]).abs() <= 1e-9 * size,
                    "step {k}: {} is not {} in {case}",
                    x[i],
                    expected[i]
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 8 * 12 * 4);
}

/// EDM has alpha = 1. The formula is that of k-diffusion's `sample_dpmpp_2m_sde` (midpoint).
#[test]
fn dpm_solver_steps_of_edm_match_k_diffusion() {
    let process = Edm::default();
    for eta in [0.0, 0.3, 0.5, 1.0] {
        let sampler = SamplerName::DpmSolver.build(&with_eta(eta)).unwrap();
        let spec = StepSpec { steps: 10, spacing: Spacing::Trailing, offset: 0 };
        let plan = SamplingPlan::new(&*sampler, &process, &spec, 1.0).unwrap().0;
        let sigmas: Vec<f64> = plan.stages().iter().map(|stage| process.marginal(stage.time).sigma).collect();
        for (k, stage) in plan.stages().iter().enumerate() {
            let Action::Move(update) = stage.action else { panic!("{stage:?}") };
            let Some(next) = sigmas.get(k + 1) else {
                assert_eq!((update.x0, update.x, update.z, update.h), (1.0, 0.0, 0.0, 0.0));
                continue;
            };
            let h = (sigmas[k] / next).ln();
            let denoised = -f64::exp_m1(-h - eta * h);
            let second = if k == 0 { 0.0 } else { 0.5 * denoised * h / (sigmas[k - 1] / sigmas[k]).ln() };
            let expected = [
                denoised + second,
                next / sigmas[k] * (-eta * h).exp(),
                next * (-f64::exp_m1(-2.0 * eta * h)).sqrt(),
                -second,
            ];
            for (found, expected) in [update.x0, update.x, update.z, update.h].into_iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "eta {eta}, step {k}: {update:?}");
            }
        }
    }
}

#[test]
fn dpm_solver_starts_from_pure_noise_with_every_amount_of_noise() {
    let zero = r#"{"rescale_betas_zero_snr": true, "prediction_type": "v_prediction"}"#;
    let process = SchedulerConfig::from_json(zero).unwrap().0.process().unwrap();
    for eta in [0.0, 0.5, 1.0] {
        let plan = plan(&process, eta, 20);
        let at = process.marginal(plan.stages()[1].time);
        let Action::Move(update) = plan.stages()[0].action else { panic!("{plan:?}") };
        // The new noise replaces the old one, because the step of lambda is infinite.
        let [kept, new] = if eta == 0.0 { [at.sigma, 0.0] } else { [0.0, at.sigma] };
        assert_eq!(process.marginal(plan.stages()[0].time).alpha, 0.0);
        for (found, expected) in [(update.x0, at.alpha), (update.x, kept), (update.z, new), (update.h, 0.0)] {
            assert!((found - expected).abs() < 1e-12, "eta {eta}: {update:?}");
        }
        let finite = |stage: &Stage| matches!(stage.action, Action::Move(u) if [u.x0, u.x, u.z, u.h].iter().all(|c| c.is_finite()));
        assert!(plan.stages().iter().all(finite), "eta {eta}");
    }
}

/// The variance of samples of N(0, 0.25), whose x_0 given x is known.
fn sampled_variance(process: &Discrete, eta: f64, steps: u32) -> f64 {
    let data = 0.25;
    let plan = plan(process, eta, steps);
    // Of x, of the history, and their covariance.
    let first = process.marginal(plan.stages()[0].time);
    let mut of = [first.alpha.powi(2) * data + first.sigma.powi(2), 0.0, 0.0];
    for stage in plan.stages() {
        let Action::Move(update) = stage.action else { panic!("{stage:?}") };
        let at = process.marginal(stage.time);
        let x0 = at.alpha * data / (at.alpha.powi(2) * data + at.sigma.powi(2));
        let (x, h) = (update.x0 * x0 + update.x, update.h);
        of = [
            x * x * of[0] + 2.0 * x * h * of[2] + h * h * of[1] + update.z * update.z,
            x0 * x0 * of[0],
            x0 * (x * of[0] + h * of[2]),
        ];
    }
    of[0]
}

#[test]
fn dpm_solver_samples_gaussian_data_with_every_amount_of_noise() {
    let process = SchedulerConfig::default().process().unwrap();
    for eta in [0.0, 0.5, 1.0] {
        // With eta of 0.5 and 1 the error changes its sign between 20 and 30 steps: it falls after that.
        let errors = [100, 250, 500].map(|steps| sampled_variance(&process, eta, steps) - 0.25);
        let sizes = errors.map(f64::abs);
        assert!(sizes[0] > 2.0 * sizes[1] && sizes[1] > 2.0 * sizes[2] && sizes[2] < 1e-3, "{eta}: {errors:?}");
    }
}

#[test]
fn the_first_step_of_dpm_solver_with_eta_1_is_that_of_ddpm() {
    let process = SchedulerConfig::default().process().unwrap();
    let ddpm = SamplerName::Ddpm.build(&SamplerOptions::default()).unwrap();
    let spec = StepSpec { steps: 20, spacing: Spacing::Trailing, offset: 0 };
    let ddpm = SamplingPlan::new(&*ddpm, &process, &spec, 1.0).unwrap().0;
    let first = |plan: &SamplingPlan| match plan.stages()[0].action {
        Action::Move(update) => [update.x0, update.x, update.z],
        other => panic!("{other:?}"),
    };
    for (found, expected) in first(&plan(&process, 1.0, 20)).into_iter().zip(first(&ddpm)) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}

#[test]
fn dpm_solver_adds_noise_only_with_eta_and_never_in_the_last_step() {
    let process = SchedulerConfig::default().process().unwrap();
    for eta in [0.0, 0.3, 1.0] {
        let plan = plan(&process, eta, 20);
        let noise = plan.stages().iter().map(|stage| match stage.action {
            Action::Move(update) => update.z,
            other => panic!("{other:?}"),
        });
        let noise: Vec<f64> = noise.collect();
        assert!(noise[..19].iter().all(|&z| (z > 0.0) == (eta > 0.0)) && noise[19] == 0.0, "{eta}: {noise:?}");
    }
}
