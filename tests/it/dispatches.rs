//! The number of kernel calls of a training step on a GPU.

use crate::common::context;
use crate::common::run::digits;
use degrain::gpu::Target;
use degrain::train::{Settings, Size, Trainer};
use std::collections::BTreeMap;

/// A GPU waits a few microseconds between two calls that depend on each other, which is a large
/// part of a step of `small`. A change that records more calls must say why here.
#[test]
fn dispatches_of_a_step_of_small_stay_few() {
    let ctx = context();
    ctx.gpu.set_target(Target::DISCRETE_GPU);
    let settings = Settings {
        size: Some(Size::Small),
        data: Some(digits().into()),
        validation_count: Some(16),
        ..Settings::default()
    };
    let tape = Trainer::new(&ctx, settings).unwrap().training_tape();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tape.calls().iter().for_each(|call| *counts.entry(call.dispatch.entry.label).or_default() += 1);
    assert!(tape.calls().len() <= 433, "{} calls: {counts:#?}", tape.calls().len());
}
