//! Images of any size: networks pad them to sides that their levels can halve, and crop their
//! output.

use crate::common::context;
use crate::networks::{
    batch, classifier, filled, operators, plain, residual, times, unet2d, vae, verify, verify_network,
};
use degrain::data::Dataset;
use degrain::metrics::likelihood::LabeledImages;
use degrain::nn::{Conditions, DownsampleType, Likelihood, Model, Network, PARAMETERS, Pooling};
use degrain::ops::{add, pad};
use degrain::tape::testing::TEST_STEP;
use degrain::tape::{Program, Shape, Tape, Tensor};
use degrain::train::{LikelihoodRequest, LogEntry, SampleRequest, Settings, Trainer};
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Sizes that no level can halve, rectangular and down to one pixel.
const SIZES: [[u32; 2]; 4] = [[7, 9], [3, 5], [1, 6], [1, 1]];

fn networks(size: [u32; 2]) -> Vec<Box<dyn Network>> {
    vec![
        Box::new(plain(size, Some(4))),
        Box::new(residual(size, DownsampleType::Conv, Some(4))),
        Box::new(residual(size, DownsampleType::Average, None)),
        Box::new(unet2d(size)),
        Box::new(classifier(size, Pooling::Conv, true)),
        Box::new(classifier(size, Pooling::Max, false)),
    ]
}

/// Every kernel call and gradient, also those of the padding, against f64.
#[test]
fn networks_of_any_size_match_their_references() {
    for size in SIZES {
        networks(size).iter().for_each(|network| verify_network(&context(), &**network));
    }
}

#[test]
fn vae_of_any_size_matches_its_references() {
    let [height, width] = [7, 9];
    let model = vae([height, width], Likelihood::DiscretizedLogistic);
    verify(&context(), &model, &[], |t, w| {
        let x = t.named("x", Shape::f32([3, 1, height, width]));
        let (mean, log_variance) = model.encode(t, w, x);
        let z = add(t, mean, log_variance);
        let out = model.decode(t, w, z);
        assert_eq!(t.shape(out), Shape::f32([3, 2, height, width]));
        out
    });
}

/// The result of a program that only reads the initial weights of a network.
fn evaluated(network: &dyn Network, record: impl FnOnce(&mut Tape, Tensor, Conditions) -> Tensor) -> Vec<f32> {
    let ctx = context();
    let mut t = Tape::new(ctx.target());
    let (x, conditions) = batch(&mut t, network, 3);
    let out = record(&mut t, x, conditions);
    t.keep(out, "out");
    let mut ctx = filled(&ctx, &t, network, &times(network));
    let program = Program::compile(&mut ctx, &t).unwrap();
    program.run(&ctx, &TEST_STEP).unwrap();
    ctx.read("out", 0, t.shape(out).len()).unwrap()
}

/// The padded network computes what the same weights compute for images with a border of zeros.
#[test]
fn padded_networks_equal_networks_on_padded_images() {
    let [size, whole] = [[7, 9], [8, 12]];
    let wholes = networks(whole);
    for (network, whole_network) in networks(size).into_iter().zip(wholes).take(4) {
        let multiple = network.padded_size(size);
        let padded = evaluated(&*network, |t, x, conditions| {
            let w = network.parameters().fixed(t, PARAMETERS);
            let out = network.forward(t, &w, x, conditions);
            assert_eq!(t.shape(out).dims()[2..], size, "{}", network.class());
            out
        });
        let cropped = evaluated(&*network, |t, x, conditions| {
            let w = whole_network.parameters().fixed(t, PARAMETERS);
            let x = pad(t, x, multiple);
            // The plain network takes one size only.
            let out = if multiple == whole { &whole_network } else { &network }.forward(t, &w, x, conditions);
            pad(t, out, size)
        });
        assert!(padded == cropped, "{}: the outputs differ", network.class());
        assert!(padded.iter().any(|&x| x != 0.0), "{}: the output is zero", network.class());
    }
}

#[test]
fn networks_pad_only_images_that_do_not_fit() {
    let pads = |network: &dyn Network| {
        let mut t = Tape::new(context().target());
        let (x, conditions) = batch(&mut t, network, 2);
        let w = network.parameters().trained(&mut t);
        network.forward(&mut t, &w, x, conditions);
        operators(&t, "Pad {").len()
    };
    for network in networks([8, 12]) {
        assert_eq!(pads(&*network), 0, "{}", network.class());
        assert_eq!(network.padded_size([8, 12]), [8, 12], "{}", network.class());
    }
    for network in networks([7, 9]) {
        // A classifier rounds, and its output is no image.
        let is_classifier = network.class() == "Classifier";
        assert_eq!(pads(&*network), if is_classifier { 0 } else { 2 }, "{}", network.class());
    }
    let classifier = classifier([3, 9], Pooling::Max, false);
    assert_eq!((classifier.padded_size([3, 9]), pads(&classifier)), ([4, 9], 1));
}

/// 60 images of 5x7 pixels: a bright bar at one of two places, and noise.
fn bars() -> Dataset {
    let pixel = |image: usize, row: usize, column: usize| {
        let noise = (image * 31 + row * 17 + column * 13) % 40;
        (if column / 4 == image % 2 && row > 0 { 215 } else { 0 } + noise) as u8
    };
    let pixels = |image: usize| (0..35).map(move |i| pixel(image, i / 7, i % 7));
    Dataset::from_arrays("bars", (0..60).flat_map(pixels).collect(), (0..60).map(|i| i % 2).collect(), [1, 5, 7])
}

/// A run on images that do not fit: it says so, the loss falls, its samples have the size of the
/// images, and the likelihood counts their pixels only.
#[test]
fn images_of_any_size_are_trained_sampled_and_measured() {
    let folder = TempDir::new().unwrap();
    for preset in ["ddpm", "plain-conditional", "residual-attention", "vae"] {
        let settings = Settings {
            out: Some(folder.path().join(preset)),
            data: None,
            steps: Some(60),
            batch: Some(8),
            lr: Some(4e-3),
            ..crate::common::small::small(preset)
        };
        let mut trainer = Trainer::with_data(&context(), settings, bars()).unwrap();
        let told = trainer.describe();
        assert!(told.contains("images of 5x7 are padded to 6x8 inside the network"), "{told}");
        let mut losses = vec![];
        trainer
            .run_with(&AtomicBool::new(false), &mut |entry| {
                if let LogEntry::Step { loss, .. } = entry {
                    losses.push(*loss)
                }
            })
            .unwrap();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..10]), mean(&losses[50..]));
        assert!(last < 0.9 * first, "{preset}: the loss was {first}, and is {last}");

        let (objective, config) = (trainer.objective().clone(), trainer.config().clone());
        let stop = AtomicBool::new(false);
        let request = SampleRequest {
            weights: degrain::train::EMA,
            labels: &[0, 1, 0],
            first: 0,
            name: "test",
            latents: None,
            snapshots: 0,
            stop: &stop,
        };
        let images = objective.generative().unwrap().sample(trainer.context_mut(), &config, &request).unwrap();
        let sampled = images.last().unwrap();
        assert_eq!(sampled.shape(), [3, 1, 5, 7], "{preset}");
        let data = bars();
        let images = LabeledImages { bytes: &data.images[..12 * 35], labels: &data.labels[..12] };
        let request = LikelihoodRequest { weights: degrain::train::EMA, images, stop: &stop };
        let bits = objective.bits_per_dim().unwrap().measure(trainer.context_mut(), &config, &request).unwrap();
        assert!((1.0..20.0).contains(&bits), "{preset}: {bits} bits per dimension");
    }
}
