//! Every operator against its f64 reference, forward and backward, with random shapes from
//! proptest. Each case runs twice, and the results must be equal bit for bit.
//!
//! There is one test for each operator, kind of kernels and mode, as `conv2d.tiles.checked`. Where
//! an operator has several forms of kernels, each is tested. In the mode `folded` even small grids
//! are folded, so that they have workgroups past the end. The test `NAME.inexact` runs an operator on
//! devices whose functions are as inexact as WGSL allows. The test `NAME.grid` runs it with more
//! workgroups than one dimension of a grid may have. With `DEGRAIN_LARGE_SHAPES=1` all operators have
//! this test, and also `NAME.binding`, with a tensor of 128 MiB; without it, the fast ones have the first.
//!
//! The tests are made from the list of operators, so this test program has its own `main`. It takes
//! the same names and options as any other test program. `DEGRAIN_KERNEL_CASES=N` changes the number
//! of random cases per test.

mod common;

use common::enlarged::{Size, enlarged};
use common::inexact::{self, Direction, Inexactness};
use common::{Kernels, Setup};
use degrain::gpu::{BoundsChecks, Context, DeviceClass};
use degrain::ops::ALL;
use degrain::tape::testing::{Case, Choices, Fill, Operator};
use degrain::tape::{Array, Shape};
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::RefCell;

/// Workgroup size of elementwise kernels.
const FLAT: u32 = 64;

/// Random cases per operator and device with inexact functions.
const INEXACT_CASES: u32 = 4;
/// A multiple of the errors that WGSL allows, which the comparison must notice.
const TOO_MUCH: f32 = 16.0;
/// Operators for which it does not, because the function has a small part in the result: Adam's
/// update next to the parameter, the last root or division of a long sum, the noise of a sampler
/// next to its image.
const INSENSITIVE: [&str; 4] = ["adam", "gradient_norm", "log_step", "sampler_step"];

/// Most threads by default. Each keeps six devices open, one for every setup, and opens one more at a
/// time. NVIDIA's driver refuses to open more than 63.
const MOST_THREADS: usize = 8;

/// Random cases per test; every operator has six tests with random cases.
const CASES: u32 = 12;
/// Environment variable with another number of random cases per test, for long campaigns.
const CASES_VARIABLE: &str = "DEGRAIN_KERNEL_CASES";

/// Environment variable with which every operator is also tested at the sizes that take minutes.
const LARGE_VARIABLE: &str = "DEGRAIN_LARGE_SHAPES";
/// Operators with a test of a large grid only then: they need millions of elements, which the f64
/// reference computes slowly.
const SLOW: [&str; 16] = [
    "adam",
    "add",
    "affine",
    "conv2d",
    "cross_entropy",
    "downsample",
    "dropout",
    "ema",
    "fourier_features",
    "max_pool",
    "pad",
    "relu",
    "reparameterize",
    "silu",
    "upsample",
    "vlb",
];
/// Operators whose kernels may refuse a grid of more than 65,535 workgroups in its second dimension.
const REFUSED: [&str; 2] = ["linear", "matmul"];
/// Operators whose work does not grow with an input, and why.
const FIXED: [(&str, &str); 7] = [
    ("fill", "its length is a setting"),
    ("randn", "its shape is a setting"),
    ("sample_indices", "its count is a setting"),
    ("timesteps", "its count is a setting"),
    ("gradient_norm", "it always has 256 workgroups"),
    ("importance_sampling", "one workgroup for each table of timesteps"),
    ("log_step", "one workgroup"),
];

