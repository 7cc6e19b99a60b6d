//! A new run that starts from the weights of another model.

use super::config::Settings;
use super::initial_settings;
use super::origin::{Origin, Taken, sha256};
use super::trainer::Trainer;
use crate::checkpoint::Checkpoint;
use crate::nn::{Model, Parameter};
use crate::output::counted;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// Tensors with one row for each class, the null class last.
const CLASS_TENSORS: [&str; 4] = ["class_embedding.weight", "class_network.table.weight", "head.weight", "head.bias"];
/// Keys of a model's config that its weights do not depend on, or that follow from the data.
const FREE_KEYS: [&str; 9] = [
    "_diffusers_version",
    "classes",
    "dropout",
    "in_channels",
    "likelihood",
    "num_class_embeds",
    "num_train_timesteps",
    "out_channels",
    "sample_size",
];

/// A trained model whose weights a new run starts from.
pub struct InitialModel {
    checkpoint: Checkpoint,
    null_class: Option<u32>,
}

impl InitialModel {
    /// Opens a run folder (its last checkpoint), a checkpoint folder, or a diffusers folder, whose
    /// null class has the row `null_class`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`Checkpoint::with_null_class`].
    pub fn open(path: &Path, null_class: Option<u32>) -> Result<InitialModel> {
        Ok(InitialModel { checkpoint: Checkpoint::open(path)?.with_null_class(null_class)?, null_class })
    }

    /// These settings, completed by the model's: its network, and the process that it was trained
    /// for. Also returns warnings for the user.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting of the network that is not the model's.
    pub fn settings(&self, given: Settings) -> Result<(Settings, Vec<String>)> {
        let (settings, mut warnings) = initial_settings::complete(&self.checkpoint, given)?;
        warnings.splice(0..0, self.checkpoint.warnings.iter().cloned());
        Ok((settings, warnings))
    }
}

impl Trainer {
    /// Starts from the weights of a model: as parameters and as EMA. Adam's moments start from zero.
    /// The rows of classes with equal names and of the null class are taken over. Other classes have
    /// new rows. Also returns a line about them, if the classes differ.
    ///
    /// # Errors
    /// A model of other images, or of another network.
    pub fn init_from(mut self, initial: &InitialModel) -> Result<(Trainer, Option<String>)> {
        let Checkpoint { folder, model, weights, metadata, .. } = &initial.checkpoint;
        let (old, objective) = (model.model(), self.objective.clone());
        let new = objective.model();
        let problem = |problem: String| Error::file(folder, problem);
        check_network(old, new).map_err(problem)?;
        let fresh = new.parameters().initialize(self.config.seed, self.config.initialization);
        let old_names = if metadata.class_names.is_empty() { numbered(old) } else { metadata.class_names.clone() };
        let classes = Classes { old: &old_names, new: &self.dataset.class_names };
        let (values, note) = classes.transfer([old, new], weights, fresh).map_err(problem)?;
        self.initial = Some(values);
        self.origin = Some(Origin {
            taken: Taken::Weights,
            path: folder.clone(),
            run: metadata.run.clone(),
            step: metadata.step,
            sha256: sha256(&initial.checkpoint.weights_files()?)?,
            null_class: initial.null_class,
        });
        Ok((self, note))
    }
}

/// Checks that the weights of a model fit another one except for its classes.
fn check_network(old: &dyn Model, new: &dyn Model) -> std::result::Result<(), String> {
    if let (Some(theirs), Some(ours)) = (old.image_shape(), new.image_shape()) {
        let gray = |channels: u32| if channels == 1 { "gray" } else { "color" };
        if theirs[0] != ours[0] {
            return Err(format!(
                "the model is for {} images ({}), and the data has {} images ({}): convert the images (--channels does it for \
                 image files), or choose another model",
                gray(theirs[0]),
                counted(theirs[0] as usize, "channel"),
                gray(ours[0]),
                counted(ours[0] as usize, "channel")
            ));
        }
        // Only these have weights for each pixel.
        let [theirs, ours] = [theirs, ours].map(|[_, height, width]| [height, width]);
        if ["PlainUNet", "Vae"].contains(&old.class()) && old.padded_size(theirs) != new.padded_size(ours) {
            let [[h, w], [height, width]] = [theirs, ours];
            return Err(format!(
                "a {} has weights for each pixel: its images are {h}x{w}, and those of the data {height}x{width}. Scale \
                 the images, or start without --init-from",
                old.class()
            ));
        }
    }
    let has_classes = |model: &dyn Model| model.parameters().iter().any(is_of_classes);
    if old.class() == "PlainUNet" && new.class() == "PlainUNet" && has_classes(old) != has_classes(new) {
        let which = if has_classes(old) { "has" } else { "does not have" };
        return Err(format!(
            "the model {which} classes, and a PlainUNet with classes has other layers than one without: leave \
             --unconditional as it was in its training, or start without --init-from"
        ));
    }
    let keys = |model: &dyn Model| -> Map<String, Value> {
        let mut keys: Map<String, Value> = serde_json::from_str(&model.config_json()).unwrap_or_default();
        keys.retain(|key, _| !FREE_KEYS.contains(&key.as_str()));
        keys
    };
    let (theirs, ours) = (keys(old), keys(new));
    let differs = theirs.keys().chain(ours.keys()).find(|key| theirs.get(*key) != ours.get(*key));
    match differs {
        Some(key) => {
            let shown = |keys: &Map<String, Value>| keys.get(key).map_or("nothing".into(), Value::to_string);
            Err(format!("`{key}` = {}, and the network of this run has {}", shown(&theirs), shown(&ours)))
        }
        None => Ok(()),
    }
}

