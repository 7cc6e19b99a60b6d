//! The number of kernel calls of a training step on a GPU, and of the pipelines that it needs.

use crate::common::context;
use crate::common::run::digits;
use degrain::gpu::Target;
use degrain::tape::Call;
use degrain::train::{Settings, Size, Trainer};
use std::collections::{BTreeMap, BTreeSet};

/// A GPU waits a few microseconds between two calls that depend on each other, which is a large
/// part of a step of `small`. A change that records more calls must say why here. Likewise for
/// pipelines: 36 of them are of convolutions, for five tiles and for each size of a kernel, stride
/// and addend.
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
    let tape = Trainer::new(&ctx, settings).unwrap().training_tape().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tape.calls().iter().for_each(|call| *counts.entry(call.dispatch.entry.label).or_default() += 1);
    assert!(tape.calls().len() <= 433, "{} calls: {counts:#?}", tape.calls().len());

    // A driver compiles each pipeline before the first step: a kernel with values for its
    // constants.
    let pipeline = |call: &Call| {
        let values: Vec<u64> = call.dispatch.constants.iter().map(|value| value.to_bits()).collect();
        (call.dispatch.entry.label, values)
    };
    let pipelines: BTreeSet<_> = tape.calls().iter().map(pipeline).collect();
    assert!(pipelines.len() <= 100, "{} pipelines: {pipelines:#?}", pipelines.len());
}
