//! Failures of the device: each is an error, and none gives a wrong value.

use crate::common::context;
use crate::common::small::small;
use degrain::gpu::{Context, DeviceFault, DeviceUse, device_use, inject};
use degrain::ops::{randn, relu};
use degrain::tape::{Program, Shape, Step, Tape, stream};
use degrain::train::{Outcome, Settings, Trainer};
use degrain::{Error, Result};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Values of a program of five kernels, each of which is a submission.
fn run(ctx: &mut Context) -> Result<Vec<f32>> {
    ctx.gpu.pace().set_fixed(Some(1));
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let mut x = randn(t, stream::NOISE, Shape::f32([100]));
    for _ in 0..4 {
        x = relu(t, x);
    }
    t.keep(x, "x");
    let program = Program::compile(ctx, &tape)?;
    program.run(ctx, &Step::default())?;
    ctx.read("x", 0, 100)
}

/// The values of an undisturbed run, and what it asks the device for.
fn undisturbed() -> (Vec<f32>, DeviceUse) {
    inject(Some(DeviceFault::Dropped(u64::MAX)));
    let values = run(&mut context()).unwrap();
    let all = device_use();
    inject(None);
    assert!(values.iter().any(|&x| x > 0.0));
    assert_eq!(all.submissions, 6, "five of the program and one of the read");
    (values, all)
}

/// The result of a run with a failure, and its context.
fn with_fault(fault: DeviceFault) -> (Result<Vec<f32>>, Context) {
    let mut ctx = context();
    inject(Some(fault));
    let result = run(&mut ctx);
    inject(None);
    (result, ctx)
}

fn message(result: Result<Vec<f32>>) -> String {
    match result {
        Err(error @ Error::Device(_)) => error.to_string(),
        other => panic!("not an error of the device: {other:?}"),
    }
}

#[test]
fn device_faults_a_submission_that_did_not_run_is_noticed() {
    let (_, all) = undisturbed();
    for n in 0..all.submissions {
        let (result, ctx) = with_fault(DeviceFault::Dropped(n));
        let text = message(result);
        assert!(text.contains("a submission did not run on the device"), "{n}: {text}");
        let later = ctx.gpu.check().unwrap_err().to_string();
        assert_eq!(later, text, "{n}: nothing that follows may be trusted");
        message(ctx.read("x", 0, 100));
    }
}

#[test]
fn device_faults_a_lost_device_is_an_error() {
    let (_, all) = undisturbed();
    for n in 0..all.submissions {
        let mut ctx = context();
        inject(Some(DeviceFault::Lost(n)));
        let text = message(run(&mut ctx));
        assert!(text.contains("the device was lost"), "{n}: {text}");
        assert!(message(run(&mut ctx)).contains("the device was lost"), "{n}: lost for good");
        assert!(ctx.gpu.wait().is_err() && ctx.gpu.check().is_err(), "{n}");
        inject(None);
    }
}

#[test]
fn device_faults_a_refused_allocation_names_the_buffer_and_leaves_the_device_sound() {
    let (values, all) = undisturbed();
    assert!(all.allocations >= 5, "{all:?}");
    // The first allocation of a run is made when the device is opened.
    for n in 0..all.allocations - 1 {
        let (result, mut ctx) = with_fault(DeviceFault::OutOfMemory(n));
        let text = message(result);
        assert!(text.contains("out of memory: `") && text.contains("smaller batch"), "{n}: {text}");
        assert_eq!(run(&mut ctx).unwrap(), values, "{n}");
    }
    inject(Some(DeviceFault::OutOfMemory(0)));
    let opened = Context::open(None).err().expect("no memory");
    inject(None);
    assert!(opened.to_string().contains("out of memory: `submission_counter`"), "{opened}");
}

/// A run of four steps with a grid and a checkpoint after each, and pictures at its end. So each step
/// ends with a read, and the number of submissions does not depend on the clock.
fn train(out: &Path, fault: DeviceFault) -> Result<Outcome> {
    inject(Some(fault));
    let settings = Settings {
        out: Some(out.into()),
        steps: Some(4),
        sample_every: Some(1),
        checkpoint_every: Some(1),
        ..small("ddpm")
    };
    Trainer::new(&context(), settings).unwrap().run(&AtomicBool::new(false))
}

/// A measurement that fails is a warning, but a failed device ends the run.
#[test]
fn device_faults_after_the_last_step_end_the_run() {
    let folder = TempDir::new().unwrap();
    let unlimited = DeviceFault::Dropped(u64::MAX);
    assert_eq!(train(&folder.path().join("whole"), unlimited).unwrap(), Outcome::Finished);
    let last = device_use().submissions - 1;
    for (name, fault) in [("lost", DeviceFault::Lost(last)), ("dropped", DeviceFault::Dropped(last))] {
        let text = train(&folder.path().join(name), fault).unwrap_err().to_string();
        assert!(text.contains("The checkpoint of step 4 is intact") && text.contains("--resume"), "{name}: {text}");
    }
    inject(None);
}
