//! Reads the shaders and writes their Rust face: the shader is the schema.
//!
//! Every file in `shaders/` is linked with the prelude in each hardware form, parsed and validated by naga (the version wgpu uses), so a typo
//! in WGSL stops the build with the line underlined. For each entry point a struct is written whose fields are its bindings (as `Tensor`) and
//! its constants (overrides without default, members of the uniform `dims`) under their own names and types: a binding renamed only in WGSL
//! is a compile error in Rust. The uniform `Step` of the prelude becomes a Rust struct of the same layout.

use naga::{AddressSpace, Module, ScalarKind, StorageAccess, TypeInner};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Storage buffers one entry point may bind: the portable limit.
const STORAGE_BUFFERS: usize = 8;

fn main() {
    println!("cargo:rerun-if-changed=shaders");
    if let Err(message) = generate() {
        eprintln!("{message}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let prelude = |name: &str| read(&root.join("shaders/prelude").join(name));
    let common = prelude("common.wgsl")? + &prelude("random.wgsl")? + &prelude("special.wgsl")?;
    let forms = [
        ("broadcast", prelude("reduce_subgroup.wgsl")? + &prelude("outer_subgroup.wgsl")? + &prelude("lanes_8.wgsl")?),
        ("workgroup", prelude("reduce_workgroup.wgsl")? + &prelude("lanes_8.wgsl")?),
    ];

    let mut files: Vec<PathBuf> = fs::read_dir(root.join("shaders"))
        .map_err(|e| e.to_string())?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    files.sort();

    let mut kernels = String::new();
    let mut names = Vec::new();
    let mut step = None;
    for path in &files {
        let name = path.file_stem().and_then(|s| s.to_str()).ok_or("a shader's name is not UTF-8")?.to_owned();
        let text = read(path)?;
        let mut module = None;
        for (form, prelude) in &forms {
            if *form == "workgroup" && text.contains("subgroup") {
                continue; // written for the broadcast form only
            }
            let linked = format!("{text}\n{common}\n{prelude}");
            module.get_or_insert(parse(&linked, &format!("shaders/{name}.wgsl ({form})"))?);
        }
        let module = module.ok_or("no form")?;
        write_shader(&mut kernels, &name, path, &module)?;
        step.get_or_insert_with(|| write_step(&module));
        names.push(name);
    }
    let list: String = names.iter().map(|n| format!("&{n}::SHADER, ")).collect();
    writeln!(kernels, "/// Every shader of the crate.\npub static SHADERS: &[&Shader] = &[{list}];")
        .map_err(|e| e.to_string())?;
    fs::write(out.join("kernels.rs"), kernels).map_err(|e| e.to_string())?;
    fs::write(out.join("step.rs"), step.ok_or("no shader")??).map_err(|e| e.to_string())
}

fn parse(text: &str, name: &str) -> Result<Module, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string_with_path(text, name))?;
    validator().validate(&module).map_err(|e| e.emit_to_string_with_path(text, name))?;
    Ok(module)
}

fn validator() -> naga::valid::Validator {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER)
}

