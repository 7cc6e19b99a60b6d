//! Programs are split into short submissions, which must not change a result.

use super::runs::checkpoint;
use crate::common::context;
use crate::common::run::digits;
use crate::common::small::small;
use degrain::gpu::{Context, Pace, SUBMISSION_SECONDS, Target};
use degrain::ops::attention;
use degrain::tape::{Call, Shape, Tape};
use degrain::train::{Settings, Size, Trainer};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

fn weights_after(ctx: &Context, out: &Path, calls: Option<usize>) -> Vec<(String, Vec<u8>)> {
    ctx.gpu.pace().set_fixed(calls);
    let settings = Settings { out: Some(out.into()), steps: Some(6), sample_every: Some(3), ..small("ddpm") };
    Trainer::new(ctx, settings).unwrap().run(&AtomicBool::new(false)).unwrap();
    let grid = out.join("samples/ema-000006.png");
    let weights = checkpoint(out, 6).into_iter().filter(|(name, _)| name.ends_with("safetensors"));
    weights.chain([("grid".into(), std::fs::read(grid).unwrap())]).collect()
}

#[test]
fn submissions_of_any_length_give_the_same_weights_and_samples() {
    let folder = TempDir::new().unwrap();
    let ctx = context();
    let whole = weights_after(&ctx, &folder.path().join("whole"), Some(usize::MAX));
    assert!(whole.len() >= 3, "weights, training state and grid");
    for (name, calls) in [("one", Some(1)), ("seven", Some(7)), ("adaptive", None)] {
        assert!(weights_after(&ctx, &folder.path().join(name), calls) == whole, "{name}: other weights or samples");
    }
}

/// The kernels for heads over 128 channels compute the scores again for each 8 channels of the result.
/// Programs are split by all of this work.
#[test]
fn attention_of_wide_heads_counts_repeated_work() {
    let (batch, width, tokens) = (2u64, 256u64, 64u64);
    let mut tape = Tape::new(Target::DISCRETE_GPU);
    let qkv = tape.named("qkv", Shape::f32([batch as u32, 3 * width as u32, tokens as u32]));
    tape.watch(qkv);
    let y = attention(&mut tape, qkv, width as u32);
    let dy = tape.named("dy", tape.shape(y));
    tape.backward(y, dy);
    let product = 2 * batch * width * tokens * tokens;
    let chunks = width / 8;
    // Of each call: products that count as its FLOPs, and those that the kernel does.
    for (name, counted, done) in [
        ("attention_untiled.forward", 2, chunks + 1),
        ("attention_untiled.backward_query", 3, 2 * chunks + 1),
        ("attention_untiled.backward_key_value", 2, 2 * chunks + 2),
    ] {
        let call =
            tape.calls().iter().find(|call| call.dispatch.entry.label == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(call.flops, counted * product, "{name}");
        assert_eq!(tape.work(call), degrain::gpu::work(done * product, tape.bytes(call)), "{name}");
    }
}

/// Seconds of a call on a device with this peak. It reaches half of it, and moves one byte in the
/// time of 20 operations.
fn seconds(tape: &Tape, call: &Call, peak: f64) -> f64 {
    (call.flops as f64 / (0.5 * peak)).max(tape.bytes(call) as f64 * 20.0 / peak)
}

/// A step of `base` on devices from 0.1 to 50 TFLOP/s, played without a device. Windows resets a
/// device after 2 seconds.
#[test]
fn submissions_of_base_are_short_on_slow_and_fast_devices() {
    let ctx = context();
    ctx.gpu.set_target(Target::DISCRETE_GPU);
    let settings = Settings {
        size: Some(Size::Base),
        data: Some(digits().into()),
        validation_count: Some(16),
        ..Settings::default()
    };
    let tape = Trainer::new(&ctx, settings).unwrap().training_tape().unwrap();
    let work: Vec<f64> = tape.calls().iter().map(|call| tape.work(call)).collect();
    println!("TFLOP/s   step s   longest of the first step   longest later   submissions later");
    for peak in [0.1e12, 0.3e12, 1e12, 3e12, 10e12, 50e12] {
        let times: Vec<f64> = tape.calls().iter().map(|call| seconds(&tape, call, peak)).collect();
        let whole: f64 = times.iter().sum();
        let single = times.iter().copied().fold(0.0, f64::max);
        let pace = Pace::default();
        let step = || {
            let parts = pace.split(&work);
            let longest = parts.iter().map(|part| times[part.clone()].iter().sum::<f64>()).fold(0.0, f64::max);
            pace.observe(work.iter().sum(), whole);
            (longest, parts.len())
        };
        let (first, _) = step();
        let (longest, count) = (0..20).fold((0.0, 0), |_, _| step());
        println!("{:7.1} {whole:8.3} {first:27.3} {longest:15.3} {count:19}", peak * 1e-12);
        assert!(first < 1.0, "{peak}: the first step has a submission of {first} s");
        // The calls of a program differ in the rate that they reach.
        assert!(longest < (4.0 * SUBMISSION_SECONDS).max(1.01 * single), "{peak}: {longest} s");
        assert!(count as f64 <= (4.0 * whole / SUBMISSION_SECONDS).ceil(), "{peak}: {count} submissions");
    }
}
