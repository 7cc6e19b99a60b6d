//! SDEdit: images with noise, and the last steps of a sampler.

use super::linear::{discrete, processes, row};
use super::refusal;
use degrain::diffusion::interpolation::initial_noise;
use degrain::diffusion::processes::{Edm, Vp};
use degrain::diffusion::sampler::{Action, Stage, Update};
use degrain::diffusion::sdedit::{LastSteps, last_steps, noised};
use degrain::diffusion::{
    DenoiserSpec, Prediction, Process, SamplerName, SamplerOptions, Sampling, SamplingOptions, SamplingPlan, Spacing,
    Variance,
};

/// Steps of the whole samplers.
const STEPS: u32 = 10;

fn sampling(sampler: SamplerName, spacing: Spacing) -> Sampling {
    let steps = (sampler != SamplerName::Ode).then_some(STEPS);
    let asked = SamplingOptions { sampler: Some(sampler), steps, spacing: Some(spacing), ..SamplingOptions::default() };
    Sampling::resolve(asked, SamplingOptions::default(), &DenoiserSpec::default()).unwrap()
}

/// Every sampler with fixed steps, with every process that it supports.
fn pairs() -> Vec<(Sampling, Box<dyn Process>)> {
    let of = |&name: &SamplerName| {
        let families = name.build(&Default::default()).unwrap().families();
        let fitting = processes().into_iter().filter(|process| families.contains(&process.family()));
        fitting.map(move |process| (sampling(name, Spacing::Trailing), process)).collect::<Vec<_>>()
    };
    SamplerName::ALL.iter().filter(|name| **name != SamplerName::Ode).flat_map(of).collect()
}

/// The last `run` steps.
fn last(process: &dyn Process, sampling: &Sampling, run: usize) -> LastSteps {
    last_steps(process, sampling, run as f64 / f64::from(STEPS)).unwrap().0
}