fn main() {
    let cases = match std::env::var(CASES_VARIABLE) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{CASES_VARIABLE}={number}: it must be a number")),
        Err(_) => CASES,
    };
    let operators = ALL.iter().flat_map(|operator| Setup::all().into_iter().map(move |setup| (operator, setup)));
    let trials = operators.map(|((operator_name, operator), setup)| {
        let checks = if setup.checks == BoundsChecks::On { "checked" } else { "unchecked" };
        let mode = if setup.folded { "folded" } else { checks };
        let name = format!("{operator_name}.{}.{mode}", setup.kernels.name());
        Trial::test(name.clone(), move || try_operator(operator, setup, cases, &name))
    });
    let large = [Kernels::Native, Kernels::Tiles].map(|kernels| {
        Trial::test(format!("large_grids.{}", kernels.name()), move || try_large_grids(Setup::unchecked(kernels)))
    });
    let inexact = ALL.iter().map(|(operator_name, operator)| {
        Trial::test(format!("{operator_name}.inexact"), move || try_inexact(operator_name, operator))
    });
    let grows = |(name, _): &&(&str, Operator)| FIXED.iter().all(|(fixed, _)| fixed != name);
    let sizes =
        if std::env::var_os(LARGE_VARIABLE).is_some() { &[Size::Grid, Size::Binding][..] } else { &[Size::Grid] };
    let short = |name: &str| sizes.len() > 1 || !SLOW.contains(&name);
    let enlarged = ALL.iter().filter(grows).filter(|(name, _)| short(name)).flat_map(|(operator_name, operator)| {
        sizes.iter().map(move |&size| {
            Trial::test(format!("{operator_name}.{size:?}").to_lowercase(), move || {
                try_enlarged(operator_name, operator, size)
            })
        })
    });
    let trials = trials.chain(large).chain(inexact).chain(enlarged);
    let mut arguments = Arguments::from_args();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads = arguments.test_threads.or(Some(threads.min(MOST_THREADS)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// More workgroups than a device allows in one dimension, and not a multiple of a row: one
/// workgroup for each image, and one for each 64 elements.
fn try_large_grids(setup: Setup) -> Result<(), Failed> {
    let ctx = context_for(setup);
    let images = Shape::f32([70_001, 1]);
    let elements = Shape::f32([65_536 * FLAT + 1]);
    for (operator, shape) in [("mse", images), ("duplicate", elements)] {
        let (_, operator) = ALL.iter().find(|(name, _)| *name == operator).ok_or("no such operator")?;
        let Case { op, inputs } = (operator.case)(&mut Choices::new(vec![0; 3]));
        let case = Case { op, inputs: vec![(shape, Fill::Normal(1.0)); inputs.len().min(2)] };
        let calls = case.record(ctx.target(), 1).tape;
        assert!(calls.calls().iter().any(|call| call.groups[1] > 1), "{:?} is not folded", case.op);
        common::check_case(&ctx, &case)?;
    }
    Ok(())
}

/// An operator at a size that devices barely allow, or that its kernels refuse with an error.
fn try_enlarged(name: &str, operator: &'static Operator, size: Size) -> Result<(), Failed> {
    let ctx = context_for(Setup::unchecked(Kernels::Native));
    let case = enlarged(operator, ctx.target(), size).ok_or_else(|| format!("{name}: no case can grow"))?;
    let checked = common::check_case(&ctx, &case);
    // Whether the second dimension is too large depends on the tile, and so on the device.
    let refusal = |problem: &String| problem.contains("devices allow 65535 in each dimension");
    if size == Size::Grid && REFUSED.contains(&name) && checked.as_ref().is_err_and(refusal) {
        return Ok(());
    }
    checked.map_err(|problem| format!("{problem} ({case:?})").into())
}

/// A context on the device of this thread and setup. Pipelines are then compiled once for all
/// operators.
fn context_for(setup: Setup) -> Context {
    thread_local!(static OPEN: RefCell<Vec<(Setup, Context)>> = const { RefCell::new(Vec::new()) });
    OPEN.with_borrow_mut(|open| {
        if let Some((_, context)) = open.iter().find(|(other, _)| *other == setup) {
            return context.fork();
        }
        let context = common::context_for(setup);
        // Never dropped, because wgpu needs thread-local storage to drop a device, and that may no
        // longer exist when the thread ends. The pool of test threads is small.
        std::mem::forget(context.fork());
        open.push((setup, context.fork()));
        context
    })
}

/// Whether the cases of an operator pass on a device whose functions have these errors. The device
/// is closed again: a driver refuses to open too many.
fn passes(operator: &'static Operator, setup: Setup, inexactness: Inexactness) -> Result<(), String> {
    let ctx = inexact::context(setup, inexactness);
    let numbers = |seed: u32| (0..24).map(|i| degrain::rng::philox([seed, i, 0, 0], [0, 0])[0]).collect();
    let random = (0..INEXACT_CASES).map(|seed| (operator.case)(&mut Choices::new(numbers(seed))));
    // The functions of a software driver are nearly exact. Those of a GPU may have errors as large as
    // WGSL allows, which add up with the ones that the shaders make here.
    let software = ctx.gpu.adapter().class == DeviceClass::Cpu;
    let errors = if software || inexactness.share > 1.0 { 1.0 } else { 2.0 };
    let mut cases = (operator.edge)().into_iter().chain(random);
    cases.try_for_each(|case| common::check_case(&ctx, &case.remembered_with_errors(errors)))
}

/// Checks an operator on devices whose functions are as inexact as WGSL allows, and that the
/// operator states an error of functions exactly if its kernels call one.
fn try_inexact(name: &str, operator: &'static Operator) -> Result<(), Failed> {
    let mut calls = false;
    let cases = (operator.bench)();
    for kernels in Kernels::ALL {
        let target = context_for(Setup::unchecked(kernels)).target();
        for case in &cases {
            let recorded = case.record(target, 1);
            calls |= recorded.tape.calls().iter().any(|call| inexact::is_inexact(call.dispatch.entry, target));
        }
    }
    for case in &cases {
        let content =
            |(&(shape, fill), seed): (&(Shape, Fill), u64)| Array::from_words(shape, &fill.words(shape, seed));
        let inputs: Vec<Array> = case.inputs.iter().zip(0..).map(content).collect();
        let stated = case.op.function_error(&inputs);
        if (stated > 0.0) && !calls {
            return Err(format!("{name} states an error of functions, but its kernels call none").into());
        }
        if stated == 0.0 && calls && cases.len() == 1 {
            return Err(format!("{name} states no error of functions, but its kernels call some").into());
        }
    }
    if !calls {
        return Ok(());
    }
    let all = [
        (Kernels::Native, Direction::Up),
        (Kernels::Native, Direction::Down),
        (Kernels::Native, Direction::Mixed),
        (Kernels::Tiles, Direction::Mixed),
    ];
    for (kernels, direction) in all {
        let setup = Setup::unchecked(kernels);
        let allowed = Inexactness { share: 1.0, direction };
        passes(operator, setup, allowed).map_err(|error| format!("{setup:?}, {direction:?}: {error}"))?;
    }
    let setup = Setup::unchecked(Kernels::Native);
    let too_much = passes(operator, setup, Inexactness { share: TOO_MUCH, direction: Direction::Up });
    if too_much.is_ok() && !INSENSITIVE.contains(&name) {
        return Err(format!("{name} passes with {TOO_MUCH} times the error that WGSL allows functions").into());
    }
    Ok(())
}

/// Checks the edge cases of an operator, then random cases. The smallest random case that fails is
/// reported.
fn try_operator(operator: &'static Operator, setup: Setup, cases: u32, name: &str) -> Result<(), Failed> {
    let ctx = context_for(setup);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() };
    // Another seed for each test, the same in every run.
    let mut seed = [0u8; 32];
    name.bytes().zip((0..32).cycle()).for_each(|(byte, i)| seed[i] = byte.wrapping_add(seed[i].rotate_left(3)));
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let choices = proptest::collection::vec(proptest::num::u32::ANY, 24);
    for case in (operator.edge)() {
        common::check_case(&ctx, &case).map_err(|error| format!("edge case: {error}"))?;
    }
    let outcome = runner.run(&choices, |choices| {
        let case = (operator.case)(&mut Choices::new(choices));
        common::check_case(&ctx, &case).map_err(TestCaseError::fail)
    });
    outcome.map_err(|error| Failed::from(error.to_string()))
}
