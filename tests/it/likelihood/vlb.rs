//! The variational bound of data N(0, variance). With the exact mean and variance of the posterior
//! at each step it equals the code length.

use super::{STD, TOLERANCE, VARIANCE, best_factor, bits_of_density, bytes, images, pixel};
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::{BetaSchedule, Denoiser, DenoiserSpec, Discrete, NoiseSchedule, Prediction, Process};
use degrain::metrics::likelihood::vlb::VlbEstimator;
use degrain::metrics::likelihood::{BitsPerDimension, Draws};
use degrain::metrics::padding::ImagePadding;

const STEPS: u32 = 12;
const SEEDS: u64 = 10;

fn process(prediction: Prediction) -> Discrete {
    let schedule: BetaSchedule = "cosine".parse().unwrap();
    Discrete::new(NoiseSchedule::new(&schedule, STEPS, false).unwrap(), prediction).unwrap()
}

/// v for which the log-variance low + (v + 1) / 2 (high - low) is exact (Nichol and Dhariwal 2021,
/// eq. 15).
fn best_variance(process: &Discrete, t: u32) -> f64 {
    let noise = process.schedule().unwrap();
    let bar = |t: Option<u32>| t.map_or(1.0, |t| noise.alphas_cumprod()[t as usize]);
    let posterior = |t: u32| {
        let beta = noise.betas()[t as usize];
        beta * (1.0 - bar(t.checked_sub(1))) / (1.0 - bar(Some(t)))
    };
    let now = bar(Some(t));
    let before = bar(t.checked_sub(1));
    let beta = noise.betas()[t as usize];
    // The variance of x_0 given x_t enters the step with the weight of x_0 in the mean.
    let x0_variance = VARIANCE * (1.0 - now) / (now * VARIANCE + 1.0 - now);
    let weight = before.sqrt() * beta / (1.0 - now);
    let variance = if t == 0 { 0.0 } else { posterior(t) } + weight * weight * x0_variance;
    let (low, high) = (posterior(t.max(1)).ln(), beta.ln());
    2.0 * (variance.ln() - low) / (high - low) - 1.0
}

/// A case of a linear network whose exact mean is multiplied by `mean_factor`, and whose exact
/// variance is shifted by `variance_shift`.
#[derive(Clone, Copy, Debug)]
struct Case {
    prediction: Prediction,
    data: [u32; 3],
    model: [u32; 3],
    mean_factor: f64,
    variance_shift: f64,
}

impl Case {
    fn exact(prediction: Prediction, data: [u32; 3], model: [u32; 3]) -> Case {
        Case { prediction, data, model, mean_factor: 1.0, variance_shift: 0.0 }
    }
}

/// The measured bound of a case.
fn measured(case: Case, bytes: &[u8], seed: u64) -> BitsPerDimension {
    let (ctx, process) = (crate::common::context(), process(case.prediction));
    let inner = process.clone();
    let factors = move |t: f64| {
        let variance = best_variance(&inner, t as u32);
        [case.mean_factor * best_factor(&inner, t), variance + case.variance_shift]
    };
    let network = LinearNetwork::new(case.model, true, Box::new(factors));
    let denoiser = Denoiser {
        network: &network,
        weights: "none",
        process: &process,
        spec: DenoiserSpec { labels: None, learned_variance: true, decoder_min_std: 0.0, data: None },
    };
    let mut ctx = ctx.fork();
    let padding = ImagePadding::new(case.data, case.model).unwrap();
    let vlb = VlbEstimator::new(&mut ctx, &denoiser, padding, 32, "vlb").unwrap();
    vlb.measure(&ctx, images(bytes), Draws { per_image: STEPS, seed }, &mut |_| Ok(())).unwrap()
}

/// Code length in bits per dimension of bytes whose pixels are N(0, VARIANCE). The bins are so
/// narrow that the mass of a bin is its density times its width, up to a relative error of (width /
/// std)² / 24.
fn code(bytes: &[u8]) -> f64 {
    assert!((2.0 / 255.0 / STD).powi(2) / 24.0 < 0.1 * TOLERANCE);
    bits_of_density(bytes.iter().map(|&byte| pixel(byte)), VARIANCE) - (2.0f64 / 255.0).log2()
}

#[test]
fn vlb_with_exact_reverse_steps_is_the_code_length() {
    let bytes = bytes(256 * 64 * 64);
    for prediction in [Prediction::Epsilon, Prediction::VPrediction] {
        // Given the pixels, the noise gives each pixel a standard deviation of about one bit. The
        // mean over all pixels and seeds has a third of the tolerance.
        let all: Vec<BitsPerDimension> =
            (0..SEEDS).map(|seed| measured(Case::exact(prediction, [1, 64, 64], [1, 64, 64]), &bytes, seed)).collect();
        let mean = all.iter().map(|bits| bits.total.value).sum::<f64>() / all.len() as f64;
        let error = mean - code(&bytes);
        assert!(error.abs() <= TOLERANCE, "{prediction}: {mean} is {error:e} from {}", code(&bytes));
        let bits = &all[0];
        let sum: f64 = bits.parts.iter().map(|(_, part)| part.value).sum();
        assert!((sum - bits.total.value).abs() < 1e-9, "{bits:?} is the sum of its parts");
        assert_eq!(bits.images, 256);
    }
}

