//! Mixtures of Gaussians fitted to latents, on data whose distribution is known, and the latents
//! that an encoder returns.

use crate::common::context;
use crate::networks::vae;
use degrain::Error;
use degrain::checkpoint::latent_mixture;
use degrain::diffusion::autoencoder::Encoder;
use degrain::diffusion::latent_prior::{Component, LatentPrior, Mixture};
use degrain::nn::{Initialization, Likelihood, Model};
use degrain::rng::{key, normal4, philox, uniform};
use nalgebra::{DMatrix, DVector};
use std::f64::consts::TAU;
use tempfile::TempDir;

/// Draws of a prior as rows.
fn draws(prior: &LatentPrior, count: u32) -> Vec<Vec<f64>> {
    (0..count).map(|number| prior.draw(7, number).into_iter().map(f64::from).collect()).collect()
}

/// Mean and covariance of rows of two numbers.
fn moments(rows: &[Vec<f64>]) -> ([f64; 2], [f64; 3]) {
    let n = rows.len() as f64;
    let mean = [0, 1].map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n);
    let product = |i: usize, j: usize| rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f64>() / n;
    (mean, [product(0, 0), product(0, 1), product(1, 1)])
}

/// Rows near (-4, 1) with probability 0.25, elongated along (1, 1), and near (4, 0) otherwise.
fn two_clusters(count: u32) -> Vec<f32> {
    let row = |k: u32| {
        let [a, b, ..] = normal4(philox([100, 0, k, 0], key(3)));
        let left = uniform(philox([101, 0, k, 0], key(3))[0]) < 0.25;
        if left { [-4.0 + a, 1.0 + a + 0.2 * b] } else { [4.0 + 0.5 * a, b] }.map(|x| x as f32)
    };
    (0..count).flat_map(row).collect()
}

fn assert_near(got: &[f64], wanted: &[f64], tolerance: f64) {
    let near = got.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < tolerance);
    assert!(near && got.len() == wanted.len(), "{got:?} instead of {wanted:?}");
}

#[test]
fn normal_prior_has_mean_0_and_variance_1() {
    let rows = draws(&LatentPrior::Normal(2), 20_000);
    let (mean, covariance) = moments(&rows);
    // Five standard errors of 20,000 draws: 5 / sqrt(20,000) for means, sqrt(2) times that for variances.
    assert_near(&mean, &[0.0, 0.0], 0.036);
    assert_near(&covariance, &[1.0, 0.0, 1.0], 0.051);
    let wide = LatentPrior::Normal(7);
    assert_eq!(wide.draw(1, 5), wide.draw(1, 5));
    assert_ne!(wide.draw(1, 5), wide.draw(1, 6));
    let latent = wide.draw(1, 5);
    assert_eq!(latent.len(), 7);
    assert_ne!(latent[..3], latent[4..], "blocks have different numbers");
}

#[test]
fn mixture_of_one_component_has_the_moments_of_its_data() {
    let data = two_clusters(3_000);
    let rows: Vec<Vec<f64>> = data.chunks(2).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
    let (mean, covariance) = moments(&rows);
    let mixture = LatentPrior::Mixture(Mixture::fit(&data, 2, 1).unwrap());
    let (drawn_mean, drawn_covariance) = moments(&draws(&mixture, 20_000));
    // Five standard errors: the largest variance is 12.5.
    assert_near(&drawn_mean, &mean, 0.036 * covariance[0].sqrt());
    assert_near(&drawn_covariance, &covariance, 0.051 * covariance[0]);
}

#[test]
fn mixture_finds_weights_means_and_covariances_of_clusters() {
    let mixture = LatentPrior::Mixture(Mixture::fit(&two_clusters(8_000), 2, 2).unwrap());
    let (left, right): (Vec<_>, Vec<_>) = draws(&mixture, 20_000).into_iter().partition(|row| row[0] < 0.5);
    // Five standard errors of 8,000 latents and 20,000 draws together.
    let error = |count: f64| 5.0 * (1.0 / (0.4 * count) + 1.0 / count).sqrt();
    assert_near(&[left.len() as f64 / 20_000.0], &[0.25], 0.433 * error(20_000.0));
    let (mean, covariance) = moments(&left);
    assert_near(&mean, &[-4.0, 1.0], error(5_000.0) * 1.02);
    assert_near(&covariance, &[1.0, 1.0, 1.04], error(5_000.0) * 1.5);
    let (mean, covariance) = moments(&right);
    assert_near(&mean, &[4.0, 0.0], error(15_000.0));
    assert_near(&covariance, &[0.25, 0.0, 1.0], error(15_000.0) * 1.5);
}

/// Two components whose covariances are diag(1, 4) and [[1, 2], [2, 5]].
fn two_components() -> [Component; 2] {
    let component = |weight, mean: [f64; 2], factor: [f64; 4]| Component {
        weight,
        mean: DVector::from_row_slice(&mean),
        factor: DMatrix::from_row_slice(2, 2, &factor),
    };
    [component(0.25, [1.0, -2.0], [1.0, 0.0, 0.0, 2.0]), component(0.75, [0.0, 3.0], [1.0, 0.0, 2.0, 1.0])]
}

