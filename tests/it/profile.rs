//! Peaks and profiles, as far as they are the same on every device.

use degrain::gpu::Target;
use degrain::ops::{add, measure_peaks};
use degrain::tape::inspect::{Peaks, Profile, call_times};
use degrain::tape::testing::TEST_STEP;
use degrain::tape::{Program, Shape, Tape};

#[test]
fn profile_accounts_for_every_call() {
    let ctx = crate::common::context();
    let peaks = measure_peaks(&ctx).expect("peaks");
    // Every device is faster than 10 MFLOP/s and 1 MB/s.
    assert!(peaks.flops > 1e7 && peaks.flops.is_finite(), "{peaks}");
    assert!(peaks.bytes > 1e6 && peaks.bytes.is_finite(), "{peaks}");

    let mut tape = Tape::new(ctx.target());
    let shape = Shape::f32([64, 1024]);
    let (a, b) = (tape.named("a", shape), tape.named("b", shape));
    let sum = add(&mut tape, a, b);
    add(&mut tape, sum, b);
    let program = Program::compile(&mut ctx.fork(), &tape).expect("compiles");
    let times = call_times(&ctx, &program, &TEST_STEP, 3).expect("times");
    let profile = Profile::from_times(&tape, &times, peaks);
    let [row] = &profile.rows[..] else { panic!("one kernel, not {:?}", profile.rows) };
    assert_eq!((row.label, row.calls), ("add.forward", 2));
    assert_eq!((row.flops, row.bytes), (tape.summary().flops, tape.summary().bytes));
    assert_eq!((row.flops, row.bytes), (2 * 65_536, 2 * 3 * 4 * 65_536));
    assert!(row.seconds > 0.0 && row.share() > 0.0, "{row:?}");
}

#[test]
fn profile_share_is_relative_to_the_longer_of_two_times() {
    let mut tape = Tape::new(Target::DISCRETE_GPU);
    let (a, b) = (tape.named("a", Shape::f32([1000])), tape.named("b", Shape::f32([1000])));
    add(&mut tape, a, b);
    let share = |flops, bytes| Profile::from_times(&tape, &[2e-3], Peaks { flops, bytes }).rows[0].share();
    // 1000 additions take a millisecond at the first peaks, and 12,000 bytes at the second.
    assert!((share(1e6, 1e9) - 0.5).abs() < 1e-12);
    assert!((share(1e9, 12e6) - 0.5).abs() < 1e-12);
}
