//! Tests of the changes that are mutants.

use super::mutate::{Mutant, mutants};

/// The mutants of a function body in which x is an f32 buffer, t a workgroup array, and n and lane
/// are u32.
fn of_body(body: &str) -> Vec<Mutant> {
    let head = "override N: u32 = 1u + 0u;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
var<workgroup> t: array<f32, 1 + 63>;
const HALF = 0.5 + 1.0; // 1 + 1
struct In { @builtin(local_invocation_index) lane: u32, @builtin(global_invocation_id) at: vec3<u32> }
@compute @workgroup_size(64, 1) fn forward(in: In) { let n = N; let lane = in.lane; ";
    let text = format!("{head}\n{body}\n}}");
    mutants("sample.wgsl", &text, str::to_string)
}

/// Checks that the mutants of a body are exactly these changes, written "before -> after".
#[track_caller]
fn expect(body: &str, changes: &[&str]) {
    let found: Vec<_> = of_body(body).iter().map(|m| format!("{} -> {}", m.before, m.after)).collect();
    assert_eq!(found, changes, "{body}");
}

#[test]
fn mutants_keep_declarations_comments_attributes_and_types() {
    expect("", &[]);
    expect("/* 1 + 1 */ var a: array<vec4<f32>, 2 + 1>; // 1 + 1\n x[lane] = a[lane].x;", &[]);
    expect("let a = array<f32, 2>(f32(n), f32(lane)); x[lane] = a[n];", &[]);
}

#[test]
fn mutants_change_operators() {
    expect("x[n] += f32(n + lane * n / 2u % n);", &["+= -> -=", "+ -> -", "* -> /", "/ -> *", "2u -> 3u", "% -> /"]);
    expect("x[n] = -x[n] - x[lane];", &["- -> ", "- -> +"]);
    expect("x[(n << lane) ^ (n & lane)] *= x[n];", &["<< -> >>", "^ -> |", "& -> |", "*= -> /="]);
    expect("if (n < lane && !(n == lane)) { x[n] = x[lane]; }", &["< -> <=", "&& -> ||", "! -> ", "== -> !="]);
    expect("let p = &x[n]; *p = x[lane];", &[]);
}

#[test]
fn mutants_reverse_float_comparisons() {
    expect("if (x[n] > 0.0) { x[n] = x[lane]; }", &["> -> <", "0.0 -> 1.0"]);
    expect("if (n >= lane) { x[n] = x[lane]; }", &[">= -> >"]);
}

#[test]
fn mutants_change_numbers() {
    expect("x[0] = x[1u] + x[7];", &["0 -> 1", "1u -> 0u", "+ -> -", "7 -> 8"]);
    expect("x[n] = max(x[n] * 0.25, 1e-12);", &["max -> min", "* -> /", "0.25 -> 0.0"]);
    expect("x[n] = 2f; x[0x10] = 1.5e3;", &["2f -> 0.0f", "0x10 -> 17", "1.5e3 -> 0.0"]);
}

#[test]
fn mutants_change_calls() {
    expect("x[n] = abs(x[lane]); x[lane] = sqrt(x[n]);", &["abs -> ", "sqrt -> inverseSqrt"]);
    expect(
        "x[n] = select(x[n], min(x[lane], x[n]), n < lane);",
        &["x[n], min(x[lane], x[n]) -> min(x[lane], x[n]), x[n]", "min -> max", "< -> <="],
    );
    expect("x[n] = select(x[n], x[n], n < lane);", &["< -> <="]);
    expect("t[lane] = x[n]; workgroupBarrier(); x[n] = t[n];", &["workgroupBarrier() -> "]);
    expect("x[n] = subgroupAdd(x[n]);", &["subgroupAdd -> subgroupMax"]);
}

#[test]
fn mutants_keep_loops_finite() {
    expect("for (var i = 0u; i < n; i += 64u) { x[i] = x[lane]; }", &["0u -> 1u", "< -> <="]);
    expect("for (var i = n; i < 4u; i++) { x[i] = x[lane]; }", &["< -> <="]);
    expect("for (var s = n / 2u; s > 0u; s >>= 1u) { x[s] = x[lane]; }", &["/ -> *", "2u -> 3u", "0u -> 1u"]);
}

#[test]
fn mutants_are_valid_for_naga() {
    // naga rejects a division by the literal zero, an index past the end of an array, and a bool
    // instead of a number.
    expect("x[n / 1u] = x[lane];", &["/ -> *"]);
    expect("x[n] = t[63];", &[]);
    expect("let b = (n < lane) & (lane < n); if (b) { x[n] = x[lane]; }", &["< -> <=", "& -> |", "< -> <="]);
}

#[test]
fn mutants_give_the_position_in_the_file() {
    let found = of_body("x[lane]\n  = x[n] + x[lane];");
    let [m] = &found[..] else { panic!("{found:?}") };
    assert_eq!((m.line, m.column, &m.source[..]), (8, 10, "= x[n] + x[lane];"));
    assert_eq!(m.to_string(), "shaders/sample.wgsl:8:10: + -> -    in: = x[n] + x[lane];");
    assert!(m.text.ends_with("x[lane]\n  = x[n] - x[lane];\n}") && m.text.contains("// 1 + 1"));
}

#[test]
#[should_panic(expected = "sample.wgsl is not valid before any change")]
fn mutants_of_an_invalid_shader_panic() {
    of_body("x[n] = y;");
}

#[test]
fn mutants_leave_the_linked_prelude_unchanged() {
    let text = "@compute @workgroup_size(8) fn f() { y[0] = twice(1.0); }";
    let prelude =
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>; fn twice(x: f32) -> f32 { return x + x; }";
    let found = mutants("f.wgsl", text, |text| format!("{text}\n{prelude}"));
    assert_eq!(found.iter().map(|m| &m.before[..]).collect::<Vec<_>>(), ["0", "1.0"]);
    assert!(found.iter().all(|m| !m.text.contains("twice(x: f32)")));
}
