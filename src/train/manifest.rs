//! `manifest.json` and `config.toml` of a run folder: what it was run with, so that it can be run again.

use super::programs::Job;
use super::settings::Config;
use crate::files::write_atomically;
use crate::gpu::Context;
use crate::{Error, Result};
use std::path::Path;

/// Writes the resolved settings, and the version, device, kernel choices, data hashes and model size.
///
/// # Errors
/// A full disk, or a folder that cannot be written.
pub fn write(ctx: &Context, job: &Job<'_>, folder: &Path) -> Result<()> {
    let text =
        toml::to_string(job.config).map_err(|e| Error::Config(format!("the settings have no form in TOML: {e}")))?;
    write_atomically(&folder.join("config.toml"), text.as_bytes())?;
    let adapter = ctx.gpu.adapter();
    let files = job
        .dataset
        .files
        .iter()
        .map(|file| serde_json::json!({ "path": file.path, "sha256": file.sha256, "known_as": file.known }));
    let manifest = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "adapter": adapter.name,
        "class": adapter.class.to_string(),
        "backend": adapter.backend,
        "driver": adapter.driver,
        "kernels": ctx.target().to_string(),
        "data": { "name": job.dataset.name, "images": job.dataset.count, "files": files.collect::<Vec<_>>() },
        "parameters": job.objective.model().parameters().count(),
    });
    write_atomically(&folder.join("manifest.json"), format!("{manifest:#}\n").as_bytes())
}

/// Reads the settings of a run folder.
///
/// # Errors
/// No run folder, or a damaged one.
pub fn read_config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.toml");
    if !path.is_file() {
        let problem = "not the folder of a run: that has config.toml and checkpoint-STEP folders";
        return Err(Error::file(folder, problem));
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    toml::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))
}
