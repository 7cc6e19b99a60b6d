//! A process and a sampler that are implemented outside the crate, with public traits and
//! constructors only.

use crate::common::context;
use crate::common::linear_network::LinearNetwork;
use degrain::Result;
use degrain::diffusion::process::{Family, Marginal, Parameterization};
use degrain::diffusion::sampler::{Action, Stage, StepSpec, Trajectory, Update};
use degrain::diffusion::{
    BatchSpec, Denoiser, DenoiserSpec, Generator, Guidance, Process, Sampler, SamplingPlan, Spacing, TrainingTables,
};
use std::f64::consts::FRAC_PI_2;

/// The trigonometric path x_t = cos(t pi/2) x_0 + sin(t pi/2) eps (Albergo and Vanden-Eijnden
/// 2023). The network predicts x_0.
#[derive(Debug)]
struct Trigonometric;

impl Process for Trigonometric {
    fn describe(&self) -> String {
        "trigonometric path, predicts x_0".into()
    }

    fn family(&self) -> Family {
        Family::Flow
    }

    fn t_range(&self) -> [f64; 2] {
        [0.99, 0.02]
    }

    fn marginal(&self, t: f64) -> Marginal {
        let (sigma, alpha) = (t * FRAC_PI_2).sin_cos();
        Marginal { alpha, sigma, alpha_rate: -FRAC_PI_2 * sigma, sigma_rate: FRAC_PI_2 * alpha }
    }

    fn time_of_ratio(&self, ratio: f64) -> f64 {
        ratio.atan() / FRAC_PI_2
    }

    fn parameterization(&self, t: f64) -> Parameterization {
        Parameterization { c_in: 1.0, time: 999.0 * t, target: [1.0, 0.0] }
    }

    fn training_times(&self) -> Vec<f64> {
        (0..100).map(|k| (f64::from(k) + 0.5) / 101.0).collect()
    }
}

/// DDIM along any path: x' = alpha' x_0 + sigma' eps, and x_0 in the last step.
#[derive(Debug)]
struct Deterministic;

impl Sampler for Deterministic {
    fn families(&self) -> &'static [Family] {
        &[Family::Flow, Family::Edm]
    }

    fn trajectory(&self, process: &dyn Process, spec: &StepSpec) -> Result<Trajectory> {
        let times = process.timesteps(spec.steps);
        let stage = |(k, &time): (usize, &f64)| {
            let next = times.get(k + 1).map(|&next| process.marginal(next));
            let update = match next {
                Some(next) => Update { x0: next.alpha, eps: next.sigma, ..Update::default() },
                None => Update { x0: 1.0, ..Update::default() },
            };
            Stage { time, action: Action::Move(update) }
        };
        Ok(Trajectory::Stages(times.iter().enumerate().map(stage).collect()))
    }
}

/// The network predicts x_0 = x / 2 at any time, so each stage multiplies x by a known factor.
#[test]
fn sampler_and_process_of_another_crate_generate_images() {
    let process = Trigonometric;
    let tables = TrainingTables::new(&process);
    assert_eq!((tables.times.len(), tables.target[7]), (100, [1.0, 0.0]));

    let spec = StepSpec { steps: 4, spacing: Spacing::Leading, offset: 0 };
    let (plan, warnings) = SamplingPlan::new(&Deterministic, &process, &spec, f32::INFINITY).unwrap();
    assert!(warnings.is_empty());
    let factor: f64 = plan
        .stages()
        .iter()
        .enumerate()
        .map(|(k, stage)| {
            let at = process.marginal(stage.time);
            let eps = (1.0 - 0.5 * at.alpha) / at.sigma;
            plan.stages().get(k + 1).map_or(0.5, |next| {
                let next = process.marginal(next.time);
                0.5 * next.alpha + eps * next.sigma
            })
        })
        .product();

    let network = LinearNetwork::new([1, 8, 8], false, Box::new(|_| [0.5, 0.0]));
    let denoiser = Denoiser { network: &network, weights: "none", process: &process, spec: DenoiserSpec::default() };
    let mut ctx = context().fork();
    let batch = BatchSpec { name: "outside", size: 2, image: [1, 8, 8], seed: 1 };
    let generator = Generator::new(&mut ctx, denoiser, Guidance::default(), plan, batch).unwrap();
    let noise: Vec<f32> = (0..128).map(|i| i as f32 / 64.0 - 1.0).collect();
    let mut shares = vec![];
    let images = generator
        .sample_from(&ctx, &noise, &[0, 0], &mut |done| {
            shares.push(done);
            Ok(())
        })
        .unwrap();
    assert_eq!(shares, [0.25, 0.5, 0.75, 1.0]);
    for (image, x) in images.iter().zip(&noise) {
        let expected = factor * f64::from(*x);
        // Four stages with a few roundings each.
        assert!((f64::from(*image) - expected).abs() <= 40.0 * f64::from(f32::EPSILON) * expected.abs(), "{image} {x}");
    }
}
