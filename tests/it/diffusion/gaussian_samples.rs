//! Samples of the device with the optimal network for data N(mean, variance) whose mean is not
//! zero and of which a third is outside [-1, 1]: the adaptive solver, Heun's method, and
//! inpainting.

use super::linear::{Gaussian, discrete, plan, row, sampled};
use super::recovery::DARK;
use super::refusal;
use crate::common::context;
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::inpaint::{Known, inpaint};
use degrain::diffusion::processes::{Edm, Flow, Vp};
use degrain::diffusion::sampler::StepSpec;
use degrain::diffusion::{
    BatchSpec, Denoiser, DenoiserSpec, Generator, Guidance, Prediction, Process, SamplerName, SamplerOptions,
    SamplingPlan, Spacing,
};
use std::rc::Rc;

/// The time of a process from the network's.
type Time = fn(f64) -> f64;

/// The optimal network of a process for images of one channel.
fn optimal(process: &Rc<dyn Process>, data: Gaussian, time: Time, side: u32) -> LinearNetwork {
    let (first, second) = (process.clone(), process.clone());
    let factor = move |input: f64| {
        let t = time(input);
        [data.answer(&*first, t).0 / first.parameterization(t).c_in, 0.0]
    };
    let shift = move |input: f64| data.answer(&*second, time(input)).1;
    LinearNetwork::new([1, side, side], false, Box::new(factor)).shifted(Box::new(shift))
}

/// Samples from `noise`, images of 8x8 pixels, with the optimal network.
fn samples(process: &Rc<dyn Process>, time: Time, plan: SamplingPlan, noise: &[f32]) -> Vec<f64> {
    let network = optimal(process, DARK, time, 8);
    let denoiser = Denoiser { network: &network, weights: "none", process: &**process, spec: DenoiserSpec::default() };
    let mut ctx = context().fork();
    let batch = BatchSpec { name: "gaussian", size: noise.len() as u32 / 64, image: [1, 8, 8], seed: 1 };
    let generator = Generator::new(&mut ctx, denoiser, Guidance::default(), plan, batch).unwrap();
    let images = generator.sample_from(&ctx, noise, &[], &mut |_| Ok(())).unwrap();
    images.into_iter().map(f64::from).collect()
}

/// Values from -3.2 to 3.2 standard deviations.
fn deviations() -> Vec<f64> {
    (0..128).map(|i| (f64::from(i) - 63.5) / 20.0).collect()
}

/// The flow keeps (x - mean) / std of x_t, so each sample is known.
#[test]
fn ode_samples_dark_images_without_clipping() {
    let rms = DARK.mean.hypot(DARK.variance.sqrt());
    let edm = Edm { sigma_data: Some(rms), ..Edm::default() };
    let cases: [(Rc<dyn Process>, Time); 3] = [
        (Rc::new(edm), |input| (input / 250.0).exp()),
        (Rc::new(Flow::default()), |input| input / 999.0),
        (Rc::new(Vp::default()), |input| input / 999.0),
    ];
    for (process, time) in cases {
        let [from, to] = process.t_range().map(|t| DARK.at(&process.marginal(t)));
        let noise: Vec<f32> = deviations().iter().map(|z| (from.0 + from.1.sqrt() * z) as f32).collect();
        let sampler = SamplerName::Ode.build(&SamplerOptions::default()).unwrap();
        let spec = StepSpec { steps: 1, spacing: Spacing::Leading, offset: 0 };
        // The clip of images in [-1, 1], which the solver must not use.
        let (plan, _) = SamplingPlan::new(&*sampler, &*process, &spec, 1.0).unwrap();
        for (x, z) in samples(&process, time, plan, &noise).into_iter().zip(deviations()) {
            let expected = to.0 + to.1.sqrt() * z;
            assert!((x - expected).abs() < 1e-3, "{}: {x} is not {expected}", process.describe());
        }
    }
}

#[test]
fn heun_samples_dark_images_with_their_mean_and_variance() {
    let rms = DARK.mean.hypot(DARK.variance.sqrt());
    let process: Rc<dyn Process> = Rc::new(Edm { sigma_data: Some(rms), ..Edm::default() });
    let plan = plan(SamplerName::Heun, SamplerOptions::default(), &*process, 18);
    // Each sample is linear in its noise.
    let (mean, variance) = sampled(&*process, &plan, DARK, (0.0, 6400.0));
    let noise: Vec<f32> = deviations().iter().map(|z| (80.0 * z) as f32).collect();
    for (x, z) in samples(&process, |input| (input / 250.0).exp(), plan, &noise).into_iter().zip(deviations()) {
        let expected = mean + variance.sqrt() * z;
        assert!((x - expected).abs() < 1e-3, "{x} is not {expected}");
    }
}

const PASSES: u32 = 5;
const SIDE: u32 = 16;

