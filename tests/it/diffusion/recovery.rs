//! Every sampler gives Gaussian data back along every process that it is for, and better so with more steps.

use super::linear::{Gaussian, discrete, plan, processes, row, sampled};
use super::refusal;
use degrain::diffusion::processes::{Edm, Ve, Vp};
use degrain::diffusion::sampler::{Action, Sampler, StepSpec};
use degrain::diffusion::{Prediction, Process, SamplerName, SamplerOptions, SamplingPlan, Spacing};

const DATA: Gaussian = Gaussian { mean: 0.3, variance: 0.25 };

fn built(name: SamplerName) -> Box<dyn Sampler> {
    name.build(&SamplerOptions::default()).unwrap()
}

/// Every sampler with every process of a kind that it is for.
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

/// Variance that a sampler leads to in the limit of many steps: that of the data, but for the width that Langevin steps leave.
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
        // What is left of the image at the start of the span is not in the prior: 0.003 in the mean, for the variance exploding equation.
        assert!(errors[2] < 5e-3, "{} for {}: {errors:?}", name.name(), process.describe());
    }
}

#[test]
fn sampler_errors_fall_with_the_number_of_steps() {
    for (name, process) in pairs() {
        let start = DATA.at(&process.marginal(process.t_range()[0]));
        let errors = errors(name, SamplerOptions::default(), &*process, start, limit(name, 0.16));
        let what = format!("{} for {}: {errors:?}", name.name(), process.describe());
        // The last step is made from noise of variance up to 1e-4, and the solver leaves it: below that nothing falls.
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
        // With as much noise as there can be, a factor sqrt(2) at each step, 200 steps are few.
        assert!(churn == 1e9 || errors[1] < 2.5e-3, "{churn}: {errors:?}");
        assert!(errors[2] < 2.5e-3, "{churn}: {errors:?}");
        let stages = plan(SamplerName::Heun, options, &process, 50);
        let stages = stages.stages();
        let fresh = |k: usize| match stages[k].action {
            Action::Move(update) => update.z,
            _ => panic!("Heun's stages move"),
        };
        assert_eq!(stages.len(), 99);
        // The noise between a step's end and the next one's beginning.
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

#[test]
fn sampling_plan_tables_match_their_stages() {
    for (name, process) in pairs() {
        let plan = plan(name, SamplerOptions::default(), &*process, 20);
        assert_eq!(plan.prior_std(), process.prior_std() as f32);
        let Some(plan) = plan.fixed() else { continue };
        assert_eq!((plan.table.len(), plan.times.len()), (plan.stages.len(), plan.stages.len()));
        for (k, stage) in plan.stages.iter().enumerate() {
            assert_eq!(plan.table[k], row(&*process, stage).map(|c| c as f32), "{} {k}", name.name());
            let view = process.parameterization(stage.time);
            assert_eq!((plan.times[k], plan.inputs[k]), (view.time, view.c_in as f32));
            assert!(plan.table[k].iter().all(|c| c.is_finite()));
        }
        // The last stage that moves makes no noise, and most end at the predicted image.
        if let Some(Action::Move(last)) = plan.stages.last().map(|stage| stage.action) {
            assert!(last.z == 0.0 || name == SamplerName::Ddpm, "{}", name.name());
        }
    }
}

#[test]
fn samplers_refuse_other_processes() {
    let mut refused = 0;
    let spec = StepSpec { steps: 20, spacing: Spacing::Leading, offset: 0 };
    for &name in SamplerName::ALL {
        let sampler = built(name);
        for process in processes() {
            let result = SamplingPlan::new((name.name(), &*sampler), &*process, &spec, 1.0);
            if sampler.families().contains(&process.family()) {
                result.unwrap();
                continue;
            }
            let problem = refusal(result);
            let own = sampler.families().iter().map(|family| family.describe());
            for part in [name.name(), process.family().describe(), &process.describe()].into_iter().chain(own) {
                assert!(problem.contains(part), "{part}: {problem}");
            }
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused}");
    // Churn is for EDM alone.
    let churn = SamplerOptions { churn: Some(1.0), ..SamplerOptions::default() };
    let heun = SamplerName::Heun.build(&churn).unwrap();
    assert!(refusal(SamplingPlan::new(("heun", &*heun), &Vp::default(), &spec, 1.0)).contains("churn = 1 is for EDM"));
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
            assert!(refusal(other.build(&of(key, 0.5))).contains(&format!("no `{key}`")), "{} {key}", other.name());
        }
    }
}
