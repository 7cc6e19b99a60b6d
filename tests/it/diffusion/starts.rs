//! Where samplers start and step to, for data whose mean is not zero.

use super::linear::{Gaussian, discrete, processes, sampled};
use crate::common::context;
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::interpolation::initial_noise;
use degrain::diffusion::{
    BatchSpec, BetaRange, BetaSchedule, DataMoments, Denoiser, DenoiserSpec, Discrete, Generator, Guidance,
    LogSnrRange, NoiseSchedule, Prediction, Prior, Process, SamplerName, SamplerOptions, Sampling, SamplingOptions,
    SamplingPlan, Spacing,
};

/// About as MNIST.
const DATA: Gaussian = Gaussian { mean: -0.74, variance: 0.38 };
const SPACINGS: [Spacing; 3] = [Spacing::Leading, Spacing::Trailing, Spacing::Linspace];

fn moments() -> DataMoments {
    DataMoments { size: 784, mean: DATA.mean, std: DATA.variance.sqrt() }
}

fn sampling(sampler: SamplerName, spacing: Spacing, steps: u32) -> Sampling {
    let asked = SamplingOptions { sampler: Some(sampler), spacing: Some(spacing), ..SamplingOptions::default() };
    let spec = DenoiserSpec { data: Some(moments()), ..DenoiserSpec::default() };
    let resolved = Sampling::resolve(asked, SamplingOptions::default(), &spec).unwrap();
    Sampling { steps, clip: f32::INFINITY, ..resolved }
}

/// Errors of mean and variance of samples whose initial noise has the plan's prior.
fn error(process: &dyn Process, plan: &SamplingPlan) -> f64 {
    let Prior { mean, std } = plan.prior();
    let (mean, variance) = sampled(process, plan, DATA, (f64::from(mean), f64::from(std).powi(2)));
    (mean - DATA.mean).abs().max((variance - DATA.variance).abs())
}

/// Numbers of steps that do not divide T are as accurate as the next smaller one that does.
#[test]
fn steps_end_at_the_timestep_that_is_visited_next() {
    for schedule in ["linear", "cosine"] {
        let process = discrete(schedule, Prediction::VPrediction);
        for sampler in [SamplerName::Ddim, SamplerName::Ddpm, SamplerName::DpmSolver] {
            for (steps, divisor) in [(13, 10), (30, 25), (130, 125), (333, 250)] {
                let of = |spacing, steps| error(&process, &sampling(sampler, spacing, steps).plan(&process).unwrap().0);
                // `leading` and `linspace` make a long last step and are less accurate.
                let bound = 1.2 * of(Spacing::Trailing, divisor).max(of(Spacing::Leading, divisor)) + 1e-3;
                for spacing in SPACINGS {
                    let found = of(spacing, steps);
                    assert!(found < bound, "{schedule} {sampler:?} {spacing:?} {steps}: {found} of {bound}");
                }
            }
        }
    }
}

#[test]
fn initial_noise_has_the_moments_of_noised_data() {
    for process in processes() {
        for &sampler in SamplerName::ALL {
            let families = sampler.build(&SamplerOptions::default()).unwrap();
            if !families.families().contains(&process.family()) {
                continue;
            }
            let (plan, _) = sampling(sampler, Spacing::Leading, 25).plan(&*process).unwrap();
            let (mean, variance) = DATA.at(&process.marginal(plan.first_time().unwrap()));
            assert_eq!(plan.prior(), Prior { mean: mean as f32, std: variance.sqrt() as f32 });
            let unknown = Sampling { data: None, ..sampling(sampler, Spacing::Leading, 25) };
            let (plan, _) = unknown.plan(&*process).unwrap();
            assert_eq!(plan.prior(), Prior::of(&*process));
        }
    }
}