/// A generator of DDPM in 100 steps without clipping, from discrete timesteps.
fn with_ddpm<T>(size: u32, run: impl FnOnce(&degrain::gpu::Context, &Generator<'_>) -> T) -> T {
    let process: Rc<dyn Process> = Rc::new(discrete("linear", Prediction::Epsilon));
    let network = optimal(&process, DARK, |input| input, SIDE);
    let denoiser = Denoiser { network: &network, weights: "none", process: &*process, spec: DenoiserSpec::default() };
    let plan = plan(SamplerName::Ddpm, SamplerOptions::default(), &*process, 100);
    let mut ctx = context().fork();
    let batch = BatchSpec { name: "inpaint", size, image: [1, SIDE, SIDE], seed: 3 };
    let generator = Generator::new(&mut ctx, denoiser, Guidance::default(), plan, batch).unwrap();
    run(&ctx, &generator)
}

/// Images `first ..` of the seed, of which the pixels of `mask` are known to be white.
fn inpainted(size: u32, first: u32, mask: &[bool], passes: u32) -> Vec<f32> {
    with_ddpm(size, |ctx, generator| {
        let image = [1.0; (SIDE * SIDE) as usize];
        generator.begin(ctx, &[], first).unwrap();
        let known = Known { image: &image, mask, passes, first_image: first, seed: 3 };
        inpaint(ctx, generator, &known, &mut |_| Ok(())).unwrap();
        generator.images(ctx).unwrap()
    })
}

/// Mean and variance of x after `PASSES` passes through each stage with independent noise.
fn after_passes(process: &dyn Process, plan: &SamplingPlan) -> (f64, f64) {
    let (mut mean, mut variance) = (0.0, 1.0);
    let stages = plan.stages();
    for (k, stage) in stages.iter().enumerate() {
        let (c, (a, b)) = (row(process, stage), DARK.answer(process, stage.time));
        let slope = c[4] * (c[0] + c[1] * a) + c[5];
        let passes = if k + 1 < stages.len() { PASSES } else { 1 };
        for pass in 0..passes {
            (mean, variance) = (slope * mean + c[4] * c[1] * b, slope * slope * variance + c[7] * c[7]);
            if pass + 1 < passes {
                let (now, next) = (process.marginal(stage.time), process.marginal(stages[k + 1].time));
                let factor = now.alpha / next.alpha;
                mean *= factor;
                variance = factor * factor * (variance - next.sigma * next.sigma) + now.sigma * now.sigma;
            }
        }
    }
    (mean, variance)
}

#[test]
fn inpainting_with_nothing_known_keeps_the_variance_in_many_passes() {
    let process = discrete("linear", Prediction::Epsilon);
    let plan = plan(SamplerName::Ddpm, SamplerOptions::default(), &process, 100);
    let expected = after_passes(&process, &plan);
    // 100 steps with the smaller variance of DDPM lose some of the variance.
    assert!((expected.0 - DARK.mean).abs() < 1e-3 && (expected.1 - DARK.variance).abs() < 0.08, "{expected:?}");
    let x = inpainted(64, 0, &[false; (SIDE * SIDE) as usize], PASSES);
    let n = x.len() as f64;
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    // Five standard deviations of the estimators.
    assert!((mean - expected.0).abs() < 5.0 * (expected.1 / n).sqrt(), "mean {mean}, not {}", expected.0);
    let allowed = 5.0 * expected.1 * (2.0 / n).sqrt();
    assert!((variance - expected.1).abs() < allowed, "variance {variance}, not {} within {allowed}", expected.1);
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn inpainting_in_one_pass_with_nothing_known_is_sampling() {
    let ordinary = with_ddpm(3, |ctx, generator| generator.sample(ctx, &[], 0, &mut |_| Ok(())).unwrap());
    assert_eq!(bits(&inpainted(3, 0, &[false; (SIDE * SIDE) as usize], 1)), bits(&ordinary));
}

#[test]
fn inpainting_refuses_a_number_of_passes_without_noise_of_its_own() {
    with_ddpm(1, |ctx, generator| {
        for passes in [0, (1 << 23) + 1] {
            let (image, mask) = ([1.0; (SIDE * SIDE) as usize], [false; (SIDE * SIDE) as usize]);
            let known = Known { image: &image, mask: &mask, passes, first_image: 0, seed: 3 };
            let problem = refusal(inpaint(ctx, generator, &known, &mut |_| Ok(())));
            assert!(problem.contains(&format!("{passes} passes: use 1 to 8388608")), "{problem}");
        }
    });
}

#[test]
fn inpainted_image_does_not_depend_on_its_batch() {
    let mut mask = [false; (SIDE * SIDE) as usize];
    mask[..100].fill(true);
    let together = inpainted(3, 4, &mask, 2);
    for (k, image) in (4..).zip(together.chunks((SIDE * SIDE) as usize)) {
        assert_eq!(bits(&inpainted(1, k, &mask, 2)), bits(image), "image {k}");
    }
    let [first, second] = [0, 1].map(|k| &together[k * 256 + 100..][..156]);
    assert_ne!(bits(first), bits(second));
}
