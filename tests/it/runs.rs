//! Trains and reads the files of a run: shared by the tests of training and of presets.

use crate::common::run::files;
use degrain::gpu::Context;
use degrain::train::{Outcome, Settings, Trainer};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// How much of a run to train, and when to stop.
#[derive(Clone, Copy, Default)]
pub struct Part<'a> {
    /// Continues from the last checkpoint.
    pub resume: bool,
    /// Stops after this many finished steps, counted from the start of the run.
    pub stop_after: Option<u32>,
    /// Stops once this is true, as after Ctrl-C.
    pub interrupt: Option<&'a AtomicBool>,
}

/// The whole run.
pub const WHOLE: Part = Part { resume: false, stop_after: None, interrupt: None };
/// The rest of a run from its last checkpoint.
pub const REST: Part = Part { resume: true, ..WHOLE };

/// The first steps of a run.
pub fn first(steps: u32) -> Part<'static> {
    Part { stop_after: Some(steps), ..WHOLE }
}

/// Trains a part of a run. The trainer's buffers hold the state at its end.
pub fn try_train(ctx: &Context, settings: Settings, part: Part) -> (degrain::Result<Outcome>, Trainer) {
    let mut trainer = Trainer::new(ctx, settings).unwrap_or_else(|e| panic!("{e}")).stop_after(part.stop_after);
    if part.resume {
        trainer = trainer.resume().unwrap_or_else(|e| panic!("{e}"));
    }
    (trainer.run(part.interrupt.unwrap_or(&AtomicBool::new(false))), trainer)
}

/// Trains a part of a run, which must end as the part says.
#[track_caller]
pub fn train(ctx: &Context, settings: Settings, part: Part) -> Trainer {
    let (outcome, trainer) = try_train(ctx, settings, part);
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome, part.stop_after.map_or(Outcome::Finished, Outcome::Stopped));
    trainer
}

/// The files of a checkpoint, without the seconds and the name of its run in its metadata.
pub fn checkpoint(run: &Path, step: u32) -> Vec<(String, Vec<u8>)> {
    let mut all = files(&run.join(format!("checkpoint-{step}")));
    let metadata = all.iter_mut().find(|(name, _)| name == "degrain.json").expect("a checkpoint has degrain.json");
    let mut value: Value = serde_json::from_slice(&metadata.1).unwrap();
    assert!(value["seconds"]["trained"].as_f64().unwrap() > 0.0, "a checkpoint has the seconds of its run");
    value.as_object_mut().unwrap().remove("seconds");
    assert!(value["run"].is_string(), "a checkpoint has the name of its run");
    value.as_object_mut().unwrap().remove("run");
    metadata.1 = value.to_string().into_bytes();
    all
}

#[track_caller]
pub fn same_files(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(a), names(b));
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(a == b, "{name} differs");
    }
}
