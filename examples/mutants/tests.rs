//! What is a mutant, and what is none.

use crate::mutate::{Mutant, mutants};

/// The mutants of a function body, in which x is an f32 buffer, t a workgroup array, and n, lane are u32.
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

/// The changes of a body, as "before -> after".
#[track_caller]
fn expect(body: &str, changes: &[&str]) {
    let found: Vec<_> = of_body(body).iter().map(|m| format!("{} -> {}", m.before, m.after)).collect();
    assert_eq!(found, changes, "{body}");
}

#[test]
fn declarations_comments_attributes_and_types_stay() {
    expect("", &[]);
    expect("/* 1 + 1 */ var a: array<vec4<f32>, 2 + 1>; // 1 + 1\n x[lane] = a[lane].x;", &[]);
    expect("let a = array<f32, 2>(f32(n), f32(lane)); x[lane] = a[n];", &[]);
}

#[test]
fn operators() {
    expect("x[n] += f32(n + lane * n / 2u % n);", &["+= -> -=", "+ -> -", "* -> /", "/ -> *", "2u -> 3u", "% -> /"]);
    expect("x[n] = -x[n] - x[lane];", &["- -> ", "- -> +"]);
    expect("x[(n << lane) ^ (n & lane)] *= x[n];", &["<< -> >>", "^ -> |", "& -> |", "*= -> /="]);
    expect("if (n < lane && !(n == lane)) { x[n] = x[lane]; }", &["< -> <=", "&& -> ||", "! -> ", "== -> !="]);
    expect("let p = &x[n]; *p = x[lane];", &[]);
}

#[test]
fn a_comparison_of_floats_is_turned_round() {
    expect("if (x[n] > 0.0) { x[n] = x[lane]; }", &["> -> <", "0.0 -> 1.0"]);
    expect("if (n >= lane) { x[n] = x[lane]; }", &[">= -> >"]);
}

#[test]
fn numbers() {
    expect("x[0] = x[1u] + x[7];", &["0 -> 1", "1u -> 0u", "+ -> -", "7 -> 8"]);
    expect("x[n] = max(x[n] * 0.25, 1e-12);", &["max -> min", "* -> /", "0.25 -> 0.0"]);
    expect("x[n] = 2f; x[0x10] = 1.5e3;", &["2f -> 0.0f", "0x10 -> 17", "1.5e3 -> 0.0"]);
}

#[test]
fn calls() {
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
fn loops_keep_their_end() {
    expect("for (var i = 0u; i < n; i += 64u) { x[i] = x[lane]; }", &["0u -> 1u", "< -> <="]);
    expect("for (var i = n; i < 4u; i++) { x[i] = x[lane]; }", &["< -> <="]);
    expect("for (var s = n / 2u; s > 0u; s >>= 1u) { x[s] = x[lane]; }", &["/ -> *", "2u -> 3u", "0u -> 1u"]);
}

#[test]
fn what_naga_refuses_is_no_mutant() {
    // A division by the literal zero, an index behind the end of an array, a bool instead of a number.
    expect("x[n / 1u] = x[lane];", &["/ -> *"]);
    expect("x[n] = t[63];", &[]);
    expect("let b = (n < lane) & (lane < n); if (b) { x[n] = x[lane]; }", &["< -> <=", "& -> |", "< -> <="]);
}

#[test]
fn places_are_those_of_the_file() {
    let found = of_body("x[lane]\n  = x[n] + x[lane];");
    let [m] = &found[..] else { panic!("{found:?}") };
    assert_eq!((m.line, m.column, &m.source[..]), (8, 10, "= x[n] + x[lane];"));
    assert_eq!(m.to_string(), "shaders/sample.wgsl:8:10: + -> -    in: = x[n] + x[lane];");
    assert!(m.text.ends_with("x[lane]\n  = x[n] - x[lane];\n}") && m.text.contains("// 1 + 1"));
}

#[test]
#[should_panic(expected = "sample.wgsl is not valid as it stands")]
fn an_invalid_shader_is_no_source_of_mutants() {
    of_body("x[n] = y;");
}

#[test]
fn the_prelude_is_linked_but_not_changed() {
    let text = "@compute @workgroup_size(8) fn f() { y[0] = twice(1.0); }";
    let prelude =
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>; fn twice(x: f32) -> f32 { return x + x; }";
    let found = mutants("f.wgsl", text, |text| format!("{text}\n{prelude}"));
    assert_eq!(found.iter().map(|m| &m.before[..]).collect::<Vec<_>>(), ["0", "1.0"]);
    assert!(found.iter().all(|m| !m.text.contains("twice(x: f32)")));
}
