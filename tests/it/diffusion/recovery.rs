//! Every sampler recovers Gaussian data along every process that it supports, and the error falls
//! with the number of steps.

use super::linear::{Gaussian, discrete, plan, processes, row, sampled, sampled_by_table};
use super::refusal;
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::process::Family;
use degrain::diffusion::processes::{Edm, Ve, Vp};
use degrain::diffusion::sampler::{Action, Sampler, StepSpec};
use degrain::diffusion::{
    BetaSchedule, DenoiserSpec, NoiseSchedule, Prediction, Prior, Process, SamplerName, SamplerOptions, Sampling,
    SamplingOptions, SamplingPlan, Spacing, Variance, inversion,
};

const DATA: Gaussian = Gaussian { mean: 0.3, variance: 0.25 };

/// Mean and variance of MNIST: the mean is larger than the standard deviation.
pub const DARK: Gaussian = Gaussian { mean: -0.74, variance: 0.62 * 0.62 };

fn built(name: SamplerName) -> Box<dyn Sampler> {
    name.build(&SamplerOptions::default()).unwrap()
}

/// Every sampler with every process that it supports.
fn pairs() -> Vec<(SamplerName, Box<dyn Process>)> {
    let of = |&name: &SamplerName| {
        let families = built(name).families();
        processes().into_iter().filter(|p| families.contains(&p.family())).map(move |p| (name, p)).collect::<Vec<_>>()
    };
    SamplerName::ALL.iter().flat_map(of).collect()
}

/// Error of mean and variance with 50, 200 and 1000 steps.
fn errors(
    name: SamplerName,
    options: SamplerOptions,
    process: &dyn Process,
    start: (f64, f64),
    expected: f64,
) -> [f64; 3] {
    [50, 200, 1000].map(|steps| {
        let (mean, variance) = sampled(process, &plan(name, options, process, steps), DATA, start);
        (mean - DATA.mean).abs().max((variance - expected).abs())
    })
}

/// The variance of a sampler's samples in the limit of many steps: the data's, which Langevin steps
/// increase.
fn limit(name: SamplerName, snr: f64) -> f64 {
    if name == SamplerName::PredictorCorrector { DATA.variance * (1.0 + snr * snr) } else { DATA.variance }
}

#[test]
fn samplers_are_all_tested() {
    for &name in SamplerName::ALL {
        let tried = pairs().iter().filter(|(other, _)| *other == name).count();
        assert!(tried >= built(name).families().len() && tried > 0, "{}", name.name());
    }
}

#[test]
fn samplers_recover_a_gaussian_from_the_prior() {
    for (name, process) in pairs() {
        let start = (0.0, process.prior_std().powi(2));
        let errors = errors(name, SamplerOptions::default(), &*process, start, limit(name, 0.16));
        // The prior lacks the part of the image that remains at the noisiest time: 0.003 of the
        // mean for the variance exploding equation.
        assert!(errors[2] < 5e-3, "{} for {}: {errors:?}", name.name(), process.describe());
    }
}

#[test]
fn sampler_errors_fall_with_the_number_of_steps() {
    for (name, process) in pairs() {
        let start = DATA.at(&process.marginal(process.t_range()[0]));
        let errors = errors(name, SamplerOptions::default(), &*process, start, limit(name, 0.16));
        let what = format!("{} for {}: {errors:?}", name.name(), process.describe());
        // The last step starts from noise of variance up to 1e-4, which the solver leaves in the
        // samples, so that the error stops falling there.
        assert!(errors.windows(2).all(|e| e[1] < 0.4 * e[0] || e[1] < 1.5e-4), "{what}");
        assert!(errors[2] < 4e-3, "{what}");
    }
}

#[test]
fn predictor_corrector_error_matches_its_snr() {
    for snr in [0.02, 0.1, 0.3] {
        let options = SamplerOptions { snr: Some(snr), ..SamplerOptions::default() };
        for process in [&Vp::default() as &dyn Process, &Ve::default()] {
            let start = (0.0, process.prior_std().powi(2));
            let errors = errors(
                SamplerName::PredictorCorrector,
                options,
                process,
                start,
                limit(SamplerName::PredictorCorrector, snr),
            );
            assert!(errors[2] < 3e-3, "{snr}: {errors:?}");
        }
    }
}

