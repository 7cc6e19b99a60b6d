//! The header of a file of finished images: everything that decides the images.

use degrain::checkpoint::Checkpoint;
use degrain::diffusion::{SAMPLERS_VERSION, Sampling, SamplingOptions};
use degrain::gpu::KernelChoices;
use degrain::output::shortest;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Version of the file's format.
const FORMAT: &str = "finished images of degrain sample, version 2";

/// Settings by name, in the order in which they were added.
pub struct PartHeader(Map<String, Value>);

impl PartHeader {
    /// A header without settings.
    pub fn new() -> PartHeader {
        PartHeader(Map::from_iter([
            ("format".into(), FORMAT.into()),
            ("version".into(), env!("CARGO_PKG_VERSION").into()),
            ("version of the samplers".into(), SAMPLERS_VERSION.into()),
        ]))
    }

    /// Adds a setting.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// Adds the model.
    pub fn set_model(&mut self, name: &str, checkpoint: Option<&Checkpoint>) {
        self.set(name, checkpoint.map(fingerprint));
    }

    /// Adds values, such as given noise.
    pub fn set_values(&mut self, name: &str, values: Option<&[f32]>) {
        self.set(name, values.map(|values| hex(Sha256::digest(bytemuck::cast_slice::<f32, u8>(values)).as_slice())));
    }

    /// Adds the forms of kernels, on which the bits of the images depend.
    pub fn set_kernels(&mut self, forms: &KernelChoices) {
        let mut hash = Sha256::new();
        forms.iter().for_each(|(class, form)| hash.update(format!("{class}: {form}\n")));
        self.set("--kernels", (!forms.is_empty()).then(|| hex(hash.finalize().as_slice())));
    }

    /// Adds the sampling settings.
    pub fn set_sampling(&mut self, sampling: &Sampling) {
        self.set("clip", sampling.clip.to_string());
        self.set("steps_offset", sampling.steps_offset);
        for (option, value) in SamplingOptions::from(*sampling).given() {
            self.set(&option, value);
        }
    }

    /// One line of JSON.
    pub fn line(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// What is wrong with a file that begins with another line.
    pub fn explain(&self, line: &str) -> String {
        let theirs: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
        if theirs
            .get("format")
            .and_then(Value::as_str)
            .is_none_or(|format| !format.starts_with(&FORMAT[..FORMAT.len() - 1]))
        {
            const FOREIGN: &str = "was not written by `sample`, which keeps finished images under this name. Remove it, \
                                   or choose another --out";
            return FOREIGN.into();
        }
        let names = self.0.keys().chain(theirs.keys().filter(|name| !self.0.contains_key(*name)));
        let show = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "none".to_string(),
            Some(Value::String(text)) if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                text[..8].to_string()
            }
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if number.is_f64() => number.as_f64().map_or_else(String::new, shortest),
            Some(value) => value.to_string(),
        };
        let differences: Vec<String> = names
            .filter(|name| self.0.get(*name) != theirs.get(*name))
            .map(|name| format!("{name} {}, not {}", show(theirs.get(name)), show(self.0.get(name))))
            .collect();
        format!(
            "keeps the finished images of an interrupted command with other settings: {}. Repeat that command, \
             remove the file, or choose another --out",
            differences.join("; ")
        )
    }
}

/// SHA-256 of a model: its weights, network, process and classes.
fn fingerprint(checkpoint: &Checkpoint) -> String {
    let mut hash = Sha256::new();
    hash.update(bytemuck::cast_slice::<f32, u8>(&checkpoint.weights));
    hash.update(checkpoint.model.model().config_json());
    hash.update(format!(
        "{:?} {:?} {:?} {:?}",
        checkpoint.metadata.process,
        checkpoint.metadata.denoiser,
        checkpoint.metadata.class_names,
        checkpoint.scheduler
    ));
    hex(hash.finalize().as_slice())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