#[test]
fn log_densities_are_those_of_the_formula() {
    let normal = LatentPrior::Normal(3).log_densities(&[0.0, 0.0, 0.0, 1.0, -2.0, 3.0]);
    assert_near(&normal, &[-1.5 * TAU.ln(), -1.5 * TAU.ln() - 7.0], 1e-12);
    let mixture = LatentPrior::Mixture(Mixture::new(two_components().into()).unwrap());
    assert_eq!(mixture.components(), 2);
    // The inverse of [[1, 2], [2, 5]] is [[5, -2], [-2, 1]], and its determinant is 1.
    let density = |x: f64, y: f64| {
        let first = (-0.5 * ((x - 1.0).powi(2) + (y + 2.0).powi(2) / 4.0)).exp() / (TAU * 2.0);
        let second = (-0.5 * (5.0 * x * x - 4.0 * x * (y - 3.0) + (y - 3.0).powi(2))).exp() / TAU;
        (0.25 * first + 0.75 * second).ln()
    };
    let expected = [density(1.0, -2.0), density(0.5, 3.5), density(-3.0, 0.25)];
    assert_near(&mixture.log_densities(&[1.0, -2.0, 0.5, 3.5, -3.0, 0.25]), &expected, 1e-12);
    // Far away, every density is 0 in f64, but its logarithm is finite.
    let far = mixture.log_densities(&[1000.0, 0.0])[0];
    assert!(far < -1e5 && far.is_finite(), "{far}");
}

#[test]
fn mixture_in_a_checkpoint_draws_the_same_latents() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(latent_mixture::FILE);
    assert!(latent_mixture::read(&path).unwrap().is_none(), "there is no file");
    let mixture = Mixture::fit(&two_clusters(500), 2, 3).unwrap();
    latent_mixture::write(&path, &mixture).unwrap();
    assert_eq!(latent_mixture::read(&path).unwrap(), Some(mixture));
}

#[test]
fn mixture_of_another_model_or_a_damaged_one_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(latent_mixture::FILE);
    let refuses = |width: u32, parts: &[&str]| {
        let problem = latent_mixture::read_for(&path, width).unwrap_err().to_string();
        for part in [&["latent_mixture.safetensors", "Remove the file"][..], parts].concat() {
            assert!(problem.contains(part), "{problem:?} does not say {part:?}");
        }
    };
    latent_mixture::write(&path, &Mixture::new(two_components().into()).unwrap()).unwrap();
    refuses(3, &["latents of 2 dimensions", "the model's have 3"]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 8]).unwrap();
    refuses(2, &["not a safetensors file"]);
    // The last numbers of the file may belong to any tensor: all of them not finite.
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let broken = [&bytes[..header], &vec![0xff; bytes.len() - header]].concat();
    std::fs::write(&path, broken).unwrap();
    refuses(2, &["not finite"]);

    let [first, second] = two_components();
    for (components, part) in [
        (vec![], "no components"),
        (vec![first.clone()], "add up to 0.25"),
        (vec![first.clone(), Component { weight: -0.75, ..second.clone() }], "not positive"),
        (vec![first.clone(), Component { factor: second.factor.transpose(), ..second.clone() }], "lower triangular"),
        (vec![first, Component { mean: DVector::from_element(3, 0.0), ..second }], "size"),
    ] {
        let problem = Mixture::new(components).unwrap_err();
        assert!(problem.contains(part), "{problem:?} does not say {part:?}");
    }
}

#[test]
fn mixtures_of_data_that_do_not_fit_are_refused() {
    let data = two_clusters(20);
    for components in [0, 11] {
        let problem = Mixture::fit(&data, 2, components).unwrap_err();
        assert!(
            matches!(&problem, Error::Config(text) if text.contains("--latent-components") && text.contains("use 1 to 10")),
            "{problem}"
        );
    }
    let problem = Mixture::fit(&[0.0, f32::NAN, 1.0, 2.0], 1, 1).unwrap_err();
    assert!(matches!(problem, Error::NonFinite(_)), "{problem}");
}

/// All latents of several batches have the mean and the variance that the encoder gives them, which
/// are the same for every image if its weights are 0.
#[test]
fn encoder_draws_a_latent_of_every_image() {
    let mut ctx = context();
    let model = vae([8, 4], Likelihood::DiscretizedLogistic);
    let mut weights = model.parameters().initialize(0, Initialization::ZeroLast);
    for (name, value) in [("encoder.mean", 2.0), ("encoder.log_variance", -3.0)] {
        for part in ["weight", "bias"] {
            let parameter = model.parameters().find(&format!("{name}.{part}")).unwrap();
            let first = parameter.offset as usize / size_of::<f32>();
            weights[first..first + parameter.shape.len()].fill(if part == "bias" { value } else { 0.0 });
        }
    }
    model.parameters().write(&mut ctx, "w", &weights).unwrap();
    let encoder = Encoder::new(&mut ctx, &model, "w", 64, "test").unwrap();
    let latents = encoder.latents(&ctx, &vec![0.5; 1_000 * 32], 0, 0).unwrap();
    assert_eq!(latents.len(), 3_000);
    assert_ne!(latents[..192], latents[192..384], "batches have different noise");
    let n = latents.len() as f64;
    let mean = latents.iter().map(|&z| f64::from(z)).sum::<f64>() / n;
    let variance = latents.iter().map(|&z| (f64::from(z) - mean).powi(2)).sum::<f64>() / n;
    let expected = (-3.0_f64).exp();
    assert_near(&[mean], &[2.0], 5.0 * (expected / n).sqrt());
    assert_near(&[variance], &[expected], 5.0 * expected * (2.0 / n).sqrt());
}
