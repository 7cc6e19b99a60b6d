//! The variational bound of data N(0, variance): with the exact posterior's mean and variance at each step it is no bound but the code length.

use super::{DEVIATION, TOLERANCE, VARIANCE, best_answer, bits_of_density, bytes, images, pixel};
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::{BetaSchedule, Denoiser, Discrete, NoiseSchedule, Prediction, Process};
use degrain::metrics::likelihood::Bits;
use degrain::metrics::likelihood::vlb::Bound;
use degrain::metrics::padding::ImagePadding;

const STEPS: u32 = 12;
const SEEDS: u64 = 10;

fn process(prediction: Prediction) -> Discrete {
    let schedule: BetaSchedule = "cosine".parse().unwrap();
    Discrete::new(NoiseSchedule::new(&schedule, STEPS, false).unwrap(), prediction).unwrap()
}

/// v for which the log variance low + (v + 1) / 2 (high - low) is that of the exact reverse step (Nichol and Dhariwal 2021, eq. 15).
fn best_variance(process: &Discrete, t: u32) -> f64 {
    let noise = process.schedule().unwrap();
    let bar = |t: Option<u32>| t.map_or(1.0, |t| noise.alphas_cumprod()[t as usize]);
    let posterior = |t: u32| {
        let beta = noise.betas()[t as usize];
        beta * (1.0 - bar(t.checked_sub(1))) / (1.0 - bar(Some(t)))
    };
    let (now, before, beta) = (bar(Some(t)), bar(t.checked_sub(1)), noise.betas()[t as usize]);
    // What x_t leaves open of x_0 goes through the mean's weight of x_0 into the step.
    let open = VARIANCE * (1.0 - now) / (now * VARIANCE + 1.0 - now);
    let weight = before.sqrt() * beta / (1.0 - now);
    let variance = if t == 0 { 0.0 } else { posterior(t) } + weight * weight * open;
    let (low, high) = (posterior(t.max(1)).ln(), beta.ln());
    2.0 * (variance.ln() - low) / (high - low) - 1.0
}

/// The bound of images of the model's size, or framed to it, with the exact answers spoilt by factors for mean and variance.
fn measured(prediction: Prediction, data: [u32; 3], model: [u32; 3], bytes: &[u8], spoil: [f64; 2], seed: u64) -> Bits {
    let (ctx, process) = (crate::common::context(), process(prediction));
    let inner = process.clone();
    let factors = move |t: f64| [spoil[0] * best_answer(&inner, t), best_variance(&inner, t as u32) + spoil[1]];
    let network = LinearNetwork::new(model, true, Box::new(factors));
    let denoiser = Denoiser {
        network: &network,
        slab: "none",
        process: &process,
        labels: None,
        learned_variance: true,
        decoder_min_std: 0.0,
    };
    let mut ctx = ctx.fork();
    let border = ImagePadding::between(data, model).unwrap();
    let bound = Bound::new(&mut ctx, &denoiser, border, 32, "bound").unwrap();
    bound.measure(&ctx, images(bytes), STEPS, seed, &mut |_| Ok(())).unwrap()
}

/// Code length of bytes whose pixels are N(0, VARIANCE), in bits each: a bin is so narrow that its mass is the density times its width, up to
/// (width/deviation)²/24 of it.
fn code(bytes: &[u8]) -> f64 {
    assert!((2.0 / 255.0 / DEVIATION).powi(2) / 24.0 < 0.1 * TOLERANCE);
    bits_of_density(bytes.iter().map(|&byte| pixel(byte)), VARIANCE) - (2.0f64 / 255.0).log2()
}

