//! The rule for kernels in folded grids, which the build checks for every shader.

#[path = "../../build/folding.rs"]
mod folding;

use folding::{Folding, folding};

const COMMON: &str = include_str!("../../shaders/prelude/common.wgsl");

/// How a kernel with this body, which has `b`, the number of its workgroup, uses it.
fn of_body(body: &str) -> Folding {
    let text = format!(
        "@group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @group(0) @binding(1) var<uniform> n: u32;
        fn put(i: u32, live: bool) {{ if (live) {{ y[i] = 1.0; }} }}
        fn first(b: u32) -> u32 {{ return 3u * b; }}
        @compute @workgroup_size(8) fn forward(lane: Lane) {{ {body} }}\n{COMMON}"
    );
    let module = naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&text)));
    folding(&module, &module.entry_points[0])
}

#[test]
fn shader_that_compares_its_number_may_be_folded() {
    for body in [
        "let b = workgroup_index(lane); if (b < n) { y[b] = 1.0; }",
        "let i = flat_index(lane); if (i >= n) { return; } y[i] = 1.0;",
        "var i = 2u; i += piece_index(lane, lane.workgroup.z); put(i, n > i);",
        "let b = min(workgroup_index(lane), n - 1u); if (workgroup_index(lane) == b) { y[b] = 1.0; }",
        "let i = first(workgroup_index(lane)); for (var k = i; k < n; k++) { y[k] = 1.0; }",
    ] {
        assert_eq!(of_body(body), Folding::Compared, "{body}");
    }
}

#[test]
fn shader_that_compares_its_number_with_nothing_is_found() {
    for body in [
        "let b = workgroup_index(lane); if (lane.index == 0u) { y[b] = 1.0; }",
        // A loop over the elements of an image, and a comparison of what a buffer holds.
        "let b = workgroup_index(lane); for (var i = first(b); i < (b + 1u) * 3u; i++) { y[i] = 1.0; }",
        "let b = workgroup_index(lane); if (y[b] > 0.0) { y[b] = 1.0; }",
        "let b = workgroup_index(lane); if (y[b] > 0.0 && u32(y[b]) < n) { y[b] = 1.0; }",
        "let b = lane.workgroup.x + lane.workgroup.y * lane.workgroups.x; put(b, lane.index < n);",
    ] {
        assert_eq!(of_body(body), Folding::Unchecked, "{body}");
    }
}

#[test]
fn shader_that_does_not_compute_its_number_must_not_be_folded() {
    for body in ["y[lane.index] = 1.0;", "if (lane.workgroup.x < n) { y[lane.workgroup.x] = 1.0; }"] {
        assert_eq!(of_body(body), Folding::Ignored, "{body}");
    }
}
