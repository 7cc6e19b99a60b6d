//! Presets, one TOML file each, compiled into the crate. A preset has settings for all sizes, and a
//! table for each size. Other settings come from the file that its key `like` names, a preset or
//! `presets/unet.toml`, or from `presets/defaults.toml`.

use super::config::{Config, Settings, Size, missing, of_run};
use crate::{Error, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// The name of every preset.
        pub const NAMES: &[&str] = &[$($name),*];

        /// The text of every preset, in the order of [`NAMES`].
        const TEXTS: &[&str] = &[$(include_str!(concat!("presets/", $name, ".toml"))),*];
    };
}

presets![
    "ddpm",
    "plain",
    "plain-published",
    "plain-conditional",
    "plain-conditional-published",
    "residual-attention",
    "residual-attention-published",
    "score",
    "score-published",
    "guided",
    "hybrid",
    "vdm",
    "edm",
    "flow",
    "vae",
    "classifier",
];

/// The settings that presets with the U-Net of diffusers share, and their name for `like`.
const UNET: (&str, &str) = ("unet", include_str!("presets/unet.toml"));

/// Default settings of all presets.
const DEFAULTS: &str = include_str!("presets/defaults.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    /// The file that this one is based on.
    like: Option<String>,
    #[serde(default)]
    common: Settings,
    #[serde(default)]
    tiny: Settings,
    #[serde(default)]
    small: Settings,
    #[serde(default)]
    base: Settings,
}

/// The settings of a preset for a size.
///
/// # Errors
/// [`Error::Config`] for an unknown preset.
pub fn settings(name: &str, size: Size) -> Result<Settings> {
    let known = NAMES.iter().zip(TEXTS).find(|(known, _)| **known == name);
    let unknown = || Error::Config(format!("there is no preset `{name}`; there are: {}", NAMES.join(", ")));
    let (_, text) = known.ok_or_else(unknown)?;
    settings_in(text, name, size)
}

/// The settings in the text of a file for a size, completed by the file that it is based on.
fn settings_in(text: &str, name: &str, size: Size) -> Result<Settings> {
    let damaged = |e: toml::de::Error| Error::Config(format!("preset file {name}: {e}"));
    let preset: Preset = toml::from_str(text).map_err(damaged)?;
    let sized = match size {
        Size::Tiny => preset.tiny,
        Size::Small => preset.small,
        Size::Base => preset.base,
    };
    let rest = match preset.like {
        Some(like) if like == UNET.0 => settings_in(UNET.1, UNET.0, size)?,
        Some(like) => settings(&like, size)?,
        None => toml::from_str(DEFAULTS).map_err(damaged)?,
    };
    Ok(sized.or(preset.common).or(rest))
}

impl Settings {
    /// Completes the settings by the preset's, and the size by `size` if none is set.
    ///
    /// # Errors
    /// An unknown preset, or settings that do not fit each other.
    pub fn resolve(self, size: Size) -> Result<Config> {
        let preset = self.preset.clone().unwrap_or_else(|| "ddpm".into());
        let size = self.size.unwrap_or(size);
        let out = PathBuf::from(format!("runs/{preset}-{size}"));
        let chosen = Settings { preset: Some(preset.clone()), size: Some(size), out: Some(out), ..Settings::default() };
        let config = self.or(chosen).or(settings(&preset, size)?).complete()?;
        config.check()?;
        Ok(config)
    }
}

impl Config {
    /// Reads the settings of a run folder.
    ///
    /// # Errors
    /// A folder that is not a run, or a damaged file.
    pub fn read(run: &Path) -> Result<Config> {
        let given = of_run(run)?;
        let preset = given.preset.clone().ok_or_else(|| missing("preset"))?;
        let size = given.size.ok_or_else(|| missing("size"))?;
        given.or(settings(&preset, size)?).complete()
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_preset() {
        let mut command = <Settings as clap::Args>::augment_args(clap::Command::new("test"));
        let help = command.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let (last, others) = NAMES.split_last().unwrap();
        assert!(help.contains(&format!("{} or {last} [default: ddpm]", others.join(", "))), "{help}");
    }
}
