//! Reads files of settings. A file of the first edition gets one message.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Names of settings in the first edition, and the current names.
const RENAMED: [(&str, &str); 11] = [
    ("average_decay", "ema_decay"),
    ("clip", "max_grad_norm"),
    ("decay", "lr_schedule"),
    ("decoder_deviation", "decoder_min_std"),
    ("epsilon", "adam_epsilon"),
    ("hidden", "hidden_channels"),
    ("holdout", "validation_count"),
    ("keep", "keep_checkpoints"),
    ("mirror", "random_flip"),
    ("rescale", "rescale_betas"),
    ("ruler", "feature_extractor"),
];

/// Reads a TOML file.
///
/// # Errors
/// A file that cannot be read, or that sets something unknown.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    toml::from_str(&text).map_err(|error| {
        let table: toml::Table = toml::from_str(&text).unwrap_or_default();
        let old = RENAMED.iter().filter(|(old, _)| table.contains_key(*old));
        let renamed: Vec<String> = old.map(|(old, new)| format!("`{old}` is now `{new}`")).collect();
        if renamed.is_empty() {
            return Error::file(path, error.to_string());
        }
        let problem = format!(
            "written by an earlier version of degrain, whose runs cannot be resumed or evaluated by this one. To train \
             it again, rename its settings and give the file to --config with another --out: {}",
            renamed.join(", ")
        );
        Error::file(path, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Config, Settings};

    #[test]
    fn config_of_the_first_edition_gets_one_clear_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        std::fs::write(&file, "preset = \"ddpm\"\nepsilon = 1e-8\nclip = 1.0\nruler = \"data/ruler\"\n").unwrap();
        for error in [Config::read(folder.path()).unwrap_err(), Settings::read(&file).unwrap_err()] {
            let message = error.to_string();
            for part in [
                "config.toml",
                "earlier version of degrain",
                "--config",
                "`epsilon` is now `adam_epsilon`",
                "`clip` is now `max_grad_norm`",
                "`ruler` is now `feature_extractor`",
            ] {
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
            assert_eq!(message.lines().count(), 1, "{message}");
        }
        std::fs::write(&file, "presett = \"ddpm\"\n").unwrap();
        let message = Settings::read(&file).unwrap_err().to_string();
        assert!(message.contains("presett") && !message.contains("earlier version"), "{message}");
    }

    /// The new names are settings, and the old names are not.
    #[cfg(feature = "cli")]
    #[test]
    fn renamed_settings_exist() {
        for (old, new) in RENAMED {
            let command = <Settings as clap::Args>::augment_args(clap::Command::new("test"));
            let known = |name: &str| command.get_arguments().any(|argument| argument.get_id() == name);
            assert!(known(new) && !known(old), "{old} = {new}");
        }
    }
}
