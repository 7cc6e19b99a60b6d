//! The presets: a TOML file each, compiled in. A file sets what its sizes share, then a table for each size; what it leaves out is that of the
//! preset that it is `like`, or of `presets/defaults.toml`.

use super::choices::Size;
use super::settings::Settings;
use crate::{Error, Result};
use serde::Deserialize;

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every preset.
        const ALL: &[(&str, &str)] = &[$(($name, include_str!(concat!("presets/", $name, ".toml")))),*];
    };
}

presets![
    "ddpm",
    "plain",
    "plain-conditional",
    "residual-attention",
    "score",
    "guided",
    "hybrid",
    "edm",
    "flow",
    "vae",
    "classifier",
];

/// What every preset sets unless it says otherwise.
const DEFAULTS: &str = include_str!("presets/defaults.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    /// The preset whose settings are taken where this one says nothing.
    like: Option<String>,
    common: Settings,
    #[serde(default)]
    tiny: Settings,
    #[serde(default)]
    small: Settings,
    #[serde(default)]
    base: Settings,
}

/// What a preset sets for a size.
///
/// # Errors
/// There is no preset of this name.
pub fn settings(name: &str, size: Size) -> Result<Settings> {
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let unknown = || Error::Config(format!("there is no preset `{name}`; there are: {}", names.join(", ")));
    let (_, text) = ALL.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
    let read = |e: toml::de::Error| Error::Config(format!("preset {name}: {e}"));
    let preset: Preset = toml::from_str(text).map_err(read)?;
    let sized = match size {
        Size::Tiny => preset.tiny,
        Size::Small => preset.small,
        Size::Base => preset.base,
    };
    let rest = match preset.like {
        Some(like) => settings(&like, size)?,
        None => toml::from_str(DEFAULTS).map_err(read)?,
    };
    Ok(sized.or(preset.common).or(rest))
}
