//! Writes every linked shader to a folder, for compilers other than naga (`make tint`):
//!
//!     cargo run --release --example shaders -- target/shaders
//!
//! `add.tiles.wgsl` is shaders/add.wgsl as it is linked for the target `tiles`; `add.tiles.json` has values for its constants.

use degrain::{Error, Result, ops};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: shaders FOLDER");
        return ExitCode::from(2);
    };
    match write_all(PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: PathBuf) -> Result<()> {
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let shaders = ops::linked();
    for shader in &shaders {
        let write = |extension: &str, text: &str| {
            let path = folder.join(format!("{}.{extension}", shader.name));
            std::fs::write(&path, text).map_err(Error::io(&path))
        };
        write("wgsl", &shader.text)?;
        write("json", &serde_json::json!(shader.constants).to_string())?;
    }
    println!("{} linked shaders in {}", shaders.len(), folder.display());
    Ok(())
}
