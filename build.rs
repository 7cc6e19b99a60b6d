//! Reads the shaders and generates Rust from them, so that every fact about a kernel is written
//! only in WGSL.
//!
//! Every file in `shaders/` is linked with the prelude, then parsed and validated by naga (the
//! version that wgpu uses): a typo in WGSL stops the build with the line underlined. The file name
//! decides the kernel variants. `*_subgroup.wgsl` and `*_wide.wgsl` are compiled for the subgroup
//! variant; every other file is compiled for both variants. Only `*_wide.wgsl` may use 64-bit
//! integers.
//!
//! `kernels.rs` has a module for each shader:
//! * a struct for each entry point. Its fields are the storage bindings (as `Tensor`), the
//!   overrides without default and the members of the uniform `dims`, in lower case. A binding that
//!   is renamed only in WGSL is a compile error in Rust.
//! * a `pub const` for each scalar `const` of the file that has a concrete type, such as the size
//!   of a tile.
//!
//! `step.rs` has the uniform `Step` of the prelude as a struct, the random streams, and the
//! workgroup size of elementwise kernels.
//!
//! A kernel that would do wrong in a folded grid stops the build too (`build/folding.rs`).

#[path = "build/folding.rs"]
mod folding;

use folding::{Folding, folding};
use naga::{AddressSpace, Expression, GlobalVariable, Literal, Module, ScalarKind, StorageAccess, TypeInner};
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Storage buffers that one entry point may bind: the portable limit.
const STORAGE_BUFFERS: usize = 8;

/// Prelude files that both variants share.
const COMMON: [&str; 3] = ["common", "random", "special"];

/// The variants, and the prelude files that each adds. `shuffle` is the tiled variant on devices
/// with subgroup operations. Every device has one of the `lanes_*` files; they differ in one
/// number, so one of them is enough to check a shader. A shader is checked for the variants whose
/// names are in its name, or else for those that every device can run.
const VARIANTS: [(&str, &[&str]); 4] = [
    ("wide", &["reduce_subgroup", "outer_subgroup", "lanes_8", "wide", "own_tokens"]),
    ("subgroup", &["reduce_subgroup", "outer_subgroup", "lanes_8"]),
    ("shuffle", &["reduce_shuffle", "difference", "lanes_32"]),
    ("tiled", &["reduce_workgroup", "difference", "lanes_8"]),
];

