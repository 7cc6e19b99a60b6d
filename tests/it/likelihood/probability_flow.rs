//! The likelihood of the probability flow for data N(0, variance): the density of the process at
//! the smallest training time.

use super::{TOLERANCE, VARIANCE, best_factor, best_factor_for, bits_of_density, bytes, images, pixel};
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::processes::{Edm, Flow, SubVp, Ve, Vp};
use degrain::diffusion::{Denoiser, DenoiserSpec, Process};
use degrain::metrics::likelihood::probability_flow::{
    FlowLikelihood, FlowSettings, bin_bits, bits_of_log_density, dequantize,
};
use degrain::metrics::padding::ImagePadding;
use std::rc::Rc;

const SEED: u64 = 3;
const SIDE: u32 = 16;

/// A process, and the process time of a network's time input.
type ProcessTime = (Rc<dyn Process>, fn(f64) -> f64);

fn processes() -> Vec<ProcessTime> {
    let thousandths = |time: f64| time / 999.0;
    vec![
        (Rc::new(Vp::default()), thousandths),
        (Rc::new(SubVp::default()), thousandths),
        (Rc::new(Ve::default()), thousandths),
        (Rc::new(Edm::default()), |time| (time / 250.0).exp()),
        (Rc::new(Flow::default()), thousandths),
    ]
}

#[test]
fn flow_likelihood_with_the_exact_network_is_the_density() {
    let (ctx, count) = (crate::common::context(), 4);
    let each = (SIDE * SIDE) as usize;
    let bytes = bytes(count * each);
    for (process, time) in processes() {
        let inner = process.clone();
        let factors = move |input: f64| {
            // The network's input is x times c_in.
            let t = time(input);
            [best_factor(&*inner, t) / inner.parameterization(t).c_in, 0.0]
        };
        let network = LinearNetwork::new([1, SIDE, SIDE], false, Box::new(factors));
        let denoiser = Denoiser {
            network: &network,
            weights: "none",
            process: &*process,
            spec: DenoiserSpec { labels: None, learned_variance: false, decoder_min_std: 0.0, data: None },
        };
        let mut ctx = ctx.fork();
        let padding = ImagePadding::new([1, SIDE, SIDE], [1, SIDE, SIDE]).unwrap();
        let flow = FlowLikelihood::new(&mut ctx, denoiser, padding, 3, "flow").unwrap();
        let bits =
            flow.measure(&ctx, images(&bytes), FlowSettings { tolerance: 1e-4, seed: SEED }, &mut |_| Ok(())).unwrap();
        let at = process.marginal(process.t_eps());
        let x: Vec<f64> =
            bytes.chunks(each).enumerate().flat_map(|(k, image)| dequantize(image, SEED, k as u32)).collect();
        let variance = at.alpha * at.alpha * VARIANCE + at.sigma * at.sigma;
        let expected = bits_of_density(x.into_iter(), variance) + (255.0f64 / 2.0).log2();
        let error = bits.total.value - expected;
        assert!(error.abs() <= TOLERANCE, "{}: {bits:?} is {error:e} from {expected}", process.describe());
        assert_eq!(bits.images, count as u32);
    }
}

/// If the Jacobian is not diagonal, the estimate of its trace has an error but is unbiased.
#[test]
fn flow_likelihood_estimates_the_trace_of_a_network_that_mixes_pixels() {
    const OF_MEANS: f64 = 0.25;
    let ctx = crate::common::context();
    let process = Vp::default();
    let count = 64;
    let each = (SIDE * SIDE) as usize;
    let bytes = bytes(count * each);
    let network =
        LinearNetwork::new([1, SIDE, SIDE], false, Box::new(|t| [best_factor(&Vp::default(), t / 999.0), 0.0]))
            .mixing(Box::new(|t| best_factor_for(&Vp::default(), t / 999.0, OF_MEANS)));
    let denoiser = Denoiser {
        network: &network,
        weights: "none",
        process: &process,
        spec: DenoiserSpec { labels: None, learned_variance: false, decoder_min_std: 0.0, data: None },
    };
    let mut ctx = ctx.fork();
    let padding = ImagePadding::new([1, SIDE, SIDE], [1, SIDE, SIDE]).unwrap();
    let flow = FlowLikelihood::new(&mut ctx, denoiser, padding, 64, "flow").unwrap();
    let bits =
        flow.measure(&ctx, images(&bytes), FlowSettings { tolerance: 1e-4, seed: SEED }, &mut |_| Ok(())).unwrap();
    // In orthonormal coordinates a quarter of the values are means of 2 x 2 pixels (times two), the
    // rest are differences.
    let at = process.marginal(process.t_eps());
    let [rest_variance, means_variance] = [VARIANCE, OF_MEANS].map(|v| at.alpha * at.alpha * v + at.sigma * at.sigma);
    let (mut means, mut rest) = (vec![], vec![]);
    for (number, image) in bytes.chunks(each).enumerate() {
        let x = dequantize(image, SEED, number as u32);
        for (row, column) in (0..SIDE / 2).flat_map(|row| (0..SIDE / 2).map(move |column| (row, column))) {
            let pixel = |i: u32, j: u32| x[((2 * row + i) * SIDE + 2 * column + j) as usize];
            let [a, b, c, d] = [pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1)];
            means.push((a + b + c + d) / 2.0);
            rest.extend([(a - b + c - d) / 2.0, (a + b - c - d) / 2.0, (a - b - c + d) / 2.0]);
        }
    }
    let expected = (bits_of_density(means.into_iter(), means_variance)
        + 3.0 * bits_of_density(rest.into_iter(), rest_variance))
        / 4.0
        + (255.0f64 / 2.0).log2();
    let error = bits.total.value - expected;
    assert!(error.abs() <= 4.0 * bits.total.error && bits.total.error < 0.05, "{bits:?} is {error:e} from {expected}");
}

#[test]
fn bits_of_a_uniform_density_over_all_bins_are_eight() {
    // 256 bins of width 2/255 are 512/255 wide.
    let nats = (255.0f64 / 512.0).ln();
    assert!((bits_of_log_density(nats) - 8.0).abs() < 1e-12);
    assert!((bin_bits() - 6.994_353).abs() < 1e-6);
}

#[test]
fn dequantize_fills_each_bin_uniformly() {
    let all: Vec<u8> = (0..=255).cycle().take(256 * 400).collect();
    let moved = dequantize(&all, SEED, 0);
    let offsets: Vec<f64> = moved.iter().zip(&all).map(|(x, &byte)| (x - pixel(byte)) * 255.0).collect();
    assert!(offsets.iter().all(|offset| offset.abs() <= 1.0 + 1e-4), "a bin is 2/255 wide");
    // Moments of the uniform distribution on [-1, 1]: 0 and 1/3, each within four standard errors.
    let count = offsets.len() as f64;
    let mean = offsets.iter().sum::<f64>() / count;
    let square = offsets.iter().map(|x| x * x).sum::<f64>() / count;
    assert!(mean.abs() < 4.0 / (3.0 * count).sqrt(), "mean {mean}");
    assert!((square - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / count).sqrt(), "mean square {square}");
    assert_ne!(dequantize(&all[..4], SEED, 0), dequantize(&all[..4], SEED, 1), "an image has its own noise");
}