#[test]
fn heun_churn_keeps_the_distribution() {
    let process = Edm::default();
    for churn in [0.0, 10.0, 40.0, 1e9] {
        let options = SamplerOptions { churn: Some(churn), ..SamplerOptions::default() };
        let errors = errors(SamplerName::Heun, options, &process, (0.0, 6400.0), DATA.variance);
        // With the largest possible noise, a factor of sqrt(2) in each step, 200 steps are not
        // enough.
        assert!(churn == 1e9 || errors[1] < 2.5e-3, "{churn}: {errors:?}");
        assert!(errors[2] < 2.5e-3, "{churn}: {errors:?}");
        let stages = plan(SamplerName::Heun, options, &process, 50);
        let stages = stages.stages();
        let fresh = |k: usize| match stages[k].action {
            Action::Move(update) => update.z,
            _ => panic!("Heun's stages move"),
        };
        assert_eq!(stages.len(), 99);
        // The noise between the end of a step and the beginning of the next.
        for k in (1..98).step_by(2) {
            assert_eq!(fresh(k) > 0.0, churn > 0.0);
            let raised = (stages[k].time.powi(2) + fresh(k).powi(2)).sqrt();
            assert!((stages[k + 1].time - raised).abs() < 1e-12 * raised, "{churn} {k}");
            assert_eq!(fresh(k - 1), 0.0);
        }
        let most = (1.0 + (churn / 50.0).min(2f64.sqrt() - 1.0)) * stages[97].time;
        assert!((stages[98].time - most).abs() < 1e-12 && fresh(98) == 0.0);
    }
}

#[test]
fn edm_samples_dark_images_with_their_mean_and_variance() {
    let rms = DARK.mean.hypot(DARK.variance.sqrt());
    let process = Edm { sigma_data: Some(rms), ..Edm::default() };
    // The initial noise lacks the mean of x_0, of which the flow leaves this share in the samples.
    let missing = DARK.mean.abs() * (DARK.variance / (DARK.variance + 6400.0)).sqrt();
    for (name, steps, error) in
        [(SamplerName::Heun, 18, 0.04), (SamplerName::Heun, 200, 5e-4), (SamplerName::Ode, 1, 1e-4)]
    {
        let plan = plan(name, SamplerOptions::default(), &process, steps);
        near(sampled(&process, &plan, DARK, (0.0, 6400.0)), DARK, missing + error);
    }
}

#[test]
fn dpm_solver_and_heun_are_better_than_first_order_in_few_steps() {
    let process = discrete("linear", Prediction::Epsilon);
    let start = DATA.at(&process.marginal(999.0));
    let error = |name| {
        let (_, variance) = sampled(&process, &plan(name, SamplerOptions::default(), &process, 50), DATA, start);
        (variance - DATA.variance).abs()
    };
    assert!(10.0 * error(SamplerName::DpmSolver) < error(SamplerName::Ddim));
    assert!(2.0 * error(SamplerName::Heun) < error(SamplerName::Euler));
}

/// A clipped image goes with the noise (x - alpha x_0) / sigma, so that x_t is their sum: no stage
/// uses the network's own noise, which belongs to the image before the clip.
#[test]
fn solvers_with_fixed_steps_compute_the_noise_from_the_clipped_image() {
    let solvers = [SamplerName::Euler, SamplerName::Heun, SamplerName::Midpoint, SamplerName::DpmSolver];
    for (name, process) in pairs().into_iter().filter(|(name, _)| solvers.contains(name)) {
        for stage in plan(name, SamplerOptions::default(), &*process, 20).stages() {
            let Action::Move(update) = stage.action else { panic!("{} moves", name.name()) };
            assert_eq!((update.eps, update.h_next[2]), (0.0, 0.0), "{} for {}", name.name(), process.describe());
        }
    }
}

#[test]
fn sampling_plan_tables_match_their_stages() {
    for (name, process) in pairs() {
        let plan = plan(name, SamplerOptions::default(), &*process, 20);
        assert_eq!(plan.prior(), Prior { mean: 0.0, std: process.prior_std() as f32 });
        let Some(plan) = plan.fixed() else { continue };
        assert_eq!((plan.table.len(), plan.times.len()), (plan.stages.len(), plan.stages.len()));
        for (k, stage) in plan.stages.iter().enumerate() {
            assert_eq!(plan.table[k], row(&*process, stage).map(|c| c as f32), "{} {k}", name.name());
            let view = process.parameterization(stage.time);
            assert_eq!((plan.times[k], plan.inputs[k]), (view.time, view.c_in as f32));
            assert!(plan.table[k].iter().all(|c| c.is_finite()));
        }
        // The last stage that changes x adds no noise, except for DDPM.
        if let Some(Action::Move(last)) = plan.stages.last().map(|stage| stage.action) {
            assert!(last.z == 0.0 || name == SamplerName::Ddpm, "{}", name.name());
        }
    }
}