/// A field of a face: name and Rust type.
type Field = (String, &'static str);

fn write_shader(out: &mut String, name: &str, path: &Path, module: &Module) -> Result<(), String> {
    let fail = |e: std::fmt::Error| e.to_string();
    writeln!(out, "/// Kernels of `shaders/{name}.wgsl`.\npub mod {name} {{\n    use super::*;").map_err(fail)?;
    writeln!(out, "    /// The shader's text.").map_err(fail)?;
    writeln!(out, "    pub static SHADER: Shader = Shader {{ name: {name:?}, text: include_str!({path:?}) }};")
        .map_err(fail)?;
    for entry in &module.entry_points {
        write_entry(out, name, &entry.name, module).map_err(|e| format!("shaders/{name}.wgsl, {}: {e}", entry.name))?;
    }
    writeln!(out, "}}").map_err(fail)
}

fn write_entry(out: &mut String, shader: &str, entry: &str, whole: &Module) -> Result<(), String> {
    let mut module = whole.clone();
    module.entry_points.retain(|e| e.name == entry);
    naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
    let info = validator().validate(&module).map_err(|e| e.to_string())?;
    let uses = info.get_entry_point(0);

    let (mut tensors, mut uniform, mut takes_step) = (Vec::new(), None, false);
    for (handle, global) in module.global_variables.iter() {
        let Some(binding) = &global.binding else { continue };
        let name = global.name.clone().unwrap_or_default();
        match (global.space, binding.group, name.as_str()) {
            (AddressSpace::Storage { access }, 0, _) => {
                let writes = access.contains(StorageAccess::STORE);
                let reads = uses[handle].contains(naga::valid::GlobalUse::READ);
                let access = if !writes {
                    "Read"
                } else if reads {
                    "ReadWrite"
                } else {
                    "Write"
                };
                tensors.push((binding.binding, name, access));
            }
            (AddressSpace::Uniform, 0, "dims") => uniform = Some((binding.binding, global.ty)),
            (AddressSpace::Uniform, 1, "step") => takes_step = true,
            _ => {
                return Err(format!(
                    "binding `{name}`: only storage buffers and the uniforms `dims` and `step` are known"
                ));
            }
        }
    }
    tensors.sort();
    if tensors.len() > STORAGE_BUFFERS {
        return Err(format!("{} storage buffers; the portable limit is {STORAGE_BUFFERS}", tensors.len()));
    }

    let constants: Vec<Field> = module
        .overrides
        .iter()
        .filter(|(_, o)| o.init.is_none())
        .map(|(_, o)| Ok((o.name.clone().unwrap_or_default(), scalar(&module, o.ty)?)))
        .collect::<Result<_, String>>()?;
    let (members, span) = match uniform {
        Some((_, ty)) => members(&module, ty)?,
        None => (Vec::new(), 0),
    };

    let mut fields: Vec<Field> = tensors.iter().map(|(_, name, _)| (name.clone(), "Tensor")).collect();
    fields.extend(constants.iter().map(|(name, ty)| (name.to_lowercase(), *ty)));
    fields.extend(members.iter().map(|(name, ty)| (name.to_lowercase(), *ty)));
    for (i, (name, _)) in fields.iter().enumerate() {
        if fields[..i].iter().any(|(other, _)| other == name) {
            return Err(format!(
                "two things become the field `{name}`: a binding, an override or a member of dims must be renamed"
            ));
        }
    }

    let face: String = entry.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    let upper = entry.to_uppercase();
    let declared: String = fields.iter().map(|(n, t)| format!("        pub {n}: {t},\n")).collect();
    let bindings: String = tensors
        .iter()
        .map(|(index, name, access)| {
            format!("Binding {{ name: {name:?}, index: {index}, access: Access::{access} }}, ")
        })
        .collect();
    let keys: String = constants.iter().map(|(name, _)| format!("{name:?}, ")).collect();
    let operands: String = tensors.iter().map(|(_, name, _)| format!("self.{name}, ")).collect();
    let values: String = constants.iter().map(|(name, ty)| format!("{}, ", as_f64(&name.to_lowercase(), ty))).collect();
    let words: String = members.iter().map(|(name, ty)| format!("{}, ", as_word(&name.to_lowercase(), ty))).collect();
    let uniform = uniform.map_or("None".into(), |(index, _)| format!("Some(({index}, {span}))"));
    let size = module.entry_points[0].workgroup_size;
    write!(
        out,
        "    /// `{shader}.{entry}`\n    #[derive(Debug)]\n    pub struct {face} {{\n{declared}    }}\n\
         \x20   /// `{shader}.{entry}`: its bindings and constants.\n\
         \x20   pub static {upper}: Entry = Entry {{ shader: &SHADER, name: {entry:?}, label: \"{shader}.{entry}\", bindings: &[{bindings}], \
         constants: &[{keys}], uniform: {uniform}, takes_step: {takes_step}, workgroup_size: {size:?} }};\n\
         \x20   impl Kernel for {face} {{\n        fn call(&self) -> Dispatch {{\n            \
         Dispatch {{ entry: &{upper}, operands: vec![{operands}], constants: vec![{values}], dims: vec![{words}] }}\n        }}\n    }}\n"
    )
    .map_err(|e| e.to_string())
}

/// Members of a uniform struct of scalars, in order, and the struct's size.
fn members(module: &Module, ty: naga::Handle<naga::Type>) -> Result<(Vec<Field>, u32), String> {
    let TypeInner::Struct { members, span } = &module.types[ty].inner else {
        return Err("a uniform must be a struct".into());
    };
    let fields = members
        .iter()
        .map(|m| Ok((m.name.clone().unwrap_or_default(), scalar(module, m.ty)?)))
        .collect::<Result<Vec<_>, String>>()?;
    Ok((fields, *span))
}

fn scalar(module: &Module, ty: naga::Handle<naga::Type>) -> Result<&'static str, String> {
    match module.types[ty].inner {
        TypeInner::Scalar(s) => match s.kind {
            ScalarKind::Uint => Ok("u32"),
            ScalarKind::Sint => Ok("i32"),
            ScalarKind::Float => Ok("f32"),
            ScalarKind::Bool => Ok("bool"),
            _ => Err("an abstract constant".into()),
        },
        _ => Err("constants and members of uniforms must be scalars".into()),
    }
}

fn as_f64(name: &str, ty: &str) -> String {
    if ty == "bool" { format!("f64::from(u8::from(self.{name}))") } else { format!("f64::from(self.{name})") }
}

fn as_word(name: &str, ty: &str) -> String {
    match ty {
        "f32" => format!("self.{name}.to_bits()"),
        "u32" => format!("self.{name}"),
        _ => format!("self.{name} as u32"),
    }
}

fn write_step(module: &Module) -> Result<String, String> {
    let (_, ty) = module
        .types
        .iter()
        .find_map(|(h, t)| (t.name.as_deref() == Some("Step")).then_some(((), h)))
        .ok_or("no struct Step")?;
    let (fields, span) = members(module, ty)?;
    if span as usize != 4 * fields.len() {
        return Err("struct Step must fill a multiple of 16 bytes".into());
    }
    let declared: String =
        fields.iter().map(|(n, t)| format!("    #[allow(missing_docs)]\n    pub {n}: {t},\n")).collect();
    let mut streams = String::new();
    for (_, constant) in module.constants.iter() {
        let Some(name) = constant.name.as_deref().and_then(|name| name.strip_prefix("STREAM_")) else { continue };
        let naga::Expression::Literal(naga::Literal::U32(value)) = module.global_expressions[constant.init] else {
            return Err(format!("STREAM_{name} must be a plain number"));
        };
        streams += &format!("    #[allow(missing_docs)]\n    pub const {name}: u32 = {value};\n");
    }
    Ok(format!(
        "/// What a random number is drawn for: first word of the generator's counter (`shaders/prelude/random.wgsl`).\n\
         pub mod stream {{\n{streams}}}\n\
         /// What changes between two runs of a program; the members are explained in `shaders/prelude/common.wgsl`.\n\
         #[repr(C)]\n#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]\npub struct Step {{\n{declared}}}\n"
    ))
}
