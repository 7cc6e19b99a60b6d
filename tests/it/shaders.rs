//! Every linked shader, written out for the other drivers: Metal, DirectX 12 and Vulkan.
//!
//! The tests run kernels on Vulkan only. A successful translation does not prove that a kernel runs
//! on the other drivers, but it finds features, types and names that they do not have.

use degrain::ops::Linked;
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ScalarKind, ShaderStage, TypeInner};
use std::collections::BTreeMap;

/// The optional features of WGSL that kernels may use. Vulkan has more, which the other two lack.
const PORTABLE: Capabilities =
    Capabilities::SHADER_FLOAT16.union(Capabilities::SUBGROUP).union(Capabilities::SUBGROUP_BARRIER);

#[test]
fn shaders_translate_to_metal_hlsl_and_spir_v() {
    let shaders = degrain::ops::linked();
    let problems: Vec<_> = shaders.iter().flat_map(problems).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    // All shaders are among them.
    for shader in degrain::ops::SHADERS {
        let found = shaders.iter().any(|s| s.name.split('.').next() == Some(shader.name));
        assert!(found, "no case of any operator calls shaders/{}.wgsl", shader.name);
    }
}

/// The languages of the drivers of wide shaders, and of the others.
const VULKAN: &[&str] = &["SPIR-V"];
const EVERY: &[&str] = &["Metal", "HLSL", "SPIR-V"];

fn problems(shader: &Linked) -> Vec<String> {
    let Linked { name, text, wide, constants } = shader;
    match wide {
        true => problems_for(name, text, constants, PORTABLE | Capabilities::SHADER_INT64, VULKAN),
        false => problems_of(name, text, constants),
    }
}

fn problems_of(name: &str, text: &str, given: &BTreeMap<&str, f64>) -> Vec<String> {
    problems_for(name, text, given, PORTABLE, EVERY)
}

/// The problems of a linked text, for each of its entry points and each language.
fn problems_for(
    name: &str,
    text: &str,
    given: &BTreeMap<&str, f64>,
    allowed: Capabilities,
    languages: &[&str],
) -> Vec<String> {
    let module = match naga::front::wgsl::parse_str(text) {
        Ok(module) => module,
        Err(e) => return vec![format!("{name}: {}", e.emit_to_string(text))],
    };
    let info = match Validator::new(ValidationFlags::all(), allowed).validate(&module) {
        Ok(info) => info,
        Err(e) => return vec![format!("{name}: {}", e.emit_to_string(text))],
    };
    let constants = values(&module, given);
    let mut problems = Vec::new();
    for entry in &module.entry_points {
        let (stage, label) = ((entry.stage, &entry.name[..]), format!("{name}, {}", entry.name));
        match process_overrides(&module, &info, Some(stage), &constants) {
            Ok((module, info)) => {
                let failed = languages.iter().filter_map(|&language| {
                    let outcome = match language {
                        "Metal" => metal(&module, &info),
                        "HLSL" => direct_x(&module, &info),
                        _ => vulkan(&module, &info, stage),
                    };
                    Some((language, outcome.err()?))
                });
                problems.extend(failed.map(|(language, e)| format!("{label}: no {language} can be written: {e}")));
            }
            Err(e) => problems.push(format!("{label}: with constants {constants:?}: {e}")),
        }
    }
    if module.entry_points.is_empty() {
        problems.push(format!("{name}: no entry point"));
    }
    problems
}

/// Values of the constants: the values of an operator's call, and made-up ones for the rest. 16 is
/// valid as a size, a count and a divisor, also of the largest subgroup; one half is valid as a
/// rate and an epsilon. The Tint check uses the same values.
fn values(module: &Module, given: &BTreeMap<&str, f64>) -> PipelineConstants {
    let missing = module.overrides.iter().filter(|(_, o)| o.init.is_none());
    missing
        .map(|(_, o)| {
            let name = o.id.map_or_else(|| o.name.clone().expect("an override has a name"), |id| id.to_string());
            let value = match module.types[o.ty].inner {
                TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Float => 0.5,
                TypeInner::Scalar(scalar) if scalar.kind == ScalarKind::Bool => 1.0,
                _ => 16.0,
            };
            let given = o.name.as_deref().and_then(|name| given.get(name));
            (name, given.copied().unwrap_or(value))
        })
        .collect()
}

fn metal(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    // Every Mac of the last years has version 2.4.
    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let (_, info) = msl::write_string(module, info, &options, &Default::default()).map_err(|e| e.to_string())?;
    info.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
}

fn direct_x(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    // Subgroups need shader model 6.0, and f16 needs 6.2.
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
    let (mut out, pipeline) = (String::new(), Default::default());
    let written =
        hlsl::Writer::new(&mut out, &options, &pipeline).write(module, info, None).map_err(|e| e.to_string())?;
    written.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
}

fn vulkan(module: &Module, info: &ModuleInfo, (shader_stage, name): (ShaderStage, &str)) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = spv::PipelineOptions { shader_stage, entry_point: name.to_string() };
    let words = spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|e| e.to_string())?;
    if words.first() == Some(&0x0723_0203) { Ok(()) } else { Err("the magic number is missing".into()) }
}

mod made_up_shaders {
    use super::*;

    #[test]
    fn shader_check_accepts_valid_shaders() {
        let text = "override N: u32; override WG: u32; override EPS: f32; override QUICK: bool; override TWO: u32 = 2u;
            @group(0) @binding(0) var<storage, read> x: array<f32>;
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;
            var<workgroup> part: array<f32, WG / 2u>;
            @compute @workgroup_size(WG) fn forward(@builtin(local_invocation_index) i: u32) {
                if (QUICK) { part[i % TWO] = x[i] + EPS; } workgroupBarrier(); y[i] = subgroupAdd(part[i / N]);
            }
            @compute @workgroup_size(64) fn backward(@builtin(global_invocation_id) at: vec3<u32>) { y[at.x] = 1.0; }";
        assert_eq!(problems_of("good", text, &BTreeMap::new()), Vec::<String>::new());
        let text = "enable f16; alias Elem = f16; @group(0) @binding(0) var<storage, read_write> y: array<Elem>;
            @compute @workgroup_size(64) fn forward(@builtin(global_invocation_id) at: vec3<u32>) { y[at.x] = 1h; }";
        assert_eq!(problems_of("good in f16", text, &BTreeMap::new()), Vec::<String>::new());
    }

    #[test]
    fn shader_check_finds_invalid_shaders() {
        let fails = |text: &str, with: &str| {
            let problems = problems_of("bad", text, &BTreeMap::new());
            assert!(
                problems.len() == 1 && problems[0].contains(with),
                "one problem with '{with}' was expected: {problems:?}"
            );
        };
        fails("fn f() { x = 1.0; }", "no definition in scope");
        fails("fn f() -> f32 { return 1.0; }", "no entry point");
        fails("override N: u32; @compute @workgroup_size(N - 16u) fn forward() {}", "with constants");
        // A type that naga has and Metal does not.
        fails(
            "@group(0) @binding(0) var<storage, read_write> y: f64;
            @compute @workgroup_size(1) fn forward() { y = y + 1lf; }",
            "FLOAT64",
        );
    }
}