#[test]
fn sdedit_noises_with_the_marginal_of_the_process() {
    const PIXELS: usize = 1 << 14;
    let (image, numbers) = ([0.25f32; 2 * PIXELS], 3..5);
    for process in processes() {
        let [noise, end] = process.t_range();
        for share in [0.0, 0.3, 0.9, 1.0] {
            let at = process.marginal(end + share * (noise - end));
            let x = noised(&image, &at, 7, numbers.clone());
            let what = format!("{} at {share}", process.describe());
            // Mean and standard deviation within 5 standard errors, and the rounding to f32.
            let n = x.len() as f64;
            let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let std = (x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
            let rounding = f64::from(f32::EPSILON) * (at.alpha + 5.0 * at.sigma);
            assert!((mean - 0.25 * at.alpha).abs() < 5.0 * at.sigma / n.sqrt() + rounding, "{what}: mean {mean}");
            assert!((std - at.sigma).abs() < 5.0 * at.sigma / (2.0 * n).sqrt() + rounding, "{what}: std {std}");
            // The noise of an image is that of its number.
            let eps = initial_noise(7, 4, PIXELS);
            for (x, eps) in x[PIXELS..].iter().zip(eps) {
                assert_eq!(*x, (at.alpha * 0.25 + at.sigma * f64::from(eps)) as f32, "{what}");
            }
        }
    }
}

#[test]
fn sdedit_of_strength_1_runs_the_whole_sampler() {
    for (sampling, process) in pairs() {
        let what = format!("{} for {}", sampling.sampler.name(), process.describe());
        let (steps, _) = last_steps(&*process, &sampling, 1.0).unwrap();
        assert_eq!(steps.plan, sampling.plan(&*process).unwrap().0, "{what}");
        assert_eq!((steps.steps.len(), steps.of), (STEPS as usize, STEPS), "{what}");
        assert!(steps.steps.windows(2).all(|pair| pair[0].time > pair[1].time), "{what}");
    }
}

#[test]
fn sdedit_runs_the_last_steps() {
    for (sampling, process) in pairs() {
        let what = format!("{} for {}", sampling.sampler.name(), process.describe());
        let whole = last(&*process, &sampling, STEPS as usize);
        for run in 1..STEPS as usize {
            let steps = last(&*process, &sampling, run);
            assert_eq!((steps.steps.len(), steps.of), (run, STEPS), "{what}");
            let same = |part: &[Stage], all: &[Stage]| part[1..] == all[all.len() - part.len() + 1..];
            assert!(same(steps.plan.stages(), whole.plan.stages()), "{what}, {run} steps");
            for (step, expected) in steps.steps.iter().zip(&whole.steps[STEPS as usize - run..]) {
                assert_eq!((step.time, step.at), (expected.time, process.marginal(step.time)), "{what}");
                assert_eq!(steps.plan.stages()[step.stage as usize].time, step.time, "{what}");
            }
        }
    }
}

/// x after a stage for data of a single image, and the history, which must not be used before it is
/// written. No noise is added.
fn moved(process: &dyn Process, stage: &Stage, image: f64, (x, history): (f64, Option<f64>)) -> (f64, Option<f64>) {
    let (c, at) = (row(process, stage), process.marginal(stage.time));
    let [p, q] = process.parameterization(stage.time).target;
    let output = p * image + q * (x - at.alpha * image) / at.sigma;
    let (x0, eps) = (c[0] * x + c[1] * output, c[2] * x + c[3] * output);
    if matches!(stage.action, Action::Correct { .. } | Action::MoveLearned { .. }) {
        return (x, history);
    }
    let old = if c[8] == 0.0 { 0.0 } else { c[8] * history.expect("a history that an earlier stage has stored") };
    (c[4] * x0 + c[5] * x + c[6] * eps + old, Some(c[9] * x0 + c[10] * x + c[11] * eps))
}

/// A model that knows the image denoises it exactly, from any step, also if the first step is the
/// last one. Samplers without noise stay on the line between image and noise at every stage.
#[test]
fn sdedit_with_an_exact_model_returns_the_image() {
    use SamplerName::{Ddim, Ddpm, DpmSolver, Euler, Heun, Midpoint};
    let (image, noise) = (0.4, -1.3);
    let mut tested = 0;
    for (sampling, process) in pairs() {
        let stays = [Ddim, DpmSolver, Euler, Heun, Midpoint].contains(&sampling.sampler);
        if !stays && sampling.sampler != Ddpm {
            continue; // these end before t = 0
        }
        for run in 1..=STEPS as usize {
            let steps = last(&*process, &sampling, run);
            let start = steps.steps[0].at;
            let mut state = (start.alpha * image + start.sigma * noise, None);
            let what = format!("{} for {}, {run} steps", sampling.sampler.name(), process.describe());
            for stage in steps.plan.stages() {
                let at = process.marginal(stage.time);
                let expected = at.alpha * image + at.sigma * noise;
                let wrong = (state.0 - expected).abs() / (at.alpha + at.sigma);
                assert!(!stays || wrong < 1e-11, "{what}: {} instead of {expected}", state.0);
                state = moved(&*process, stage, image, state);
            }
            assert!((state.0 - image).abs() < 1e-11, "{what}: {}", state.0);
            tested += 1;
        }
    }
    assert!(tested > 10 * STEPS);
}

/// Samplers that add noise keep the marginals of the process, from any step on, if the model knows
/// the image: the mean of x is alpha times the image, and its variance is sigma^2.
#[test]
fn sdedit_with_noise_keeps_the_marginals() {
    let image = 0.4;
    let with_noise = [SamplerName::Ddim, SamplerName::DpmSolver];
    let mut tested = [0; 2];
    for (sampling, process) in pairs() {
        let Some(sampler) = with_noise.iter().position(|name| *name == sampling.sampler) else { continue };
        for (eta, run) in [0.3, 1.0].into_iter().flat_map(|eta| (1..=STEPS as usize).map(move |run| (eta, run))) {
            let options = SamplerOptions { eta: Some(eta), ..sampling.options };
            let steps = last(&*process, &Sampling { options, ..sampling }, run);
            let what = format!("{} for {}, eta {eta}, {run} steps", sampling.sampler.name(), process.describe());
            let at = |stage: usize| {
                steps.plan.stages().get(stage).map_or((1.0, 0.0), |stage| {
                    let at = process.marginal(stage.time);
                    (at.alpha, at.sigma)
                })
            };
            let (alpha, sigma) = at(0);
            let (mut mean, mut variance) = ((alpha * image, None), sigma * sigma);
            for (k, stage) in steps.plan.stages().iter().enumerate() {
                let Action::Move(update) = stage.action else { panic!("{stage:?}") };
                assert!((update.z > 0.0) == (k + 1 < steps.plan.stages().len()), "{what}: {update:?}");
                // A change of x by 1 changes the next x by `slope`: every step is linear in x.
                let next = moved(&*process, stage, image, mean);
                let slope = moved(&*process, stage, image, (mean.0 + 1.0, mean.1)).0 - next.0;
                (mean, variance) = (next, slope * slope * variance + update.z * update.z);
                let (alpha, sigma) = at(k + 1);
                assert!((mean.0 - alpha * image).abs() < 1e-11 * (alpha + sigma), "{what}: mean {}", mean.0);
                assert!((variance - sigma * sigma).abs() < 1e-11 * (alpha + sigma).powi(2), "{what}: {variance}");
            }
            tested[sampler] += 1;
        }
    }
    assert!(tested.iter().all(|&tested| tested >= 4 * STEPS), "{tested:?}");
}

#[test]
fn sdedit_starts_dpm_solver_with_a_step_of_order_one() {
    let process = Edm::default();
    let sampling = sampling(SamplerName::DpmSolver, Spacing::default());
    let whole = last(&process, &sampling, STEPS as usize);
    let uses_history = |stage: &Stage| matches!(stage.action, Action::Move(Update { h, .. }) if h != 0.0);
    assert!(uses_history(&whole.plan.stages()[5]));
    let steps = last(&process, &sampling, 5);
    let stages = steps.plan.stages();
    let Action::Move(update) = stages[0].action else { panic!("{stages:?}") };
    // x' = (sigma' / sigma) x + (1 - sigma' / sigma) x_0 (Lu et al. 2022b, eq. 9 with k = 1).
    let ratio = stages[1].time / stages[0].time;
    assert!((update.x - ratio).abs() < 1e-14 && (update.x0 - (1.0 - ratio)).abs() < 1e-14, "{update:?}");
    assert_eq!((update.h, update.h_next), (0.0, [1.0, 0.0, 0.0]));
    assert!(uses_history(&stages[1]));
}

#[test]
fn sdedit_does_not_warn_of_pure_noise() {
    let process = discrete("linear", Prediction::Epsilon);
    let both = |sampling: Sampling| {
        let sampling = Sampling { steps: 2, ..sampling };
        [sampling.plan(&process).unwrap().1, last_steps(&process, &sampling, 0.7).unwrap().1]
    };
    let [whole, last] = both(sampling(SamplerName::Ddim, Spacing::Leading));
    assert!(whole.len() == 1 && whole[0].contains("sampling starts with noise"), "{whole:?}");
    assert!(last.is_empty(), "{last:?}");
    // Other warnings stay.
    let large = SamplerOptions { variance_type: Some(Variance::FixedLarge), ..SamplerOptions::default() };
    let [whole, last] = both(Sampling { options: large, ..sampling(SamplerName::Ddpm, Spacing::Trailing) });
    assert!(whole.len() == 1 && whole[0].contains("through all timesteps"), "{whole:?}");
    assert_eq!(last, whole);
}

#[test]
fn sdedit_refuses_strengths_out_of_range_and_the_adaptive_solver() {
    let process = Vp::default();
    let euler = sampling(SamplerName::Euler, Spacing::default());
    for strength in [0.0, -0.5, 1.001, f64::NAN, f64::INFINITY] {
        let message = refusal(last_steps(&process, &euler, strength));
        assert!(message.contains(&format!("--strength {strength}")) && message.contains("at most 1"), "{message}");
    }
    let message = refusal(last_steps(&process, &euler, 0.04));
    assert!(message.contains("10 steps") && message.contains("at least 0.1000"), "{message}");
    assert_eq!(last_steps(&process, &euler, 0.06).unwrap().0.steps.len(), 1);
    let ode = sampling(SamplerName::Ode, Spacing::default());
    assert!(matches!(ode.plan(&process).unwrap().0, SamplingPlan::Ode(_)));
    let message = refusal(last_steps(&process, &ode, 0.5));
    for part in ["ode", "--sampler", "euler, heun, euler_maruyama, predictor_corrector"] {
        assert!(message.contains(part), "{message}");
    }
}