fn main() {
    println!("cargo:rerun-if-changed=shaders");
    if let Err(message) = generate() {
        eprintln!("{message}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?).join("shaders");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?);
    let variants: Vec<Variant> =
        VARIANTS.iter().map(|(name, files)| Variant::read(&root, name, files)).collect::<Result<_, _>>()?;

    let mut paths: Vec<PathBuf> = fs::read_dir(&root)
        .map_err(|e| format!("{}: {e}", root.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    paths.sort();

    let mut kernels = String::new();
    let mut names = Vec::new();
    let mut problems = Vec::new();
    for path in &paths {
        let source = Source::read(path)?;
        let written = compile(&source, &variants).and_then(|module| write_shader(&mut kernels, &source, path, &module));
        problems.extend(written.err());
        names.push(source.name);
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    let list: String = names.iter().map(|n| format!("&{n}::SHADER, ")).collect();
    kernels += &format!("/// Every shader of the crate.\npub static SHADERS: &[&Shader] = &[{list}];\n");

    kernels += &write_prelude(&variants)?;
    fs::write(out.join("kernels.rs"), kernels).map_err(|e| e.to_string())?;
    let tiled = variants.last().ok_or("no variant")?;
    fs::write(out.join("step.rs"), write_step(&tiled.parse_prelude()?)?).map_err(|e| e.to_string())
}

/// A WGSL file.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn read(path: &Path) -> Result<Source, String> {
        let name = path.file_stem().and_then(|s| s.to_str()).ok_or("a shader's name is not UTF-8")?.to_owned();
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Source { name, text })
    }
}

/// A kernel variant, with the prelude that completes a shader for it.
struct Variant {
    name: &'static str,
    /// The linked prelude.
    prelude: String,
    /// The files in it, each with its place.
    files: Vec<(&'static str, Range<usize>)>,
}

impl Variant {
    fn read(root: &Path, name: &'static str, own_files: &[&'static str]) -> Result<Variant, String> {
        let mut variant = Variant { name, prelude: String::new(), files: Vec::new() };
        for file in COMMON.iter().chain(own_files) {
            let start = variant.prelude.len();
            variant.prelude += &Source::read(&root.join(format!("prelude/{file}.wgsl")))?.text;
            variant.files.push((file, start..variant.prelude.len()));
        }
        Ok(variant)
    }

    fn parse_prelude(&self) -> Result<Module, String> {
        parse(&self.prelude, "shaders/prelude", self.name)
    }
}

/// The constants of each prelude file.
fn write_prelude(variants: &[Variant]) -> Result<String, String> {
    let mut out = String::from("/// Constants of the prelude, by file.\npub mod prelude {\n");
    let mut written = Vec::new();
    for variant in variants {
        let module = variant.parse_prelude()?;
        for (file, range) in &variant.files {
            let constants = constants(&module, range.clone())?;
            if !constants.is_empty() && !written.contains(file) {
                out += &format!(
                    "    /// Constants of `shaders/prelude/{file}.wgsl`.\n    pub mod {file} {{\n{constants}    }}\n"
                );
                written.push(file);
            }
        }
    }
    Ok(out + "}\n")
}

/// The module of a shader in the first variant that it is written for, after checking all of them.
fn compile(source: &Source, variants: &[Variant]) -> Result<Module, String> {
    let suffix = source.name.rsplit('_').next().filter(|suffix| ["wide", "subgroup"].contains(suffix));
    let mut first: Option<Module> = None;
    for variant in variants {
        if suffix.map_or(variant.name == "wide", |suffix| variant.name != suffix) {
            continue;
        }
        let linked = format!("{}\n{}", source.text, variant.prelude);
        let label = format!("shaders/{}.wgsl, {} variant", source.name, variant.name);
        match parse(&linked, &label, variant.name) {
            Ok(module) => {
                first.get_or_insert(module);
            }
            Err(problem) if first.is_some() => {
                return Err(format!(
                    "{problem}\nshaders/{0}.wgsl compiles for the subgroup variant only. A file whose name does not \
                     end in `_subgroup` must compile for both variants. Remove its subgroup operations, or move them to \
                     shaders/{0}_subgroup.wgsl and choose the kernel in the operator by the target's variant.",
                    source.name
                ));
            }
            Err(problem) => return Err(problem),
        }
    }
    first.ok_or_else(|| format!("shaders/{}.wgsl: no variant", source.name))
}

/// Parses and validates. Messages quote the text as `label`.
fn parse(text: &str, label: &str, variant: &str) -> Result<Module, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string_with_path(text, label))?;
    validator(variant).validate(&module).map_err(|e| e.emit_to_string_with_path(text, label))?;
    Ok(module)
}

/// A validator that allows what a variant may use: subgroup operations, 64-bit integers.
fn validator(variant: &str) -> naga::valid::Validator {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let subgroup = Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER;
    let allowed = match variant {
        "wide" => subgroup | Capabilities::SHADER_INT64,
        "subgroup" | "shuffle" => subgroup,
        _ => Capabilities::empty(),
    };
    Validator::new(ValidationFlags::all(), allowed)
}

/// `pub const` items for the scalar constants that are declared in `range` of the module's text.
/// The random streams are left out, because `step.rs` has them.
fn constants(module: &Module, range: Range<usize>) -> Result<String, String> {
    let mut out = String::new();
    for (handle, constant) in module.constants.iter() {
        let name = constant.name.as_deref().unwrap_or_default();
        let declared = module.constants.get_span(handle).to_range().is_some_and(|span| range.contains(&span.start));
        if !declared || name.starts_with("STREAM_") {
            continue;
        }
        let (ty, value) = match module.global_expressions[constant.init] {
            Expression::Literal(Literal::U32(value)) => ("u32", format!("{value}")),
            Expression::Literal(Literal::I32(value)) => ("i32", format!("{value}")),
            Expression::Literal(Literal::F32(value)) => ("f32", format!("{value:?}")),
            Expression::Literal(Literal::Bool(value)) => ("bool", format!("{value}")),
            _ => continue, // vectors, which Rust does not need
        };
        writeln!(out, "    #[allow(dead_code)]\n    pub const {name}: {ty} = {value};").map_err(|e| e.to_string())?;
    }
    Ok(out)
}

