//! The random generator on the device: its authors' known answers, the moments of its normal
//! numbers, independence of the batch, and the masks of dropout.

use crate::common::Setup;
use degrain::gpu::Context;
use degrain::ops::{dropout, fill, philox, randn};
use degrain::tape::{Program, Shape, Step, Tape, Tensor, stream};

/// Runs a tape, and returns the words of `result`.
fn words(ctx: &mut Context, tape: &Tape, result: Tensor, step: &Step) -> Vec<u32> {
    let program = Program::compile(ctx, tape).expect("compiles");
    program.run(ctx, step).expect("runs");
    program.read_words(ctx, tape, result).expect("reads")
}

/// Normal noise of `images` images of `size` numbers, starting with image `first`, in step `index`.
fn draw(ctx: &Context, seed: u32, index: u32, first: u32, images: u32, size: u32) -> Vec<f32> {
    let mut tape = Tape::new(ctx.target());
    let z = randn(&mut tape, stream::NOISE, Shape::f32([images, size]));
    let step = Step { seed_low: seed, index, first_image: first, ..Step::default() };
    words(&mut ctx.fork(), &tape, z, &step).into_iter().map(f32::from_bits).collect()
}

/// The known answers published with Random123 (kat_vectors, philox4x32 10), in every setup.
#[test]
fn philox_gives_the_known_answers_of_its_authors() {
    let ones = u32::MAX;
    let known: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
        ([ones; 4], [ones; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
        (
            [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
            [0xa4093822, 0x299f31d0],
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
        ),
    ];
    for setup in Setup::all() {
        let ctx = crate::common::context_for(setup);
        for (counter, [seed_low, seed_high], answer) in known {
            let mut tape = Tape::new(ctx.target());
            let counters = tape.named("counters", Shape::u32([1, 4]));
            let y = philox(&mut tape, counters);
            let mut ctx = ctx.fork();
            ctx.require("counters", 16).expect("memory");
            ctx.write("counters", 0, &counter).expect("writes");
            let step = Step { seed_low, seed_high, ..Step::default() };
            assert_eq!(words(&mut ctx, &tape, y, &step), answer, "{setup:?}");
        }
    }
}

/// The first four moments are within five standard deviations of their estimators, and so is the
/// number of values in the tails.
#[test]
fn randn_is_normal() {
    let ctx = crate::common::context();
    let z: Vec<f64> = draw(&ctx, 1, 0, 0, 64, 4096).into_iter().map(f64::from).collect();
    let n = z.len() as f64;
    assert_eq!(z.len(), 262_144);
    let moment = |power: i32| z.iter().map(|z| z.powi(power)).sum::<f64>() / n;
    // Variances of the sample moments of a normal variable: E z^2k - (E z^k)^2 = 1, 2, 15, 96.
    for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)] {
        let (found, allowed) = (moment(power), 5.0 * (variance / n).sqrt());
        assert!((found - expected).abs() < allowed, "moment {power} is {found}, not {expected} within {allowed}");
    }
    // P(|z| > 4) = 6.334e-5, so the count is Poisson distributed.
    let (far, expected) = (z.iter().filter(|z| z.abs() > 4.0).count() as f64, 6.334e-5 * n);
    assert!((far - expected).abs() < 5.0 * expected.sqrt(), "{far} values beyond 4, not {expected}");
    // Neighbors, which include the pairs of Box and Muller, are not correlated.
    for distance in 1..=4 {
        let correlation = z.iter().zip(&z[distance..]).map(|(a, b)| a * b).sum::<f64>() / n;
        assert!(correlation.abs() < 5.0 / n.sqrt(), "correlation {correlation} at distance {distance}");
    }
}

#[test]
fn randn_of_an_image_does_not_depend_on_its_batch() {
    let ctx = crate::common::context();
    // The size is not a multiple of four: images do not begin at blocks of the generator.
    let (size, first) = (27 * 29, 1000);
    let batch = draw(&ctx, 7, 3, first, 64, size);
    for k in [0, 1, 30, 63] {
        let alone = draw(&ctx, 7, 3, first + k, 1, size);
        let within = &batch[(k * size) as usize..][..size as usize];
        assert!(alone.iter().map(|z| z.to_bits()).eq(within.iter().map(|z| z.to_bits())), "image {k}");
    }
}

#[test]
fn randn_differs_between_seeds_steps_and_images() {
    let ctx = crate::common::context();
    let draws =
        [(7, 3, 5), (8, 3, 5), (7, 4, 5), (7, 3, 6)].map(|(seed, index, first)| draw(&ctx, seed, index, first, 1, 64));
    for (i, a) in draws.iter().enumerate() {
        for b in &draws[..i] {
            assert!(a.iter().zip(b).all(|(a, b)| a != b), "two draws share a number");
        }
    }
}

/// Which elements of `images` images of `size` a layer keeps, starting with image `first`.
fn kept(ctx: &Context, layer: u32, first: u32, images: u32, size: u32, rate: f32) -> Vec<bool> {
    let mut tape = Tape::new(ctx.target());
    let ones = fill(&mut tape, 1.0, Shape::f32([images, size]));
    let y = dropout(&mut tape, ones, rate, layer);
    let step = Step { seed_low: 7, index: 3, first_image: first, ..Step::default() };
    words(&mut ctx.fork(), &tape, y, &step).into_iter().map(|word| f32::from_bits(word) > 0.0).collect()
}

/// The kept share, and the share on which two layers or two images agree, are within five standard
/// deviations. The mask of an image does not depend on its batch.
#[test]
fn dropout_keeps_the_expected_share() {
    let ctx = crate::common::context();
    let share = |bits: &mut dyn Iterator<Item = bool>, expected: f64| {
        let (mut all, mut set) = (0.0, 0.0);
        bits.for_each(|bit| (all, set) = (all + 1.0, set + f64::from(u8::from(bit))));
        let (found, allowed) = (set / all, 5.0 * f64::sqrt(expected * (1.0 - expected) / all));
        assert!((found - expected).abs() < allowed, "a share of {found}, not {expected} within {allowed}");
    };
    let (rate, size) = (0.25, 4096);
    let [a, b] = [0, 1].map(|layer| kept(&ctx, layer, 100, 32, size, rate));
    let agree = 0.75f64.powi(2) + 0.25f64.powi(2);
    share(&mut a.iter().copied(), 0.75);
    share(&mut a.iter().zip(&b).map(|(a, b)| a == b), agree);
    share(&mut a.iter().zip(&a[size as usize..]).map(|(a, b)| a == b), agree);
    assert_eq!(kept(&ctx, 0, 131, 1, size, rate), a[31 * size as usize..]);
}
