//! A device whose functions are as inexact as WGSL allows, or more: every call of exp, log and sqrt
//! and every division in the shaders is replaced by a function that adds an error to its result.

use super::Setup;
use degrain::gpu::{Context, Entry, KernelVariant, Shader, Target, link};
use degrain::ops::SHADERS;
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{BinaryOperator, Expression, Function, Handle, MathFunction, Module, ScalarKind, TypeInner};
use std::sync::{Arc, Mutex};

/// Which way the errors go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    Up,
    Down,
    /// Up or down, by the bits of the result.
    Mixed,
}

/// An error, as a multiple of what WGSL allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inexactness {
    pub share: f32,
    pub direction: Direction,
}

/// A context on a device with these errors.
pub fn context(setup: Setup, inexactness: Inexactness) -> Context {
    let ctx = super::context_for(setup);
    for (name, text) in &*rewritten(ctx.target(), inexactness) {
        ctx.gpu.replace_shader(name, Some(text.clone()));
    }
    // The rewritten texts contain the prelude.
    let wide = ["wide", "own_tokens"];
    let files = ["common", "random", "special", "reduce_subgroup", "outer_subgroup"];
    let tiled = ["reduce_workgroup", "reduce_shuffle", "difference"];
    for file in files.into_iter().chain(tiled).chain(wide) {
        ctx.gpu.replace_shader(&format!("prelude/{file}"), Some(String::new()));
    }
    for lanes in [4, 8, 16, 32] {
        ctx.gpu.replace_shader(&format!("prelude/lanes_{lanes}"), Some(String::new()));
    }
    ctx
}

/// Names and texts of shaders.
type Texts = Vec<(&'static str, String)>;

/// All shaders of a target with these errors. They are rewritten once: it takes long.
fn rewritten(target: Target, inexactness: Inexactness) -> Arc<Texts> {
    type Key = (Target, u32, Direction);
    static KNOWN: Mutex<Vec<(Key, Arc<Texts>)>> = Mutex::new(vec![]);
    let key = (target, inexactness.share.to_bits(), inexactness.direction);
    let mut known = KNOWN.lock().expect("no test panics while it rewrites");
    if let Some((_, texts)) = known.iter().find(|(other, _)| *other == key) {
        return texts.clone();
    }
    let shaders = SHADERS.iter().filter(|shader| is_linked(shader.name, target));
    let rewritten = |shader: &Shader| (shader.name, rewrite(&link(shader.name, shader.text, target), inexactness));
    let texts = Arc::new(shaders.map(|shader| rewritten(shader)).collect::<Texts>());
    known.push((key, texts.clone()));
    texts
}

/// Whether a shader can be linked for a target.
fn is_linked(name: &str, target: Target) -> bool {
    match name.rsplit('_').next() {
        Some("wide") => target.is_wide(),
        Some("subgroup") => target.variant == KernelVariant::Subgroup,
        _ => true,
    }
}

/// Whether an entry point calls a function or a division that is inexact, for a target.
pub fn is_inexact(entry: &Entry, target: Target) -> bool {
    let linked = link(entry.shader.name, entry.shader.text, target);
    let mut module = parse(&linked);
    module.entry_points.retain(|e| e.name == entry.name);
    naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
    let info = validate(&module);
    bodies(&module, &info).any(|(function, info)| {
        function.expressions.iter().any(|(handle, _)| inexact_call(&module, function, info, handle).is_some())
    })
}

fn validate(module: &Module) -> ModuleInfo {
    let capabilities = Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER | Capabilities::SHADER_INT64;
    Validator::new(ValidationFlags::all(), capabilities).validate(module).expect("a valid shader")
}

/// The functions and entry points.
fn bodies<'a>(module: &'a Module, info: &'a ModuleInfo) -> impl Iterator<Item = (&'a Function, &'a FunctionInfo)> {
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entry = |(number, entry): (usize, &'a naga::EntryPoint)| (&entry.function, info.get_entry_point(number));
    functions.chain(module.entry_points.iter().enumerate().map(entry))
}

/// Components of a floating-point number; none for other types.
fn width(module: &Module, info: &FunctionInfo, handle: Handle<Expression>) -> Option<u32> {
    match *info[handle].ty.inner_with(&module.types) {
        TypeInner::Scalar(s) if s.kind == ScalarKind::Float => Some(1),
        TypeInner::Vector { size, scalar } if scalar.kind == ScalarKind::Float => Some(size as u32),
        _ => None,
    }
}

/// The function that an expression calls, or `/`, if it is inexact.
fn inexact_call(
    module: &Module,
    function: &Function,
    info: &FunctionInfo,
    handle: Handle<Expression>,
) -> Option<&'static str> {
    match function.expressions[handle] {
        Expression::Math { fun: MathFunction::Exp, .. } => Some("exp"),
        Expression::Math { fun: MathFunction::Exp2, .. } => Some("exp2"),
        Expression::Math { fun: MathFunction::Log, .. } => Some("log"),
        Expression::Math { fun: MathFunction::Sqrt, .. } => Some("sqrt"),
        Expression::Math { fun, .. } => {
            assert!(is_exact(fun), "state the error of {fun:?} in src/tape/accuracy.rs and here");
            None
        }
        Expression::Binary { op: BinaryOperator::Divide, .. } => width(module, info, handle).map(|_| "/"),
        _ => None,
    }
}

fn parse(text: &str) -> Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)))
}

/// A change of the text: an insertion, or the replacement of a few characters.
struct Edit {
    at: usize,
    removed: usize,
    text: String,
    /// Order of edits at one place: ends of calls, then beginnings, outer ones first.
    order: isize,
}

