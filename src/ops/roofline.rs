//! Measures the peaks of a device: FLOP/s and bytes per second, which profiles and benches compare
//! kernels with (Williams et al. 2009, "Roofline").
//!
//! [`measure_peaks`] runs two kernels: y = x, and a sum of chains c = c / 2 + x, both on `[N]`.
//! There is no gradient.
//!
//! ```no_run
//! use degrain::gpu::Context;
//! use degrain::ops::measure_peaks;
//!
//! let peaks = measure_peaks(&Context::open(None)?)?;
//! println!("{peaks}");
//! # Ok::<(), degrain::Error>(())
//! ```

use super::kernels::roofline::{CHAINS, Copy, MultiplyAdd, UNROLLED};
use crate::Result;
use crate::gpu::Context;
use crate::tape::inspect::{Peaks, call_times};
use crate::tape::testing::{Case, Choices, Fill, Operator, TEST_STEP};
use crate::tape::{Array, Dtype, Op, Program, Shape, Step, Tape, Tensor};
use std::rc::Rc;
use std::time::Instant;

/// A kernel that reaches one of the peaks.
#[derive(Clone, Copy, Debug)]
enum Roofline {
    /// y = x.
    Copy,
    /// y = the sum of twelve chains of multiply-adds, each 16 `rounds` long.
    MultiplyAdd {
        /// Sets the run time.
        rounds: u32,
    },
}

impl Op for Roofline {
    fn outputs(&self, inputs: &[Shape]) -> std::result::Result<Vec<Shape>, String> {
        match *inputs {
            [x] if x.dtype == Dtype::F32 => Ok(vec![x]),
            _ => Err("takes one tensor".into()),
        }
    }

    fn forward(&self, t: &mut Tape, x: &[Tensor], y: &[Tensor]) -> Vec<Tensor> {
        let shape = t.shape(x[0]);
        match *self {
            Roofline::Copy => {
                let length = shape.vec4s();
                t.emit_flat(Copy { x: x[0], y: y[0], length }, length, 0);
            }
            Roofline::MultiplyAdd { rounds } => {
                let length = shape.len() as u32;
                t.emit_flat(MultiplyAdd { a: x[0], sums: y[0], length, rounds }, length, self.flops(&[shape]));
            }
        }
        vec![]
    }

    fn differentiable(&self) -> bool {
        false
    }

    fn reference(&self, x: &[Array], _: &Step) -> Vec<Array> {
        let Roofline::MultiplyAdd { rounds } = *self else { return vec![x[0].clone()] };
        let chain = |start: u32, v: f64| (0..rounds * UNROLLED).fold(f64::from(start), |c, _| 0.5 * c + v);
        vec![x[0].map(|v| (0..CHAINS).map(|start| chain(start, v)).sum())]
    }

    fn terms(&self, _: &[Shape]) -> usize {
        CHAINS as usize
    }

    fn flops(&self, inputs: &[Shape]) -> u64 {
        match *self {
            Roofline::Copy => 0,
            Roofline::MultiplyAdd { rounds } => {
                inputs[0].len() as u64 * u64::from(2 * CHAINS * UNROLLED * rounds + CHAINS - 1)
            }
        }
    }
}

/// Measures the peaks of a device, with a copy of 128 MiB (or the largest binding), which no cache
/// holds, and with multiply-adds for about 20 ms.
///
/// # Errors
/// A device that was lost.
pub fn measure_peaks(ctx: &Context) -> Result<Peaks> {
    let largest = ctx.gpu.max_binding().min(128 << 20) as u32 / 4;
    let bytes = 8.0 * f64::from(largest) / time(ctx, Roofline::Copy, largest)?;
    Ok(Peaks { flops: measure_peak_flops(ctx)?, bytes })
}

/// Measures the peak FLOP/s of a device, as [`measure_peaks`] does, in well under a second.
///
/// # Errors
/// A device that was lost.
pub fn measure_peak_flops(ctx: &Context) -> Result<f64> {
    let count = 1 << 17;
    let (mut rounds, mut peak) = (8, 0f64);
    loop {
        let op = Roofline::MultiplyAdd { rounds };
        let seconds = time(ctx, op, count)?;
        // On a busy machine a short run can show a rate that is too low.
        peak = peak.max(op.flops(&[Shape::f32([count])]) as f64 / seconds);
        if rounds > 4096 || seconds > 0.01 && rounds > 8 {
            return Ok(peak);
        }
        rounds = (f64::from(rounds) * (0.02 / seconds).clamp(2.0, 64.0)) as u32;
    }
}

/// The shortest of several times in seconds: from time stamps, or without them by the clock.
fn time(ctx: &Context, op: Roofline, count: u32) -> Result<f64> {
    let mut tape = Tape::new(ctx.target());
    let x = tape.named("x", Shape::f32([count]));
    tape.apply(op, &[x]);
    let mut ctx = ctx.fork();
    let program = Program::compile(&mut ctx, &tape)?;
    if matches!(op, Roofline::MultiplyAdd { .. }) {
        // With zeros, the chains would become denormal numbers, which some processors compute
        // slowly.
        ctx.write("x", 0, &vec![1f32; count as usize])?;
    }
    let ctx = &ctx;
    let once = || {
        if ctx.gpu.has_time_stamps() {
            return Ok(call_times(ctx, &program, &TEST_STEP, 3)?[0]);
        }
        ctx.gpu.wait()?;
        let began = Instant::now();
        ctx.wait_for(&program.run(ctx, &TEST_STEP)?)?;
        Ok(began.elapsed().as_secs_f64())
    };
    let times: Vec<f64> = (0..3).map(|_| once()).collect::<Result<_>>()?;
    Ok(times.into_iter().fold(f64::INFINITY, f64::min))
}

/// For tests, benches and the table of operators.
pub(super) const OPERATOR: Operator = Operator {
    formula: "y = x; y = sum of chains c / 2 + x",
    case: |draw: &mut Choices| {
        let op = if draw.flag() { Roofline::MultiplyAdd { rounds: draw.range(0, 2) } } else { Roofline::Copy };
        case(op, draw.range(1, 500))
    },
    edge: Vec::new,
    bench: || vec![case(Roofline::Copy, 1 << 22), case(Roofline::MultiplyAdd { rounds: 64 }, 1 << 16)],
};

fn case(op: Roofline, count: u32) -> Case {
    Case { op: Rc::new(op), inputs: vec![(Shape::f32([count]), Fill::Normal(1.0))] }
}
