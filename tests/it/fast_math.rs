//! Metal and DirectX compile kernels with fast math, which may turn x - k - m into x - (k + m). The
//! normalizations of the tiled variant are written so that no compiler can do that. Vulkan does not
//! do it, so the tests simulate such a compiler by a change of the text.

use crate::common::{self, Kernels, Setup};
use degrain::gpu::{BoundsChecks, Context, KernelVariant};
use degrain::ops::ALL;
use degrain::tape::testing::Operator;

/// A shader, and the places where two subtractions follow each other.
const CHANGES: [(&str, &str, &str, &str); 4] = [
    (
        "group_norm",
        include_str!("../../shaders/group_norm.wgsl"),
        "(difference(x[row + i], k, zero) - shift)",
        "(x[row + i] - (k + shift))",
    ),
    (
        "group_norm_unaligned",
        include_str!("../../shaders/group_norm_unaligned.wgsl"),
        "(difference(x[i], k, zero) - shift)",
        "(x[i] - (k + shift))",
    ),
    (
        "group_norm_flat",
        include_str!("../../shaders/group_norm_flat.wgsl"),
        "(difference(x[p.first + i], k, zero) - shift) * rstd;",
        "(x[p.first + i] - (k + shift)) * rstd;",
    ),
    (
        "batch_norm",
        include_str!("../../shaders/batch_norm.wgsl"),
        "(difference(x[i], vec4<f32>(s.x), zero()) - s.y)",
        "(x[i] - (s.x + s.y))",
    ),
];

fn operator(name: &str) -> &'static Operator {
    ALL.iter().find(|(other, _)| *other == name).map(|(_, operator)| operator).expect("the operator")
}

/// Whether an operator's kernels on the device of `ctx` include this shader.
fn uses(ctx: &Context, operator: &Operator, shader: &str) -> bool {
    let recorded = (operator.edge)().into_iter().map(|case| case.record(ctx.target(), 1).tape);
    recorded.into_iter().any(|tape| tape.calls().iter().any(|call| call.dispatch.entry.shader.name == shader))
}

/// The first difference of an operator from its reference for inputs with a mean of 10,000 and a
/// deviation of about 1, forward and backward.
fn check(ctx: &Context, operator: &Operator) -> Result<(), String> {
    let cases = (operator.edge)();
    assert!(cases.len() >= 2 && cases.iter().all(|case| format!("{:?}", case.inputs[0].1).contains("10000")));
    cases.iter().try_for_each(|case| common::check_case(ctx, case))
}

#[test]
fn normalization_keeps_its_digits_far_from_zero() {
    for setup in Setup::all() {
        let ctx = common::context_for(setup);
        for name in ["group_norm", "batch_norm"] {
            check(&ctx, operator(name)).unwrap_or_else(|problem| panic!("{setup:?}: {problem}"));
        }
    }
}

#[test]
fn normalization_that_is_reassociated_has_a_wrong_gradient() {
    let mut checked = vec![];
    for (name, text, before, after) in CHANGES {
        assert!(text.contains(before), "{name}.wgsl has `{before}`");
        let operator = operator(name.trim_end_matches("_unaligned").trim_end_matches("_flat"));
        // A GPU has no kernels that use group_norm.wgsl.
        let contexts =
            Kernels::ALL.map(|kernels| common::context_for(Setup { kernels, checks: BoundsChecks::On, folded: false }));
        let Some(ctx) = contexts.into_iter().find(|ctx| uses(ctx, operator, name)) else { continue };
        checked.push(name);
        ctx.gpu.replace_shader(name, Some(text.replace(before, after)));
        let Err(problem) = check(&ctx, operator) else { panic!("{name}: the gradient kept its digits") };
        assert!(
            problem.contains("gradient of input 0") || problem.contains("gradient of input 1"),
            "{name}: {problem}"
        );
    }
    let everywhere = ["group_norm_unaligned", "group_norm_flat", "batch_norm"];
    let software = (common::context().target().variant == KernelVariant::Subgroup).then_some("group_norm");
    assert!(everywhere.into_iter().chain(software).all(|name| checked.contains(&name)), "{checked:?}");
}

/// Every subtraction from an input in these shaders goes through `difference`, so that no later
/// addition can be merged with it.
#[test]
fn normalization_subtracts_from_its_input_only_in_difference() {
    for (name, text, ..) in CHANGES {
        let code = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
        for pattern in ["] - k", "x[i] -", "(v - vec4", "(v - c0"] {
            assert!(!code.contains(pattern), "{name}.wgsl has `{pattern}`: call difference instead");
        }
    }
}