fn rewrite(text: &str, inexactness: Inexactness) -> String {
    let mut edits = edits(text, &parse(text));
    edits.sort_by_key(|edit| (edit.at, edit.order));
    let (mut out, mut copied) = (String::new(), 0);
    for edit in edits {
        out.push_str(&text[copied..edit.at]);
        out.push_str(&edit.text);
        copied = edit.at + edit.removed;
    }
    out + &text[copied..] + &functions(inexactness)
}

fn edits(text: &str, module: &Module) -> Vec<Edit> {
    let info = validate(module);
    let mut found = Vec::new();
    for (function, info) in bodies(module, &info) {
        for (handle, expression) in function.expressions.iter() {
            let Some(name) = inexact_call(module, function, info, handle) else { continue };
            let width = |handle| width(module, info, handle).expect("floating point");
            let range = function.expressions.get_span(handle).to_range().expect("a place");
            let Expression::Binary { left, right, .. } = *expression else {
                assert_eq!(&text[range.clone()], name, "the span of a call is its name");
                let text = format!("inexact_{name}_{}", width(handle));
                found.push(Edit { at: range.start, removed: name.len(), text, order: isize::MAX });
                continue;
            };
            let slash = range.start + last_factor(&text[range.clone()]);
            let sides = [(left, &text[range.start..slash]), (right, &text[slash + 1..range.end])];
            // A scalar operand of a vector is converted.
            let widths = sides.map(|(side, text)| match function.expressions[side] {
                Expression::Splat { .. } if !text.trim_start().starts_with("vec") => 1,
                _ => width(side),
            });
            let name = format!("inexact_divide_{}_{}(", widths[0], widths[1]);
            found.push(Edit { at: range.start, removed: 0, text: name, order: -(range.len() as isize) });
            found.push(Edit { at: slash, removed: 1, text: ",".into(), order: 0 });
            found.push(Edit { at: range.end, removed: 0, text: ")".into(), order: isize::MIN });
        }
    }
    found
}

/// The place of the last multiplication or division of a product that is not in parentheses. It
/// must be a division.
fn last_factor(product: &str) -> usize {
    let mut depth = 0;
    let mut last = None;
    for (at, c) in product.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '*' | '/' if depth == 0 => last = Some(at),
            _ => {}
        }
    }
    last.filter(|&at| product[at..].starts_with('/')).unwrap_or_else(|| panic!("no division: {product}"))
}

/// Functions that WGSL wants rounded correctly, or as exact as a few sums and products.
fn is_exact(fun: MathFunction) -> bool {
    use MathFunction::{Abs, Clamp, CountLeadingZeros, Dot, Floor, Fma, Max, Min, Sign, Transpose};
    matches!(fun, Abs | Clamp | CountLeadingZeros | Dot | Floor | Fma | Max | Min | Sign | Transpose)
}

/// The functions that the rewritten text calls. They have no branches: a software driver copies them to
/// each call, and SwiftShader took more than 16 GB to compile kernels with many branches.
fn functions(Inexactness { share, direction }: Inexactness) -> String {
    let sign = match direction {
        Direction::Up => "1.0",
        Direction::Down => "-1.0",
        Direction::Mixed => "select(-1.0, 1.0, ((bitcast<u32>(x) * 0x9E3779B9u) >> 31u) == 1u)",
    };
    let mut text = format!(
        "
fn inexact_sign(x: f32) -> f32 {{ return {sign}; }}
fn inexact_off(x: f32, ulps: f32) -> f32 {{
  let exponent = bitcast<u32>(x) & 0x7f800000u;
  let moved = bitcast<f32>(bitcast<i32>(x) + i32(inexact_sign(x) * floor({share:?} * ulps)));
  return select(moved, x, (exponent == 0x7f800000u) | (exponent < 0x10000000u));
}}
fn inexact_divide_1_1(a: f32, b: f32) -> f32 {{ return inexact_off(a / b, 2.5); }}
fn inexact_exp_1(x: f32) -> f32 {{ return inexact_off(exp(x), 3.0 + 2.0 * abs(x)); }}
fn inexact_exp2_1(x: f32) -> f32 {{ return inexact_off(exp2(x), 3.0 + 2.0 * abs(x)); }}
fn inexact_sqrt_1(x: f32) -> f32 {{ return inexact_off(sqrt(x), 4.5); }}
fn inexact_log_1(x: f32) -> f32 {{
  let y = log(x);
  return select(inexact_off(y, 3.0), y + inexact_sign(y) * {share:?} * 0x1p-21, (x >= 0.5) & (x <= 2.0));
}}
"
    );
    for width in 2..=4 {
        let vector = format!("vec{width}<f32>");
        let call = |part: &dyn Fn(&str) -> String| {
            let parts: Vec<String> = "xyzw"[..width].chars().map(|c| part(&c.to_string())).collect();
            format!("{{ return {vector}({}); }}\n", parts.join(", "))
        };
        for name in ["exp", "exp2", "sqrt", "log"] {
            let body = call(&|c| format!("inexact_{name}_1(x.{c})"));
            text += &format!("fn inexact_{name}_{width}(x: {vector}) -> {vector} {body}");
        }
        let body = call(&|c| format!("inexact_divide_1_1(a.{c}, b.{c})"));
        text += &format!("fn inexact_divide_{width}_{width}(a: {vector}, b: {vector}) -> {vector} {body}");
        let body = call(&|c| format!("inexact_divide_1_1(a.{c}, b)"));
        text += &format!("fn inexact_divide_{width}_1(a: {vector}, b: f32) -> {vector} {body}");
        let body = call(&|c| format!("inexact_divide_1_1(a, b.{c})"));
        text += &format!("fn inexact_divide_1_{width}(a: f32, b: {vector}) -> {vector} {body}");
    }
    text
}