#[test]
fn samplers_refuse_other_processes() {
    let mut refused = 0;
    let spec = StepSpec { steps: 20, spacing: Spacing::Leading, offset: 0 };
    let none = SamplingOptions::default();
    let sampling =
        Sampling { options: none.options, ..Sampling::resolve(none, none, &DenoiserSpec::default()).unwrap() };
    for &name in SamplerName::ALL {
        let sampler = built(name);
        for process in processes() {
            let result = SamplingPlan::new(&*sampler, &*process, &spec, 1.0);
            if sampler.families().contains(&process.family()) {
                result.unwrap();
                continue;
            }
            let problem = refusal(result);
            let own = sampler.families().iter().map(|family| family.describe());
            for part in [process.family().describe(), &process.describe()].into_iter().chain(own) {
                assert!(problem.contains(part), "{part}: {problem}");
            }
            let named = Sampling { sampler: name, steps: 20, ..sampling }.plan(&*process).unwrap_err().to_string();
            assert!(named.contains(name.name()), "{named}");
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
    // Only EDM has churn.
    let churn = SamplerOptions { churn: Some(1.0), ..SamplerOptions::default() };
    let heun = SamplerName::Heun.build(&churn).unwrap();
    assert!(refusal(SamplingPlan::new(&*heun, &Vp::default(), &spec, 1.0)).contains("churn = 1 is for EDM"));
}

#[test]
fn sampler_options_out_of_range_are_refused() {
    let of = |key: &str, value: f64| -> SamplerOptions {
        serde_json::from_value(serde_json::json!({ key: value })).unwrap()
    };
    for (name, key, wrong) in [
        (SamplerName::Heun, "churn", -1.0),
        (SamplerName::PredictorCorrector, "snr", 0.0),
        (SamplerName::PredictorCorrector, "snr", 1.0),
        (SamplerName::Ode, "rtol", 0.0),
        (SamplerName::Ode, "atol", -1e-5),
        (SamplerName::Ode, "rtol", 1.0),
    ] {
        assert!(refusal(name.build(&of(key, wrong))).contains(&format!("{key} = {wrong}")), "{key}");
        for &other in SamplerName::ALL.iter().filter(|&&other| other != name) {
            assert!(refusal(other.build(&of(key, 0.5))).contains(&format!("no --{key}")), "{} {key}", other.name());
        }
    }
}

const PREDICTIONS: [Prediction; 3] = [Prediction::Epsilon, Prediction::Sample, Prediction::VPrediction];

/// The samplers of the discrete process with a fixed number of steps.
fn discrete_samplers() -> impl Iterator<Item = SamplerName> {
    let of = |name: &SamplerName| *name != SamplerName::Ode && built(*name).families().contains(&Family::Discrete);
    SamplerName::ALL.iter().copied().filter(of)
}

fn config(sampler: SamplerName, prediction: Prediction, variance: Variance) -> SchedulerConfig {
    let mut options = SamplerOptions::default();
    if sampler == SamplerName::Ddpm {
        options.variance_type = Some(variance);
    }
    SchedulerConfig { sampler, prediction, options, clip: None, ..SchedulerConfig::default() }
}

/// Mean and variance of samples from N(0, 1).
fn sampled_by(config: &SchedulerConfig, steps: u32, data: Gaussian) -> (f64, f64) {
    let (plan, _) = config.plan(steps).unwrap();
    sampled_by_table(&config.process().unwrap(), plan.fixed().unwrap(), data, (0.0, 1.0))
}

#[track_caller]
fn near(found: (f64, f64), expected: Gaussian, tolerance: f64) {
    let error = (found.0 - expected.mean).abs().max((found.1 - expected.variance).abs());
    assert!(error <= tolerance, "{found:?} differs by {error:e} from {} and {}", expected.mean, expected.variance);
}

#[test]
fn samplers_find_a_single_point_in_any_number_of_steps() {
    let point = Gaussian { mean: 0.7, variance: 0.0 };
    for prediction in PREDICTIONS {
        for sampler in discrete_samplers() {
            for steps in [2, 10, 50, 1000] {
                near(sampled_by(&config(sampler, prediction, Variance::FixedSmall), steps, point), point, 2e-5);
            }
        }
    }
}

#[test]
fn ddpm_with_fixed_large_keeps_standard_normal_data() {
    for prediction in PREDICTIONS {
        for steps in [10, 50, 1000] {
            let config = config(SamplerName::Ddpm, prediction, Variance::FixedLarge);
            let data = Gaussian { mean: 0.0, variance: 1.0 };
            // The last step adds no noise, so that the noise of timestep 0 is missing.
            near(sampled_by(&config, steps, data), Gaussian { variance: 1.0 - 1e-4, ..data }, 1e-5);
        }
    }
}

#[test]
fn ddpm_and_ddim_recover_gaussians_with_all_steps() {
    for prediction in PREDICTIONS {
        for (mean, std) in [(0.3, 0.5), (-0.7, 0.2), (0.0, 1.0)] {
            let data = Gaussian { mean, variance: std * std };
            let recovers = |sampler, variance| {
                near(sampled_by(&config(sampler, prediction, variance), 1000, data), data, 0.02);
            };
            recovers(SamplerName::Ddpm, Variance::FixedSmall);
            recovers(SamplerName::Ddpm, Variance::FixedLarge);
            recovers(SamplerName::Ddim, Variance::FixedSmall);
        }
    }
}

#[test]
fn ddim_errors_fall_with_the_number_of_steps_for_every_eta() {
    let data = Gaussian { mean: 0.0, variance: 0.25 };
    for eta in [0.0, 0.5, 1.0] {
        // With this spacing the first step is the last timestep, so that steps are the only cause
        // of error.
        let mut config = config(SamplerName::Ddim, Prediction::Epsilon, Variance::FixedSmall);
        config.options.eta = Some(eta);
        config.spacing = Spacing::Trailing;
        let errors = [20, 100, 500].map(|steps| (sampled_by(&config, steps, data).1 - data.variance).abs());
        assert!(errors[0] > 2.0 * errors[1] && errors[1] > 2.0 * errors[2] && errors[2] < 0.02, "{errors:?}");
    }
}

#[test]
fn ddim_multiplies_standard_normal_data_by_cosines() {
    // x_0 = sqrt(alpha_bar) x, eps = sqrt(1 - alpha_bar) x: a step multiplies by the cosine of the
    // difference of the angles.
    let data = Gaussian { mean: 0.0, variance: 1.0 };
    for schedule in [BetaSchedule::default(), BetaSchedule::Cosine] {
        let noise = NoiseSchedule::new(&schedule, 1000, false).unwrap();
        let angle = |t: i64| if t < 0 { 0.0 } else { noise.alphas_cumprod()[t as usize].sqrt().acos() };
        let config =
            SchedulerConfig { schedule, ..config(SamplerName::Ddim, Prediction::VPrediction, Variance::FixedSmall) };
        let variance: f64 = (0..50).map(|k| (angle(20 * k) - angle(20 * k - 20)).cos().powi(2)).product();
        near(sampled_by(&config, 50, data), Gaussian { variance, ..data }, 1e-5);
    }
}

/// Images become the noise from which they are sampled, in few steps too.
#[test]
fn inversion_turns_images_into_their_noise() {
    let process = discrete("linear", Prediction::VPrediction);
    let (mean, variance) = DARK.at(&process.marginal(999.0));
    let errors = [10, 50, 1000].map(|steps| {
        let spec = StepSpec { steps, spacing: Spacing::Trailing, offset: 0 };
        let plan = inversion::plan(&process, &spec).unwrap();
        assert_eq!(plan.fixed().unwrap().stages.len(), steps as usize);
        let found = sampled(&process, &plan, DARK, (DARK.mean, DARK.variance));
        (found.0 - mean).abs().max((found.1 - variance).abs())
    });
    assert!(errors[0] < 0.1 && errors[1] < 0.08 && errors[2] < 0.01, "{errors:?}");
}

#[test]
fn samplers_give_equal_results_for_all_predictions() {
    for sampler in discrete_samplers() {
        let of = |prediction| sampled_by(&config(sampler, prediction, Variance::FixedSmall), 50, DATA);
        let (mean, variance) = of(Prediction::Sample);
        PREDICTIONS.iter().for_each(|&prediction| near(of(prediction), Gaussian { mean, variance }, 1e-5));
    }
}
