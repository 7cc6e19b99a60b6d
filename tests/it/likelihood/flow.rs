//! The flow's likelihood of data N(0, variance): the density of the process at the time where it starts.

use super::{TOLERANCE, VARIANCE, best_answer, best_answer_for, bits_of_density, bytes, images, pixel};
use crate::common::linear_network::LinearNetwork;
use degrain::diffusion::processes::{Edm, Flow as Straight, SubVp, Ve, Vp};
use degrain::diffusion::{Denoiser, Process};
use degrain::metrics::likelihood::flow::{Flow, dequantized, offset};
use degrain::metrics::padding::ImagePadding;
use std::rc::Rc;

const SEED: u64 = 3;
const SIDE: u32 = 16;

/// A process, and the time that a network's time stands for.
type Told = (Rc<dyn Process>, fn(f64) -> f64);

fn processes() -> Vec<Told> {
    let thousandths = |told: f64| told / 999.0;
    vec![
        (Rc::new(Vp::default()), thousandths),
        (Rc::new(SubVp::default()), thousandths),
        (Rc::new(Ve::default()), thousandths),
        (Rc::new(Edm::default()), |told| (told / 250.0).exp()),
        (Rc::new(Straight::default()), thousandths),
    ]
}

#[test]
fn with_the_exact_answer_the_likelihood_is_that_of_the_density() {
    let (ctx, count) = (crate::common::context(), 4);
    let each = (SIDE * SIDE) as usize;
    let bytes = bytes(count * each);
    for (process, time) in processes() {
        let inner = process.clone();
        let factors = move |told: f64| {
            // It is shown x times a factor.
            let t = time(told);
            [best_answer(&*inner, t) / inner.parameterization(t).c_in, 0.0]
        };
        let network = LinearNetwork::new([1, SIDE, SIDE], false, Box::new(factors));
        let denoiser = Denoiser {
            network: &network,
            slab: "none",
            process: &*process,
            labels: None,
            learned_variance: false,
            decoder_min_std: 0.0,
        };
        let mut ctx = ctx.fork();
        let border = ImagePadding::between([1, SIDE, SIDE], [1, SIDE, SIDE]).unwrap();
        let flow = Flow::new(&mut ctx, denoiser, border, 3, "flow").unwrap();
        let bits = flow.measure(&ctx, images(&bytes), 1e-4, SEED, &mut |_| Ok(())).unwrap();
        let at = process.marginal(process.t_eps());
        let x: Vec<f64> =
            bytes.chunks(each).enumerate().flat_map(|(k, image)| dequantized(image, SEED, k as u32)).collect();
        let variance = at.alpha * at.alpha * VARIANCE + at.sigma * at.sigma;
        let expected = bits_of_density(x.into_iter(), variance) + (255.0f64 / 2.0).log2();
        let error = bits.total.value - expected;
        assert!(error.abs() <= TOLERANCE, "{}: {bits:?} is {error:e} from {expected}", process.describe());
        assert_eq!(bits.images, count as u32);
    }
}

/// A Jacobian that is not diagonal: the estimate of its trace is right on average, and its error is told.
#[test]
fn the_trace_of_a_network_that_mixes_pixels_is_estimated() {
    const OF_MEANS: f64 = 0.25;
    let (ctx, process, count, each) = (crate::common::context(), Vp::default(), 64, (SIDE * SIDE) as usize);
    let bytes = bytes(count * each);
    let network =
        LinearNetwork::new([1, SIDE, SIDE], false, Box::new(|t| [best_answer(&Vp::default(), t / 999.0), 0.0]))
            .mixing(Box::new(|t| best_answer_for(&Vp::default(), t / 999.0, OF_MEANS)));
    let denoiser = Denoiser {
        network: &network,
        slab: "none",
        process: &process,
        labels: None,
        learned_variance: false,
        decoder_min_std: 0.0,
    };
    let mut ctx = ctx.fork();
    let border = ImagePadding::between([1, SIDE, SIDE], [1, SIDE, SIDE]).unwrap();
    let flow = Flow::new(&mut ctx, denoiser, border, 64, "flow").unwrap();
    let bits = flow.measure(&ctx, images(&bytes), 1e-4, SEED, &mut |_| Ok(())).unwrap();
    // In orthonormal coordinates a quarter of them are means of 2x2 pixels (times two), the rest differences.
    let at = process.marginal(process.t_eps());
    let [of_rest, of_means] = [VARIANCE, OF_MEANS].map(|v| at.alpha * at.alpha * v + at.sigma * at.sigma);
    let (mut means, mut rest) = (vec![], vec![]);
    for (number, image) in bytes.chunks(each).enumerate() {
        let x = dequantized(image, SEED, number as u32);
        for (row, column) in (0..SIDE / 2).flat_map(|row| (0..SIDE / 2).map(move |column| (row, column))) {
            let pixel = |i: u32, j: u32| x[((2 * row + i) * SIDE + 2 * column + j) as usize];
            let [a, b, c, d] = [pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1)];
            means.push((a + b + c + d) / 2.0);
            rest.extend([(a - b + c - d) / 2.0, (a + b - c - d) / 2.0, (a - b - c + d) / 2.0]);
        }
    }
    let expected = (bits_of_density(means.into_iter(), of_means) + 3.0 * bits_of_density(rest.into_iter(), of_rest))
        / 4.0
        + (255.0f64 / 2.0).log2();
    let error = bits.total.value - expected;
    assert!(error.abs() <= 4.0 * bits.total.error && bits.total.error < 0.05, "{bits:?} is {error:e} from {expected}");
}

#[test]
fn a_density_that_is_even_over_all_bins_costs_eight_bits() {
    // 256 bins of width 2/255 are 512/255 wide.
    let nats = (255.0f64 / 512.0).ln();
    assert!((degrain::metrics::likelihood::flow::bits(nats) - 8.0).abs() < 1e-12);
    assert!((offset() - 6.994_353).abs() < 1e-6);
}

#[test]
fn noise_fills_each_bin_evenly_and_leaves_none() {
    let all: Vec<u8> = (0..=255).cycle().take(256 * 400).collect();
    let moved = dequantized(&all, SEED, 0);
    let offsets: Vec<f64> = moved.iter().zip(&all).map(|(x, &byte)| (x - pixel(byte)) * 255.0).collect();
    assert!(offsets.iter().all(|offset| offset.abs() <= 1.0 + 1e-4), "a bin is 2/255 wide");
    // Moments of the uniform distribution on [-1, 1]: 0 and 1/3, each within four standard errors.
    let count = offsets.len() as f64;
    let mean = offsets.iter().sum::<f64>() / count;
    let square = offsets.iter().map(|x| x * x).sum::<f64>() / count;
    assert!(mean.abs() < 4.0 / (3.0 * count).sqrt(), "mean {mean}");
    assert!((square - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / count).sqrt(), "mean square {square}");
    assert_ne!(dequantized(&all[..4], SEED, 0), dequantized(&all[..4], SEED, 1), "an image has its own noise");
}