/// 25 steps of `leading` start at timestep 960, where the cosine schedule leaves 6 % of the image.
#[test]
fn samples_of_leading_steps_are_not_brighter_than_the_data() {
    let process = discrete("cosine", Prediction::VPrediction);
    let (plan, warnings) = sampling(SamplerName::Ddim, Spacing::Leading, 25).plan(&process).unwrap();
    let Prior { mean, std } = plan.prior();
    let from =
        |mean: f32, std: f32| sampled(&process, &plan, DATA, (f64::from(mean), f64::from(std).powi(2))).0 - DATA.mean;
    let (from_zero, from_moments) = (from(0.0, 1.0), from(mean, std));
    assert!(from_zero > 0.02 && from_moments.abs() < 1e-3, "{from_zero} {from_moments}");
    assert!(warnings[0].contains("timestep 960") && warnings[0].contains("nats of an image"), "{warnings:?}");
    let of = |spacing, steps| sampling(SamplerName::Ddim, spacing, steps).plan(&process).unwrap().1;
    assert!(of(Spacing::Trailing, 25).is_empty() && of(Spacing::Leading, 1000).is_empty());
}

#[test]
fn schedules_that_do_not_end_in_noise_give_a_warning() {
    let warning = |betas: &BetaSchedule, timesteps: u32, size: Option<u32>| {
        let noise = NoiseSchedule::new(betas, timesteps, false).unwrap();
        let process = Discrete::new(noise, Prediction::VPrediction).unwrap();
        let data = size.map(|size| DataMoments { size, ..moments() });
        let of_all = Sampling { data, ..sampling(SamplerName::Ddim, Spacing::Trailing, timesteps) };
        let warnings = of_all.plan(&process).unwrap().1;
        assert!(warnings.len() < 2, "{warnings:?}");
        warnings.into_iter().next()
    };
    let unscaled = BetaSchedule::Linear(BetaRange { rescale: false, ..BetaRange::default() });
    let bar = NoiseSchedule::new(&unscaled, 200, false).unwrap().alphas_cumprod()[199];
    let nats = 784.0 / 2.0 * (bar * DATA.variance - bar - (1.0 - bar).ln());
    let told = warning(&unscaled, 200, Some(784)).unwrap();
    for part in ["linear", "T = 200", &format!("{nats:.2} nats of an image"), "rescale_betas = true"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let unknown = warning(&unscaled, 200, None).unwrap();
    assert!(unknown.contains("0.102 bits per dimension"), "{unknown}");
    // The whole image counts: a single value lacks 0.03 nats, and the 784 of a digit lack 0.006
    // after 1,000 timesteps.
    assert_eq!(warning(&unscaled, 200, Some(1)), None);
    assert_eq!(warning(&unscaled, 1000, Some(784)), None);
    for (betas, advice) in [
        (&unscaled, "more timesteps"),
        (&BetaSchedule::default(), "a larger `beta_end` or the cosine schedule"),
        (&BetaSchedule::LogSnr(LogSnrRange::default()), "a lower `end`"),
    ] {
        let told = warning(betas, 1000, Some(3 * 512 * 512)).unwrap();
        assert!(told.contains(advice), "{told}");
    }
    for size in [None, Some(784)] {
        assert_eq!(warning(&BetaSchedule::Cosine, 50, size), None);
    }
}

#[test]
fn generator_starts_from_the_prior() {
    let process = discrete("cosine", Prediction::VPrediction);
    let (plan, _) = sampling(SamplerName::Ddim, Spacing::Leading, 12).plan(&process).unwrap();
    let prior = plan.prior();
    assert!(prior.mean < -0.05, "{prior:?}");
    let network = LinearNetwork::new([1, 8, 8], false, Box::new(|_| [0.5, 0.0]));
    let denoiser = Denoiser { network: &network, weights: "none", process: &process, spec: DenoiserSpec::default() };
    let mut ctx = context().fork();
    let batch = BatchSpec { name: "starts", size: 2, image: [1, 8, 8], seed: 5 };
    let generator = Generator::new(&mut ctx, denoiser, Guidance::default(), plan, batch).unwrap();
    generator.begin(&ctx, &[0, 0], 3).unwrap();
    let unit: Vec<f32> = (3..5).flat_map(|number| initial_noise(5, number, 64)).collect();
    for (found, expected) in generator.images(&ctx).unwrap().iter().zip(prior.of_unit(&unit)) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    for (found, expected) in prior.to_unit(&generator.images(&ctx).unwrap()).iter().zip(&unit) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}
