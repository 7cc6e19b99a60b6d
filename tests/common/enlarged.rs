//! Cases of operators that are as large as devices allow: with more workgroups than one dimension of a
//! grid may have, or with a tensor as large as the smallest limit of a binding.

use degrain::gpu::{MAX_WORKGROUPS, Target};
use degrain::rng::philox;
use degrain::tape::Shape;
use degrain::tape::inspect::GUARD;
use degrain::tape::testing::{Case, Choices, Operator, RecordedCase};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Random cases that are tried for one that can grow.
const TRIES: u32 = 40;
/// Bytes of the largest tensor: what every device allows a kernel to bind, less the guards that the
/// tests put around tensors.
const BINDING: u64 = (128 << 20) - 2 * GUARD;
/// Factor by which a case grows first, to see how it grows.
const FIRST_FACTOR: u32 = 64;
/// Most images of the cases that come first: one fewer than `train` allows. Kernels that add over the
/// batch have a loop of as many iterations, and Mesa 22's software driver ends loops after 65,535.
const MOST_IMAGES: u32 = MAX_WORKGROUPS - 1;

/// How large a case becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// The smallest with a grid of more workgroups than one dimension may have.
    Grid,
    /// The largest whose tensors can be bound, without a grid that is too large.
    Binding,
}

/// A random case that has grown: one input, or those with the same first dimension, or all, have more
/// rows. `None` if no input can grow. Cases with few images come first: the loops of Mesa 22's software
/// driver end after 65,535 iterations.
pub fn enlarged(operator: &Operator, target: Target, size: Size) -> Option<Case> {
    let numbers = |seed: u32| (0..24).map(|i| philox([seed, i, 0, 0], [1, 0])[0] % 8).collect::<Vec<_>>();
    let small =
        (0..TRIES).map(|seed| (operator.case)(&mut Choices::new(if seed == 0 { vec![] } else { numbers(seed) })));
    let grown = small.flat_map(|case| {
        subsets(&case).into_iter().flat_map(move |chosen| {
            let most = MOST_IMAGES / rows(&case).max(1);
            [most, u32::MAX].map(|most| grow(&case, &chosen, target, size, most)).into_iter().flatten()
        })
    });
    grown.min_by_key(|case| (rows(case) > MOST_IMAGES, bytes(case)))
}

/// The inputs that could have the images in their first dimension.
fn subsets(case: &Case) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..case.inputs.len()).collect();
    let Some(&(first, _)) = case.inputs.first() else { return vec![] };
    let like = |i: &usize| case.inputs[*i].0.dims().first() == first.dims().first();
    let mut subsets = vec![all.iter().copied().filter(like).collect(), all];
    subsets.extend((0..case.inputs.len()).map(|i| vec![i]));
    subsets.dedup();
    subsets
}

/// The case with as many more rows as it needs, at most `most` times as many.
fn grow(case: &Case, chosen: &[usize], target: Target, size: Size, most: u32) -> Option<Case> {
    let first = record(&with_more_rows(case, chosen, FIRST_FACTOR)?, target)?;
    let groups = u64::from(MAX_WORKGROUPS);
    let factor = match size {
        Size::Grid => (u64::from(FIRST_FACTOR) * (groups + 2)).div_ceil(largest_grid(&first)) as u32 + 1,
        Size::Binding => (u64::from(FIRST_FACTOR) * BINDING / largest_tensor(&first)) as u32,
    };
    let grown = with_more_rows(case, chosen, factor.min(most))?;
    let recorded = record(&grown, target)?;
    let large = match size {
        Size::Grid => largest_grid(&recorded) > groups,
        Size::Binding => largest_tensor(&recorded) > BINDING - BINDING / 8 && runs_everywhere(&recorded),
    };
    (large && largest_tensor(&recorded) <= BINDING).then_some(grown)
}

/// The case with `factor` times as many rows in the chosen inputs. `None` if one gets too large.
fn with_more_rows(case: &Case, chosen: &[usize], factor: u32) -> Option<Case> {
    let mut inputs = case.inputs.clone();
    for &i in chosen {
        let (shape, _) = inputs[i];
        let mut dims = shape.dims().to_vec();
        *dims.first_mut()? = dims.first()?.checked_mul(factor)?;
        if dims.iter().map(|&n| u64::from(n)).product::<u64>() * 4 > BINDING {
            return None;
        }
        inputs[i].0 = Shape::new(&dims, shape.dtype);
    }
    Some(Case { op: case.op.clone(), inputs })
}

/// The number of workgroups of the largest grid.
fn largest_grid(recorded: &RecordedCase) -> u64 {
    let groups = recorded.tape.calls().iter().map(|call| call.groups.iter().map(|&n| u64::from(n)).product());
    groups.max().unwrap_or(1)
}

/// Whether no dimension of a grid has more workgroups than every device allows.
fn runs_everywhere(recorded: &RecordedCase) -> bool {
    recorded.tape.calls().iter().all(|call| call.groups.iter().all(|&n| n <= MAX_WORKGROUPS))
}

/// The bytes of the largest operand.
fn largest_tensor(recorded: &RecordedCase) -> u64 {
    let operands = recorded.tape.calls().iter().flat_map(|call| &call.dispatch.operands);
    operands.map(|&x| recorded.tape.shape(x).bytes()).max().unwrap_or(1)
}

fn rows(case: &Case) -> u32 {
    case.inputs.iter().filter_map(|(shape, _)| shape.dims().first()).copied().max().unwrap_or(0)
}

fn bytes(case: &Case) -> u64 {
    case.inputs.iter().map(|(shape, _)| shape.bytes()).sum()
}

/// The recorded case. `None` for shapes that the operator refuses.
fn record(case: &Case, target: Target) -> Option<RecordedCase> {
    quietly(|| case.record(target, 2))
}

/// The result of a function, or `None` if it panics, which prints nothing.
fn quietly<T>(function: impl FnOnce() -> T) -> Option<T> {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(function)).ok();
    QUIET.set(false);
    result
}
