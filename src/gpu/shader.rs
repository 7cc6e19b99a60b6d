//! Descriptions of shaders, which `build.rs` generates, and linking with the prelude.

use super::target::{KernelVariant, Target};

/// One WGSL file, before linking.
#[derive(Debug)]
pub struct Shader {
    /// Name of the file without extension.
    pub name: &'static str,
    /// Its text without the prelude.
    pub text: &'static str,
}

/// How an entry point uses a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written.
    Write,
    /// Read and written.
    ReadWrite,
}

/// A storage buffer of an entry point.
#[derive(Debug)]
pub struct Binding {
    /// Its name in the shader.
    pub name: &'static str,
    /// Its number in group 0.
    pub index: u32,
    /// Whether it is read, written, or both.
    pub access: Access,
    /// Whether its elements are floating-point numbers: then the operand must hold such numbers, too.
    pub floats: bool,
}

/// A compute entry point, as `build.rs` reads it from the shader.
#[derive(Debug)]
pub struct Entry {
    /// Its shader.
    pub shader: &'static Shader,
    /// Its name in the shader.
    pub name: &'static str,
    /// `shader.entry`, its name in listings and profiles.
    pub label: &'static str,
    /// Its storage buffers by binding number.
    pub bindings: &'static [Binding],
    /// Its overrides without default.
    pub constants: &'static [&'static str],
    /// Binding number and size in bytes of its uniform `dims`.
    pub uniform: Option<(u32, u32)>,
    /// Whether it reads the uniform `step`.
    pub takes_step: bool,
    /// Workgroup size in the subgroup variant with 8 lanes, or 1 where an override sets it.
    /// Elementwise kernels have the same size for all targets.
    pub workgroup_size: [u32; 3],
    /// Whether its grid may be folded into two dimensions: it compares an index with a count.
    pub folds: bool,
}

/// The WGSL that is compiled for a target: the shader's text, then the prelude. WGSL allows use
/// before declaration, and in this order the line numbers of error messages are the file's.
pub fn link(name: &str, text: &str, target: Target) -> String {
    link_with(name, text, target, |_| None)
}

/// [`link`] with another text for each prelude file for which `replacement` returns one, given a
/// name such as `prelude/common`.
pub(super) fn link_with(
    name: &str,
    text: &str,
    target: Target,
    replacement: impl Fn(&str) -> Option<String>,
) -> String {
    let mut linked = text.to_owned();
    for (name, text) in prelude(name, target) {
        linked.push('\n');
        linked.push_str(&replacement(name).unwrap_or_else(|| text.to_owned()));
    }
    linked
}

/// The prelude files of a shader for a target: name below `shaders/` without extension, and text.
fn prelude(shader: &str, target: Target) -> Vec<(&'static str, &'static str)> {
    macro_rules! file {
        ($name:literal) => {
            (concat!("prelude/", $name), include_str!(concat!("../../shaders/prelude/", $name, ".wgsl")))
        };
    }
    let mut files = vec![file!("common"), file!("random"), file!("special")];
    match target.variant {
        KernelVariant::Subgroup => files.extend([file!("reduce_subgroup"), file!("outer_subgroup")]),
        KernelVariant::Tiled if target.shuffles() => files.extend([file!("reduce_shuffle"), file!("difference")]),
        KernelVariant::Tiled => files.extend([file!("reduce_workgroup"), file!("difference")]),
    }
    if shader.ends_with("_wide") {
        files.extend([file!("wide"), file!("own_tokens")]);
    }
    files.push(match target.lanes() {
        4 => file!("lanes_4"),
        16 => file!("lanes_16"),
        32 => file!("lanes_32"),
        _ => file!("lanes_8"),
    });
    files
}