fn write_shader(out: &mut String, source: &Source, path: &Path, module: &Module) -> Result<(), String> {
    let name = &source.name;
    *out += &format!(
        "/// Kernels of `shaders/{name}.wgsl`.\npub mod {name} {{\n    #[allow(unused_imports)]\n    use super::*;\n\
         \x20   /// The shader's text.\n    \
         pub static SHADER: Shader = Shader {{ name: {name:?}, text: include_str!({path:?}) }};\n"
    );
    *out += &constants(module, 0..source.text.len())?;
    let mut problems = Vec::new();
    for entry in &module.entry_points {
        match entry_point(name, &entry.name, module) {
            Ok(text) => *out += &text,
            Err(e) => problems.push(format!("shaders/{name}.wgsl, entry point {}: {e}", entry.name)),
        }
    }
    *out += "}\n";
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// A field of a generated struct: name and Rust type.
type Field = (String, &'static str);

/// The bindings and constants of an entry point.
struct Interface {
    /// Storage buffers: binding number, name, variant of `Access`, and whether they hold
    /// floating-point numbers.
    tensors: Vec<(u32, String, &'static str, bool)>,
    /// Binding number and size in bytes of the uniform `dims`.
    uniform: Option<(u32, u32)>,
    /// Members of `dims`.
    members: Vec<Field>,
    /// Overrides without default.
    overrides: Vec<Field>,
    takes_step: bool,
    workgroup_size: [u32; 3],
    /// Whether its grid may be folded.
    folds: bool,
}

impl Interface {
    fn new(entry: &str, whole: &Module) -> Result<Interface, String> {
        let mut module = whole.clone();
        module.entry_points.retain(|e| e.name == entry);
        naga::compact::compact(&mut module, naga::compact::KeepUnused::No);
        let info = validator("wide").validate(&module).map_err(|e| e.to_string())?;
        let uses = info.get_entry_point(0);
        let folding = folding(&module, &module.entry_points[0]);
        if folding == Folding::Unchecked {
            return Err("compares no index with a count, but its grid may be folded, and then the last row has \
                        workgroups past the end. Compare workgroup_index with the number of workgroups"
                .into());
        }

        let mut interface = Interface {
            tensors: Vec::new(),
            uniform: None,
            members: Vec::new(),
            overrides: overrides(&module)?,
            takes_step: false,
            workgroup_size: module.entry_points[0].workgroup_size,
            folds: folding == Folding::Compared,
        };
        for (handle, global) in module.global_variables.iter() {
            let reads = uses[handle].contains(naga::valid::GlobalUse::READ);
            interface.bind(&module, global, reads)?;
        }
        interface.tensors.sort();
        if interface.tensors.len() > STORAGE_BUFFERS {
            return Err(format!(
                "{} storage buffers; the portable limit is {STORAGE_BUFFERS}. Split the entry point in two",
                interface.tensors.len()
            ));
        }
        Ok(interface)
    }

    fn bind(&mut self, module: &Module, global: &GlobalVariable, reads: bool) -> Result<(), String> {
        let Some(binding) = &global.binding else { return Ok(()) };
        let name = global.name.clone().unwrap_or_default();
        match (global.space, binding.group, name.as_str()) {
            (AddressSpace::Storage { access }, 0, _) => {
                let access = match (access.contains(StorageAccess::STORE), reads) {
                    (false, _) => "Read",
                    (true, true) => "ReadWrite",
                    (true, false) => "Write",
                };
                self.tensors.push((binding.binding, name, access, holds_floats(module, global.ty)));
            }
            (AddressSpace::Uniform, 0, "dims") => {
                let (members, size) = members(module, global.ty)?;
                self.members = members;
                self.uniform = Some((binding.binding, size));
            }
            (AddressSpace::Uniform, 1, "step") => self.takes_step = true,
            _ => {
                return Err(format!(
                    "binding `{name}` is not supported. Use storage buffers in group 0, the uniform `dims` in group 0, \
                     and the prelude's uniform `step`"
                ));
            }
        }
        Ok(())
    }

    /// The fields of the struct.
    fn fields(&self) -> Result<Vec<Field>, String> {
        let mut fields: Vec<Field> = self.tensors.iter().map(|(_, name, ..)| (name.clone(), "Tensor")).collect();
        fields.extend(self.overrides.iter().map(|(name, ty)| (name.to_lowercase(), *ty)));
        fields.extend(self.members.iter().map(|(name, ty)| (name.to_lowercase(), *ty)));
        for (i, (name, _)) in fields.iter().enumerate() {
            if fields[..i].iter().any(|(other, _)| other == name) {
                return Err(format!(
                    "two fields are named `{name}`. Rename a binding, an override or a member of dims"
                ));
            }
        }
        Ok(fields)
    }
}

/// Whether the elements of an array are floating-point numbers, or vectors of them.
fn holds_floats(module: &Module, array: naga::Handle<naga::Type>) -> bool {
    let TypeInner::Array { base, .. } = module.types[array].inner else { return false };
    match module.types[base].inner {
        TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. } => scalar.kind == naga::ScalarKind::Float,
        _ => false,
    }
}

/// The struct of an entry point, its description, and how a value becomes a call.
fn entry_point(shader: &str, entry: &str, module: &Module) -> Result<String, String> {
    let interface = Interface::new(entry, module)?;
    let struct_name: String = entry.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    let static_name = entry.to_uppercase();

    let fields: String = interface.fields()?.iter().map(|(n, t)| format!("        pub {n}: {t},\n")).collect();
    let binding = |(index, name, access, floats): &(u32, String, &str, bool)| {
        format!("Binding {{ name: {name:?}, index: {index}, access: Access::{access}, floats: {floats} }}, ")
    };
    let bindings: String = interface.tensors.iter().map(binding).collect();
    let constants: String = interface.overrides.iter().map(|(name, _)| format!("{name:?}, ")).collect();
    let uniform = interface.uniform.map_or("None".into(), |(index, size)| format!("Some(({index}, {size}))"));

    let operands: String = interface.tensors.iter().map(|(_, name, ..)| format!("self.{name}, ")).collect();
    let values: String = interface.overrides.iter().map(|(name, ty)| as_f64(&name.to_lowercase(), ty) + ", ").collect();
    let words: String = interface.members.iter().map(|(name, ty)| as_word(&name.to_lowercase(), ty) + ", ").collect();
    let Interface { takes_step, workgroup_size: size, folds, .. } = interface;
    Ok(format!(
        "    /// `{shader}.{entry}`
    #[derive(Debug)]
    pub struct {struct_name} {{
{fields}    }}
    /// Bindings and constants of `{shader}.{entry}`.
    pub static {static_name}: Entry = Entry {{
        shader: &SHADER,
        name: {entry:?},
        label: \"{shader}.{entry}\",
        bindings: &[{bindings}],
        constants: &[{constants}],
        uniform: {uniform},
        takes_step: {takes_step},
        workgroup_size: {size:?},
        folds: {folds},
    }};
    impl Kernel for {struct_name} {{
        fn call(&self) -> Dispatch {{
            Dispatch {{
                entry: &{static_name},
                operands: vec![{operands}],
                constants: vec![{values}],
                dims: vec![{words}],
            }}
        }}
    }}
"
    ))
}

/// Overrides without default, in order.
fn overrides(module: &Module) -> Result<Vec<Field>, String> {
    let missing = module.overrides.iter().filter(|(_, o)| o.init.is_none());
    missing.map(|(_, o)| Ok((o.name.clone().unwrap_or_default(), scalar(module, o.ty)?))).collect()
}

/// Members of a uniform struct of scalars, in order, and the struct's size in bytes.
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
            _ => Err("overrides and members of uniforms need a type".into()),
        },
        _ => Err("overrides and members of uniforms must be scalars".into()),
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

/// `step.rs`: the uniform `Step` as a struct of the same layout, and the constants `STREAM_*`.
fn write_step(module: &Module) -> Result<String, String> {
    let is_step = |ty: &naga::Type| ty.name.as_deref() == Some("Step");
    let (step, _) = module.types.iter().find(|(_, ty)| is_step(ty)).ok_or("shaders/prelude: no struct Step")?;
    let (fields, size) = members(module, step)?;
    if size as usize != 4 * fields.len() {
        return Err("shaders/prelude: struct Step must fill a multiple of 16 bytes".into());
    }
    let fields: String =
        fields.iter().map(|(n, t)| format!("    #[allow(missing_docs)]\n    pub {n}: {t},\n")).collect();
    let flat = |(_, c): &(_, &naga::Constant)| c.name.as_deref() == Some("FLAT");
    let (_, flat) = module.constants.iter().find(flat).ok_or("shaders/prelude: no constant FLAT")?;
    let Expression::Literal(Literal::U32(flat)) = module.global_expressions[flat.init] else {
        return Err("FLAT must be a u32 literal".into());
    };
    let mut streams = String::new();
    for (_, constant) in module.constants.iter() {
        let Some(name) = constant.name.as_deref().and_then(|name| name.strip_prefix("STREAM_")) else { continue };
        let Expression::Literal(Literal::U32(value)) = module.global_expressions[constant.init] else {
            return Err(format!("STREAM_{name} must be a u32 literal"));
        };
        streams += &format!("    #[allow(missing_docs)]\n    pub const {name}: u32 = {value};\n");
    }
    Ok(format!(
        "/// Workgroup size of elementwise kernels (`shaders/prelude/common.wgsl`).
pub(super) const FLAT: u32 = {flat};
/// Random streams: the purpose of a random number, and the first word of the counter
/// (`shaders/prelude/random.wgsl`).
pub mod stream {{
{streams}}}
/// Values that change between two runs of a program. `shaders/prelude/common.wgsl` explains them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Step {{
{fields}}}
"
    ))
}
