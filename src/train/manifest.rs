//! `manifest.json` and `config.toml` of a run folder: everything needed to repeat the run.

use super::trainer::Trainer;
use crate::files::write_atomically;
use crate::{Error, Result};

/// Name of the manifest in a run folder.
pub(super) const FILE: &str = "manifest.json";

impl Trainer {
    /// Writes the complete settings, and the version, device, kernel variants, data hashes and
    /// model size.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub(super) fn write_manifest(&self) -> Result<()> {
        let folder = &self.config.out;
        let text = toml::to_string(&self.config)
            .map_err(|e| Error::Config(format!("the settings cannot be written as TOML: {e}")))?;
        write_atomically(&folder.join("config.toml"), text.as_bytes())?;
        let adapter = self.ctx.gpu.adapter();
        let data = &self.dataset;
        let files = data
            .files
            .iter()
            .map(|file| serde_json::json!({ "path": file.path, "sha256": file.sha256, "known_as": file.known }));
        let manifest = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "adapter": adapter.name,
            "class": adapter.class.to_string(),
            "backend": adapter.backend,
            "driver": adapter.driver,
            "kernels": self.ctx.target().to_string(),
            "data": { "name": data.name, "images": data.count, "files": files.collect::<Vec<_>>() },
            "parameters": self.objective.model().parameters().count(),
        });
        write_atomically(&folder.join(FILE), format!("{manifest:#}\n").as_bytes())
    }
}