#[test]
fn with_the_exact_reverse_steps_the_bound_is_the_code_length() {
    let bytes = bytes(256 * 64 * 64);
    for prediction in [Prediction::Epsilon, Prediction::VPrediction] {
        // Given the pixels, the noise leaves a deviation of about one bit to each: of all draws together, a third of the tolerance.
        let all: Vec<Bits> =
            (0..SEEDS).map(|seed| measured(prediction, [1, 64, 64], [1, 64, 64], &bytes, [1.0, 0.0], seed)).collect();
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
fn a_worse_mean_or_variance_costs_bits() {
    let bytes = bytes(64 * 64 * 64);
    let at = |spoil| measured(Prediction::Epsilon, [1, 64, 64], [1, 64, 64], &bytes, spoil, 0).total.value;
    let best = at([1.0, 0.0]);
    for spoil in [[0.9, 0.0], [1.1, 0.0], [1.0, 0.3], [1.0, -0.3]] {
        let worse = at(spoil);
        assert!(worse > best + 5.0 * TOLERANCE, "{spoil:?}: {worse} is not above {best}");
    }
}

#[test]
fn a_frame_does_not_count() {
    // Black pixels would be five deviations out, 19 bits each.
    let bytes = bytes(512 * 60 * 60);
    let bits = measured(Prediction::Epsilon, [1, 60, 60], [1, 64, 64], &bytes, [1.0, 0.0], 0);
    let error = bits.total.value - code(&bytes);
    assert!(error.abs() <= 4.0 * bits.total.error, "{bits:?} is {error:e} from {}", code(&bytes));
}

/// Where the schedule does not end in noise, what is left of the image is paid for: KL(N(sqrt(abar) x, 1 - abar) || N(0, 1)).
#[test]
fn what_is_left_at_the_last_step_is_counted() {
    let betas = [0.3, 0.4];
    let schedule = BetaSchedule::Given { betas: betas.to_vec() };
    let process = Discrete::new(NoiseSchedule::new(&schedule, 2, false).unwrap(), Prediction::Epsilon).unwrap();
    let network = LinearNetwork::new([1, 16, 16], false, Box::new(|_| [0.5, 0.0]));
    let denoiser = Denoiser {
        network: &network,
        slab: "none",
        process: &process,
        labels: None,
        learned_variance: false,
        decoder_min_std: 0.0,
    };
    let mut ctx = crate::common::context();
    let bytes = bytes(4 * 256);
    let border = ImagePadding::between([1, 16, 16], [1, 16, 16]).unwrap();
    let bound = Bound::new(&mut ctx, &denoiser, border, 4, "bound").unwrap();
    let bits = bound.measure(&ctx, images(&bytes), 1, 0, &mut |_| Ok(())).unwrap();
    let bar: f64 = betas.iter().map(|beta| 1.0 - beta).product();
    // The divergence of two normal distributions, by its definition: log(1/s) + (s² + m²)/2 - 1/2.
    let deviation = (1.0 - bar).sqrt();
    let nats = |&byte: &u8| -deviation.ln() + (deviation * deviation + bar * pixel(byte).powi(2)) / 2.0 - 0.5;
    let expected = bytes.iter().map(nats).sum::<f64>() / bytes.len() as f64 / std::f64::consts::LN_2;
    let (name, found) = &bits.parts[0];
    assert_eq!(name, "L_T");
    assert!((found.value - expected).abs() < 1e-6 && expected > 0.05, "{found:?} is not {expected}");
}

#[test]
fn few_time_steps_estimate_the_sum_of_all() {
    let bytes = bytes(512 * 16 * 16);
    let (ctx, process) = (crate::common::context(), process(Prediction::Epsilon));
    let inner = process.clone();
    let network = LinearNetwork::new([1, 16, 16], false, Box::new(move |t| [best_answer(&inner, t), 0.0]));
    let denoiser = Denoiser {
        network: &network,
        slab: "none",
        process: &process,
        labels: None,
        learned_variance: false,
        decoder_min_std: 0.0,
    };
    let mut ctx = ctx.fork();
    let border = ImagePadding::between([1, 16, 16], [1, 16, 16]).unwrap();
    let bound = Bound::new(&mut ctx, &denoiser, border, 64, "bound").unwrap();
    let measure = |draws| bound.measure(&ctx, images(&bytes), draws, 5, &mut |_| Ok(())).unwrap();
    let (few, all) = (measure(6), measure(STEPS - 1));
    let allowed = 4.0 * (few.total.error.powi(2) + all.total.error.powi(2)).sqrt();
    assert!((few.total.value - all.total.value).abs() <= allowed, "{few:?} and {all:?}");
    assert!(few.total.error < 0.1 && all.total.error < few.total.error, "{few:?} and {all:?}");
}
