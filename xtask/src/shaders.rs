//! The shader export: writes every linked shader to a folder, for compilers other than naga
//! (`make tint`). The wide shaders are left out: Tint has no 64-bit integers.
//!
//! `add.tiled.wgsl` is shaders/add.wgsl linked for the target `tiled`; `add.tiled.json` holds
//! values for its constants.

use degrain::{Error, Result, ops};
use std::path::Path;
use std::process::ExitCode;

pub fn main(folder: &Path) -> ExitCode {
    match write_all(folder) {
        Ok(count) => {
            println!("{count} linked shaders in {}", folder.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the shaders and returns their number.
fn write_all(folder: &Path) -> Result<usize> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let shaders: Vec<_> = ops::linked().into_iter().filter(|shader| !shader.wide).collect();
    for shader in &shaders {
        let write = |extension: &str, text: &str| {
            let path = folder.join(format!("{}.{extension}", shader.name));
            std::fs::write(&path, text).map_err(Error::io(&path))
        };
        write("wgsl", &shader.text)?;
        write("json", &serde_json::json!(shader.constants).to_string())?;
    }
    Ok(shaders.len())
}
