//! The verifier notices a kernel that is wrong, and its message says what differs. The kernels are
//! shaders with one change.

use crate::common::context;
use degrain::gpu::Context;
use degrain::ops::{affine, relu};
use degrain::tape::inspect::{Mismatch, Verifier};
use degrain::tape::{Program, Shape, Step, Tape};

const AFFINE: &str = include_str!("../../shaders/affine.wgsl");
const RELU: &str = include_str!("../../shaders/relu.wgsl");

/// A context in which one place of a shader is changed.
fn context_with(name: &str, text: &str, before: &str, after: &str) -> Context {
    assert_eq!(text.matches(before).count(), 1, "{name}.wgsl has `{before}` once");
    let ctx = context();
    ctx.gpu.replace_shader(name, Some(text.replace(before, after)));
    ctx
}

/// Verifies y = -2 relu(x) + 1 and its gradient for 100 numbers, which are 25 vec4s: the kernels
/// have more invocations than vec4s.
fn verify(mut ctx: Context) -> Result<(), Mismatch> {
    let shape = Shape::f32([100]);
    let mut t = Tape::new(ctx.target());
    for name in ["x", "dy"] {
        let values: Vec<f32> = (0..100).map(|i| (i as f32 - 49.5) / 8.0).collect();
        ctx.require(name, shape.bytes()).expect("memory");
        ctx.write(name, 0, &values).expect("writes");
    }
    let (x, dy) = (t.named("x", shape), t.named("dy", shape));
    t.watch(x);
    let middle = relu(&mut t, x);
    let y = affine(&mut t, middle, -2.0, 1.0);
    t.backward(y, dy);
    Verifier::new(&mut ctx, &t, Step::default()).expect("compiles").verify(|_, _| ()).expect("runs")
}

#[test]
fn verifier_accepts_the_unchanged_kernels() {
    assert!(verify(context()).is_ok());
}

/// Kernels are compiled in other threads than the one that reports the error.
#[test]
fn program_reports_a_kernel_that_does_not_compile() {
    let mut ctx = context_with("relu", RELU, "max(x[i]", "max(NOTHING").fork();
    let mut t = Tape::new(ctx.target());
    let x = t.named("x", Shape::f32([100]));
    let middle = affine(&mut t, x, -2.0, 1.0);
    relu(&mut t, middle);
    let problem = Program::compile(&mut ctx, &t).err().expect("a shader with an unknown name").to_string();
    assert!(problem.contains("relu") && problem.contains("NOTHING"), "{problem}");
}

/// The kernel reads one vec4 after the end of its transient input, which is a NaN of the guard, and
/// writes a NaN with the same bits after the end of its result.
#[test]
fn verifier_notices_a_kernel_that_copies_one_guard_to_another() {
    let line = "if (i < LENGTH) {\n    y[i]";
    let mismatch = verify(context_with("affine", AFFINE, line, &line.replace('<', "<="))).expect_err("a broken guard");
    assert!(mismatch.what.contains("wrote outside a tensor of shape [100]"), "{mismatch}");
}

#[test]
fn verifier_names_the_worst_element_of_a_wrong_gradient() {
    let wrong = "select(vec4<f32>(), dy[i] + select(0.0, 0.5, i == 24u), x[i] > vec4<f32>())";
    let before = "select(vec4<f32>(), dy[i], x[i] > vec4<f32>())";
    let mismatch = verify(context_with("relu", RELU, before, wrong)).expect_err("a wrong gradient");
    let (found, worst) = mismatch.what.split_once('\n').expect("the direction and the element");
    assert!(found.starts_with("gradient of input 0 [100]: along a random direction: kernel "), "{mismatch}");
    // Elements 96 to 99 are wrong by 0.5, out of about 12.
    let element = worst.trim_start().strip_prefix("the worst element found: element 9").expect("an element");
    let element: usize = element[..1].parse().expect("one of the last four");
    let value = (90.0 + element as f32 - 49.5) / 8.0;
    assert!((6..10).contains(&element) && worst.contains(&format!("(its input is {value}): kernel ")), "{mismatch}");
    assert!(worst.contains(", off by 5.000e-1, allowed "), "{mismatch}");
}