/// Names of the classes of a model that does not name them: their numbers.
fn numbered(model: &dyn Model) -> Vec<String> {
    let rows = model.parameters().iter().find(|p| is_of_classes(p)).map_or(0, |p| p.shape.dims()[0]);
    (0..rows).map(|class| class.to_string()).collect()
}

fn is_of_classes(parameter: &Parameter) -> bool {
    CLASS_TENSORS.contains(&parameter.name.as_str())
}

/// The names of the classes before and after.
struct Classes<'a> {
    old: &'a [String],
    new: &'a [String],
}

impl Classes<'_> {
    /// The values of the new model: those of the old one, and `fresh` ones for new classes. Also
    /// returns a line for the user if the classes differ.
    fn transfer(
        &self,
        [old, new]: [&dyn Model; 2],
        weights: &[f32],
        mut fresh: Vec<f32>,
    ) -> std::result::Result<(Vec<f32>, Option<String>), String> {
        let (theirs, ours) = (old.parameters(), new.parameters());
        let (mut has_classes, mut has_null) = ([false; 2], [false; 2]);
        has_classes[0] = theirs.iter().any(is_of_classes);
        for parameter in ours.iter() {
            let name = &parameter.name;
            let source = theirs.find(name);
            let target = &mut fresh[ours.place(parameter)];
            if is_of_classes(parameter) {
                has_classes[1] = true;
                has_null[1] |= parameter.shape.dims()[0] as usize > self.new.len();
                has_null[0] |= source.is_some_and(|source| source.shape.dims()[0] as usize > self.old.len());
                if let Some(source) = source {
                    self.rows(source, &weights[theirs.place(source)], target)?;
                }
                continue;
            }
            let source = source.ok_or_else(|| format!("has no tensor `{name}`, which the network of this run has"))?;
            if source.shape != parameter.shape {
                let [theirs, ours] = [source, parameter].map(|p| format!("{:?}", p.shape.dims()));
                return Err(format!("`{name}` has the shape {theirs}, and the network of this run needs {ours}"));
            }
            target.copy_from_slice(&weights[theirs.place(source)]);
        }
        if let Some(unused) = theirs.iter().find(|p| !is_of_classes(p) && ours.find(&p.name).is_none()) {
            return Err(format!("has a tensor `{}`, which the network of this run does not have", unused.name));
        }
        Ok((fresh, self.note(has_classes, has_null == [false, true])))
    }

    /// Copies the rows of the classes that both models have, and of the null class.
    fn rows(&self, source: &Parameter, values: &[f32], target: &mut [f32]) -> std::result::Result<(), String> {
        let rows = source.shape.dims()[0] as usize;
        let width = values.len() / rows;
        let wanted = target.len() / width;
        if rows < self.old.len() || wanted < self.new.len() || !target.len().is_multiple_of(width) {
            return Err(format!("`{}` does not have a row for each class", source.name));
        }
        let mut copy = |from: usize, to: usize| {
            target[to * width..][..width].copy_from_slice(&values[from * width..][..width]);
        };
        for (to, name) in self.new.iter().enumerate() {
            if let Some(from) = self.old.iter().position(|old| old == name) {
                copy(from, to);
            }
        }
        if rows > self.old.len() && wanted > self.new.len() {
            copy(self.old.len(), self.new.len());
        }
        Ok(())
    }

    /// Says what became of the classes, if they differ. The null class can be new, too.
    fn note(&self, has_classes: [bool; 2], null_is_new: bool) -> Option<String> {
        let taken = self.new.iter().filter(|name| has_classes[0] && self.old.contains(name)).count();
        let classes = counted(self.new.len(), "class");
        match has_classes {
            [true, false] => Some("class table: left out, because the run is unconditional".into()),
            [_, true] if !has_classes[0] || self.old != self.new || null_is_new => {
                let null =
                    if null_is_new { ", and the null class is new (--null-class names that of a model)" } else { "" };
                Some(format!("class table: {taken} of {classes} taken over, {} new{null}", self.new.len() - taken))
            }
            _ => None,
        }
    }
}
