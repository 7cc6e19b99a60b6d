//! Samples of the device with the optimal network for data N(mean, variance) whose mean is not
//! zero and of which a third is outside [-1, 1]: the adaptive solver and Heun's
//! method.

use super::linear::{Gaussian, plan, sampled};
use super::recovery::DARK;
use crate::common::context;
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::processes::{Edm, Flow, Vp};
use degrain::diffusion::sampler::StepSpec;
use degrain::diffusion::{
    BatchSpec, Denoiser, DenoiserSpec, Generator, Guidance, Process, SamplerName, SamplerOptions, SamplingPlan,
    Spacing,
};
use std::rc::Rc;

/// The optimal network of a process for images of one channel. `time` finds the time of the process
/// from the network's.
fn optimal(process: &Rc<dyn Process>, data: Gaussian, time: fn(f64) -> f64, side: u32) -> LinearNetwork {
    let (first, second) = (process.clone(), process.clone());
    let factor = move |input: f64| {
        let t = time(input);
        [data.answer(&*first, t).0 / first.parameterization(t).c_in, 0.0]
    };
    let shift = move |input: f64| data.answer(&*second, time(input)).1;
    LinearNetwork::new([1, side, side], false, Box::new(factor)).shifted(Box::new(shift))
}

/// Samples from `noise`, images of 8x8 pixels, with the optimal network.
fn samples(process: &Rc<dyn Process>, time: fn(f64) -> f64, plan: SamplingPlan, noise: &[f32]) -> Vec<f64> {
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
    let cases: [(Rc<dyn Process>, fn(f64) -> f64); 3] = [
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
