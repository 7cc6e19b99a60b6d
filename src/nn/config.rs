//! Code that the configs of this crate's own models share: `config.json` with `_class_name`, a
//! default for every key, and an error for unknown keys.
//!
//! [`UNet2dConfig`](super::UNet2dConfig) does not implement this trait: its keys and defaults are
//! defined by diffusers.

use super::config_rules::Rule;
use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The settings of a model, as stored in its `config.json`.
pub trait ModelConfig: Default + Serialize + DeserializeOwned {
    /// The class of the model, `_class_name` in the file.
    const CLASS: &'static str;

    /// Checks that the values are supported and fit each other.
    ///
    /// # Errors
    /// The value that does not fit, and values that would.
    fn check(&self) -> Rule;

    /// Reads a config from JSON. Keys with a leading underscore are not settings and are
    /// ignored.
    ///
    /// # Errors
    /// A message that says what is wrong: no JSON, another class, a key or value that is not
    /// supported, or values that do not fit each other.
    fn from_json(text: &str) -> std::result::Result<Self, String> {
        let mut map: Map<String, Value> = serde_json::from_str(text).map_err(|e| format!("not a JSON object: {e}"))?;
        if let Some(class) = map.remove("_class_name").filter(|class| class != Self::CLASS) {
            return Err(format!("`_class_name` = {class} is not supported: it must be {:?}", Self::CLASS));
        }
        map.retain(|key, _| !key.starts_with('_'));
        let read = |map: Map<String, Value>| serde_json::from_value::<Self>(Value::Object(map));
        // Each key separately first, because serde does not name the wrong one.
        for (key, value) in &map {
            read(Map::from_iter([(key.clone(), value.clone())]))
                .map_err(|e| format!("`{key}` = {value} is not supported: {e}"))?;
        }
        let config = read(map).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// The content of `config.json`.
    fn to_json(&self) -> String {
        let mut map = Map::new();
        map.insert("_class_name".into(), Self::CLASS.into());
        let all = serde_json::to_value(self).expect("numbers, names and lists have a form in JSON");
        map.extend(all.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        format!("{:#}\n", Value::Object(map))
    }

    /// [`ModelConfig::check`] as an error of this crate.
    ///
    /// # Errors
    /// [`Error::Config`].
    fn validate(&self) -> Result<()> {
        self.check().map_err(Error::Config)
    }
}