#[test]
fn vlb_grows_with_a_worse_mean_or_variance() {
    let bytes = bytes(64 * 64 * 64);
    let exact = Case::exact(Prediction::Epsilon, [1, 64, 64], [1, 64, 64]);
    let at = |case| measured(case, &bytes, 0).total.value;
    let best = at(exact);
    for (mean_factor, variance_shift) in [(0.9, 0.0), (1.1, 0.0), (1.0, 0.3), (1.0, -0.3)] {
        let case = Case { mean_factor, variance_shift, ..exact };
        let worse = at(case);
        assert!(worse > best + 5.0 * TOLERANCE, "{case:?}: {worse} is not above {best}");
    }
}

#[test]
fn vlb_ignores_padding() {
    // Black pixels are five standard deviations away and would cost 19 bits each.
    let bytes = bytes(512 * 60 * 60);
    let bits = measured(Case::exact(Prediction::Epsilon, [1, 60, 60], [1, 64, 64]), &bytes, 0);
    let error = bits.total.value - code(&bytes);
    assert!(error.abs() <= 4.0 * bits.total.error, "{bits:?} is {error:e} from {}", code(&bytes));
}

/// If the schedule does not end in pure noise, L_T is the cost of the remaining image:
/// KL(N(sqrt(alpha_bar) x, 1 - alpha_bar) || N(0, 1)).
#[test]
fn vlb_includes_the_prior_term_of_an_incomplete_schedule() {
    let betas = [0.3, 0.4];
    let schedule = BetaSchedule::Given { betas: betas.to_vec() };
    let process = Discrete::new(NoiseSchedule::new(&schedule, 2, false).unwrap(), Prediction::Epsilon).unwrap();
    let network = LinearNetwork::new([1, 16, 16], false, Box::new(|_| [0.5, 0.0]));
    let denoiser = Denoiser {
        network: &network,
        weights: "none",
        process: &process,
        spec: DenoiserSpec { labels: None, learned_variance: false, decoder_min_std: 0.0, data: None },
    };
    let mut ctx = crate::common::context();
    let bytes = bytes(4 * 256);
    let padding = ImagePadding::new([1, 16, 16], [1, 16, 16]).unwrap();
    let vlb = VlbEstimator::new(&mut ctx, &denoiser, padding, 4, "vlb").unwrap();
    let bits = vlb.measure(&ctx, images(&bytes), Draws { per_image: 1, seed: 0 }, &mut |_| Ok(())).unwrap();
    let bar: f64 = betas.iter().map(|beta| 1.0 - beta).product();
    // The KL divergence of two normal distributions: log(1/s) + (s² + m²)/2 - 1/2.
    let std = (1.0 - bar).sqrt();
    let nats = |&byte: &u8| -std.ln() + (std * std + bar * pixel(byte).powi(2)) / 2.0 - 0.5;
    let expected = bytes.iter().map(nats).sum::<f64>() / bytes.len() as f64 / std::f64::consts::LN_2;
    let (name, found) = &bits.parts[0];
    assert_eq!(name, "L_T");
    assert!((found.value - expected).abs() < 1e-6 && expected > 0.05, "{found:?} is not {expected}");
}

#[test]
fn vlb_of_few_timesteps_estimates_the_sum_of_all() {
    let bytes = bytes(512 * 16 * 16);
    let (ctx, process) = (crate::common::context(), process(Prediction::Epsilon));
    let inner = process.clone();
    let network = LinearNetwork::new([1, 16, 16], false, Box::new(move |t| [best_factor(&inner, t), 0.0]));
    let denoiser = Denoiser {
        network: &network,
        weights: "none",
        process: &process,
        spec: DenoiserSpec { labels: None, learned_variance: false, decoder_min_std: 0.0, data: None },
    };
    let mut ctx = ctx.fork();
    let padding = ImagePadding::new([1, 16, 16], [1, 16, 16]).unwrap();
    let vlb = VlbEstimator::new(&mut ctx, &denoiser, padding, 64, "vlb").unwrap();
    let measure =
        |draws| vlb.measure(&ctx, images(&bytes), Draws { per_image: draws, seed: 5 }, &mut |_| Ok(())).unwrap();
    let (few, all) = (measure(6), measure(STEPS - 1));
    let allowed = 4.0 * (few.total.error.powi(2) + all.total.error.powi(2)).sqrt();
    assert!((few.total.value - all.total.value).abs() <= allowed, "{few:?} and {all:?}");
    assert!(few.total.error < 0.1 && all.total.error < few.total.error, "{few:?} and {all:?}");
}
