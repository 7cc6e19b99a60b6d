//! The bounds of an autoencoder: with one latent both are equal, more latents tighten the weighted
//! bound, and the ELBO is what training minimizes.

use super::images;
use degrain::data::{Split, load};
use degrain::diffusion::latent_prior::{Component, LatentPrior, Mixture};
use degrain::metrics::likelihood::elbo::ElboEstimator;
use degrain::metrics::likelihood::{BitsPerDimension, Draws};
use degrain::nn::{Initialization, Likelihood, Model, Vae, VaeConfig};
use degrain::ops::{discretized_logistic, kl_normal, reparameterize, slice};
use degrain::tape::{Program, Shape, Step, Tape};
use nalgebra::{DMatrix, DVector};
use std::path::Path;

const COUNT: usize = 24;

fn model() -> Vae {
    let config = VaeConfig { block_out_channels: vec![8, 8], latent_channels: 6, ..VaeConfig::default() };
    Vae::new(config).unwrap()
}

fn digits() -> Vec<u8> {
    let data = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist"), Split::Test).unwrap();
    data.images[..COUNT * 784].to_vec()
}

fn measured(samples: u32) -> BitsPerDimension {
    measured_with(samples, LatentPrior::Normal(6))
}

fn measured_with(samples: u32, prior: LatentPrior) -> BitsPerDimension {
    let mut ctx = crate::common::context();
    let model = model();
    let weights = model.parameters().initialize(1, Initialization::PyTorch);
    model.parameters().write(&mut ctx, "weights", &weights).unwrap();
    let elbo = ElboEstimator::new(&mut ctx, &model, "weights", 16, "elbo").unwrap().with_prior(prior);
    elbo.measure(&ctx, images(&digits()), Draws { per_image: samples, seed: 4 }, &mut |_| Ok(())).unwrap()
}

#[test]
fn elbo_equals_the_weighted_bound_with_one_latent_and_is_looser_with_more() {
    let (one, many) = (measured(1), measured(50));
    assert!((one.total.value - one.parts[0].1.value).abs() < 1e-12, "{one:?}");
    assert!(many.total.value < many.parts[0].1.value, "{many:?}");
    assert_eq!(one.images as usize, COUNT);
}

/// A mixture whose only component is N(0, 1) gives the bounds of the prior N(0, 1). A component that is
/// moved by 1 in every dimension gives others.
#[test]
fn bounds_depend_on_the_prior() {
    let with_mean = |mean: f64| {
        let (mean, factor) = (DVector::from_element(6, mean), DMatrix::identity(6, 6));
        LatentPrior::Mixture(Mixture::new(vec![Component { weight: 1.0, mean, factor }]).unwrap())
    };
    let (normal, same, moved) = (measured(5), measured_with(5, with_mean(0.0)), measured_with(5, with_mean(1.0)));
    assert!(same.method.contains("mixture of 1 Gaussian"), "{}", same.method);
    assert!((same.total.value - normal.total.value).abs() < 1e-12, "{same:?} {normal:?}");
    assert!((same.parts[0].1.value - normal.parts[0].1.value).abs() < 1e-12, "{same:?} {normal:?}");
    // The posterior is near N(0, 1), so log p(z) falls by about 6 / 2 nats.
    let nats = (moved.parts[0].1.value - normal.parts[0].1.value) * 784.0 * std::f64::consts::LN_2;
    assert!((2.0..4.0).contains(&nats), "{nats} nats");
}

/// Compares the ELBO, a mean of sampled log-weights, with -log p(x|z) of the operator plus the
/// divergence in closed form.
#[test]
fn elbo_is_reconstruction_plus_divergence() {
    let mut ctx = crate::common::context();
    let model = model();
    let weights = model.parameters().initialize(1, Initialization::PyTorch);
    model.parameters().write(&mut ctx, "weights", &weights).unwrap();
    assert_eq!(model.likelihood(), Likelihood::DiscretizedLogistic);
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let x = t.named("x", Shape::f32([COUNT as u32, 1, 28, 28]));
    let w = model.parameters().fixed(t, "weights");
    let (mean, log_variance) = model.encode(t, &w, x);
    let z = reparameterize(t, mean, log_variance);
    let out = model.decode(t, &w, z);
    let [center, log_scale] = [0, 1].map(|from| slice(t, out, from, 1));
    let nats = discretized_logistic(t, center, log_scale, x);
    let divergence = kl_normal(t, mean, log_variance);
    t.keep(nats, "nats");
    t.keep(divergence, "divergence");
    let program = Program::compile(&mut ctx, &tape).unwrap();
    let pixels: Vec<f32> = digits().iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    ctx.write("x", 0, &pixels).unwrap();
    let mut sum = 0.0;
    let samples = 50;
    for index in 0..samples {
        program.run(&ctx, &Step { seed_low: 9, index, ..Step::default() }).unwrap();
        for name in ["nats", "divergence"] {
            sum += ctx.read::<f32>(name, 0, COUNT).unwrap().iter().map(|&x| f64::from(x)).sum::<f64>();
        }
    }
    let expected = sum / f64::from(samples) / COUNT as f64 / 784.0 / std::f64::consts::LN_2;
    let lower = measured(50).parts[0].1.value;
    // The sampled divergence of 6 latents has a standard deviation of about sqrt(6 / 2) nats. The
    // mean is over 1,200 of them, and five standard errors are allowed.
    let allowed =
        5.0 * 3f64.sqrt() / (f64::from(samples) * COUNT as f64).sqrt() / 784.0 / std::f64::consts::LN_2 + 1e-3;
    assert!((lower - expected).abs() < allowed, "{lower} is not {expected} within {allowed}");
}
