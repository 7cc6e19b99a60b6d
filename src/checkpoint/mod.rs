//! Trained models as folders. A U-Net with discrete timesteps has diffusers' layout:
//!
//! ```text
//! model_index.json
//! unet/config.json, unet/diffusion_pytorch_model.safetensors
//! scheduler/scheduler_config.json      for processes that diffusers has
//! degrain.json                         classes, process, sampling settings, number of steps
//! latent_mixture.safetensors           what an autoencoder's latents are drawn from, if not N(0, 1)
//! ```
//!
//! Models that diffusers does not have are in `model/` instead of `unet/`. A folder that was not
//! written by degrain has no degrain.json.

mod any_model;
mod export;
mod folder;
mod guide;
pub mod latent_mixture;
mod metadata;
pub mod noise;
mod not_the_file;
mod null_class;
mod python_json;
mod scheduler_class;
mod scheduler_config;
mod scheduler_file;
pub mod state_dict;
mod weights_file;

pub use any_model::{AnyModel, model_from_json, read_model};
pub use folder::{checkpoints, locate, run_folder};
pub use metadata::{CheckpointMetadata, RunSeconds};
pub use scheduler_config::SchedulerConfig;

use crate::diffusion::latent_prior::Mixture;
use crate::diffusion::{
    Denoiser, Labels, Process, ProcessConfig, SamplerName, SamplerOptions, Sampling, SamplingOptions, Variance,
};
use crate::files::{create_folder, write_atomically};
use crate::gpu::Context;
use crate::nn::Model;
use crate::output::counted;
use crate::{Error, Result};
use export::{SchedulerExport, UNET};
use folder::{CONFIG, WEIGHTS, model_folder, skipped, two_sets_of_weights};
use python_json::unknown_keys;
use scheduler_file::{ModelScheduler, SCHEDULER};
use std::path::{Path, PathBuf};

/// A trained model of any kind.
pub struct Checkpoint {
    /// The folder.
    pub folder: PathBuf,
    /// The model.
    pub model: AnyModel,
    /// The weights, followed by the running statistics.
    pub weights: Vec<f32>,
    /// Metadata that diffusers' files cannot hold. It has default values in folders that were not
    /// written by degrain.
    pub metadata: CheckpointMetadata,
    /// Whether the folder has metadata (degrain.json). Without it, nothing says which data the
    /// model was trained on, and which class is the null class.
    pub has_metadata: bool,
    /// The noise schedule of a discrete process, and diffusers' sampler settings.
    pub scheduler: Option<SchedulerConfig>,
    /// The process of a denoiser, or of a classifier of noised images.
    pub process: Option<Box<dyn Process>>,
    /// What an autoencoder's latents are drawn from, if not N(0, 1).
    pub latent_mixture: Option<Mixture>,
    /// Warnings for the user, such as keys in the files that were ignored.
    pub warnings: Vec<String>,
}

impl Checkpoint {
    /// Opens a checkpoint folder, or the last checkpoint of a run folder.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, damaged or written by an earlier version of
    /// degrain, for a model or scheduler that is not supported, for a tensor that is missing,
    /// unknown or has another shape, and for files that do not belong together.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let folder = locate(path)?;
        let metadata = CheckpointMetadata::read(&folder)?;
        let has_metadata = metadata.is_some();
        if !has_metadata {
            scheduler_file::check_pipeline(&folder)?;
        }
        let config = config_file(&folder);
        let part = config.parent().unwrap_or(&folder);
        let (model, unknown) = read_model(&config)?;
        let mut warnings = unknown_keys(CONFIG, unknown);
        warnings.extend(two_sets_of_weights(&folder, part));
        if folder != path {
            warnings.extend(skipped(path, &folder)?);
        }
        let needs_scheduler = match &model {
            AnyModel::Denoiser(_) => metadata.as_ref().is_none_or(|m| m.process == ProcessConfig::Discrete),
            AnyModel::Classifier(classifier) => classifier.config().noise_aware,
            AnyModel::Vae(_) => false,
        };
        let file = scheduler_file::find(&folder, has_metadata);
        let mut scheduler = None;
        let mut flow = None;
        if needs_scheduler && file.is_none() && !has_metadata {
            warnings.insert(
                0,
                "a model without a scheduler: it is sampled as trained with a linear schedule of 1000 timesteps".into(),
            );
            scheduler = Some(SchedulerConfig::default());
        } else if needs_scheduler {
            let (read, messages) = scheduler_file::read(&file.unwrap_or_else(|| folder.join(SCHEDULER)))?;
            warnings.extend(messages);
            match read {
                ModelScheduler::Discrete(config) => scheduler = Some(config),
                ModelScheduler::Flow(process) => flow = Some(ProcessConfig::Flow(process)),
            }
        }
        let mut metadata = complete(&folder, &model, metadata, scheduler.as_ref())?;
        metadata.process = flow.unwrap_or(metadata.process);
        let (files, note) = weights_file::find(part)?;
        warnings.extend(note);
        let weights = state_dict::read(&files, model.model().parameters())?;
        let process = match (&model, &scheduler) {
            (AnyModel::Denoiser(_), scheduler) => {
                let discrete =
                    || scheduler.as_ref().map_or_else(|| SchedulerConfig::default().process(), |s| s.process());
                Some(metadata.process.build(discrete)?)
            }
            (_, Some(scheduler)) => Some(Box::new(scheduler.process()?) as Box<dyn Process>),
            (_, None) => None,
        };
        let latent_mixture = match &model {
            AnyModel::Vae(vae) => latent_mixture::read_for(&folder.join(latent_mixture::FILE), vae.latent_channels())?,
            AnyModel::Denoiser(_) | AnyModel::Classifier(_) => None,
        };
        Ok(Checkpoint { folder, model, weights, metadata, has_metadata, scheduler, process, latent_mixture, warnings })
    }

    /// Writes the weights into the named buffer.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn load(&self, ctx: &mut Context, name: &str) -> Result<()> {
        self.model.model().parameters().write(ctx, name, &self.weights)
    }

    /// The files of the weights: one, or several shards.
    ///
    /// # Errors
    /// A folder without weights, or with a damaged list of shards.
    pub fn weights_files(&self) -> Result<Vec<PathBuf>> {
        let config = config_file(&self.folder);
        Ok(weights_file::find(config.parent().unwrap_or(&self.folder))?.0)
    }

    /// The denoiser, with its weights in the named buffer.
    ///
    /// # Errors
    /// A model of another kind.
    pub fn denoiser<'a>(&'a self, weights: &'a str) -> Result<Denoiser<'a>> {
        match (&self.model, &self.process) {
            (AnyModel::Denoiser(network), Some(process)) => {
                Ok(Denoiser { network: &**network, weights, process: &**process, spec: self.metadata.denoiser })
            }
            _ => {
                let class = self.model.model().class();
                Err(Error::file(config_file(&self.folder), format!("`{class}` is not a denoiser, and this needs one")))
            }
        }
    }

    /// The sampling settings of the denoiser: the settings `asked`, then the run's, then DDIM with
    /// the settings of scheduler_config.json.
    ///
    /// # Errors
    /// As [`Sampling::resolve`].
    pub fn sampling(&self, mut asked: SamplingOptions) -> Result<Sampling> {
        self.check_null_class(&asked)?;
        let run = self.metadata.sampling;
        if run.sampler.is_none() {
            // A scheduler_config.json that was not written by degrain usually names DDPM, which
            // needs all timesteps.
            let discrete = self.metadata.process == ProcessConfig::Discrete;
            asked.sampler.get_or_insert(if discrete { SamplerName::Ddim } else { SamplerName::Euler });
        }
        let file = self.scheduler.as_ref().map(SchedulerConfig::sampling_options).unwrap_or_default();
        Sampling::resolve(asked, run.or(file), &self.metadata.denoiser)
    }

    /// Refuses the options among `asked` that have no effect with the settings `sampling`.
    ///
    /// # Errors
    /// As [`SamplingOptions::check_effect`].
    pub fn check_effect(&self, asked: &SamplingOptions, sampling: &Sampling) -> Result<()> {
        asked.check_effect(sampling, self.process.as_ref().is_some_and(|process| process.schedule().is_some()))
    }

    /// Settings of a deterministic sampler for the denoiser: DDIM for a discrete process, Euler's
    /// method for other processes.
    ///
    /// # Errors
    /// As [`Checkpoint::sampling`].
    pub fn deterministic_sampling(&self, asked: SamplingOptions) -> Result<Sampling> {
        let discrete = self.process.as_ref().is_some_and(|process| process.schedule().is_some());
        let sampler = if discrete { SamplerName::Ddim } else { SamplerName::Euler };
        // A run can have chosen noise for DDIM.
        let options = SamplerOptions { eta: discrete.then_some(0.0), ..asked.options };
        self.sampling(SamplingOptions { sampler: Some(sampler), options, ..asked })
    }

    /// The shape `[C, H, W]` of the denoiser's images. `side` replaces height and width.
    ///
    /// # Errors
    /// A checkpoint that does not contain the size, without a `side`; a side that the network does
    /// not support.
    pub fn image_shape(&self, side: Option<u32>) -> Result<[u32; 3]> {
        let network = self.denoiser("")?.network;
        let shape = match (side, network.image_shape()) {
            (Some(side), _) => [network.channels()[0], side, side],
            (None, Some(shape)) => shape,
            (None, None) => {
                let problem = "the checkpoint does not say how large its images are: give --image-size";
                return Err(Error::Config(problem.into()));
            }
        };
        network.check_size(shape[1], shape[2])?;
        Ok(shape)
    }

    /// The class by name or number ([`CheckpointMetadata::class`]); `None` for no class. A model
    /// without classes can only have a class if a classifier guides it.
    ///
    /// # Errors
    /// [`Error::Config`] for a class that does not exist.
    pub fn class(&self, wanted: Option<&str>, guide: Option<&Checkpoint>) -> Result<Option<u32>> {
        let Some(wanted) = wanted else { return Ok(None) };
        if self.denoiser("")?.network.classes().is_none() && guide.is_none() {
            return Err(Error::Config(format!("--class {wanted}: the model was trained without classes")));
        }
        self.with_classes(guide).class(wanted).map(Some)
    }

    /// The metadata with the names of the classes: the model's, or those of the classifier that
    /// guides it if the model's are not known.
    pub fn with_classes<'a>(&'a self, guide: Option<&'a Checkpoint>) -> &'a CheckpointMetadata {
        let own = &self.metadata;
        guide.filter(|_| own.class_names.is_empty()).map_or(own, |guide| &guide.metadata)
    }

    /// Labels for `count` images: one class, or all classes in turn.
    pub fn labels(&self, class: Option<u32>, count: u32) -> Vec<u32> {
        let classes = self.metadata.class_names.len().max(1) as u32;
        (0..count).map(|k| class.unwrap_or(k % classes)).collect()
    }
}

fn config_file(folder: &Path) -> PathBuf {
    model_folder(folder).unwrap_or_else(|| folder.join("unet")).join(CONFIG)
}

/// Checks the metadata against the model, or derives it from the model for a folder that was not
/// written by degrain.
fn complete(
    folder: &Path,
    model: &AnyModel,
    metadata: Option<CheckpointMetadata>,
    scheduler: Option<&SchedulerConfig>,
) -> Result<CheckpointMetadata> {
    let network = match model {
        AnyModel::Denoiser(network) => network,
        AnyModel::Classifier(classifier) => {
            check_class_names(folder, classifier.config().classes as usize, metadata.as_ref())?;
            return Ok(metadata.unwrap_or_default());
        }
        AnyModel::Vae(_) => return Ok(metadata.unwrap_or_default()),
    };
    let classes = network.classes().unwrap_or(0);
    // Diffusers does not say whether the last class is a null class, so all of them are classes.
    let mut metadata = metadata.unwrap_or_else(|| CheckpointMetadata {
        class_names: (0..classes).map(|class| class.to_string()).collect(),
        denoiser: crate::diffusion::DenoiserSpec {
            labels: (classes > 0).then_some(Labels { classes, dropout: 0.0 }),
            ..Default::default()
        },
        ..CheckpointMetadata::default()
    });
    let variance = scheduler.and_then(|scheduler| scheduler.options.variance_type);
    metadata.denoiser.learned_variance |= variance == Some(Variance::LearnedRange);
    let [taken, given] = network.channels();
    if given != taken * (1 + u32::from(metadata.denoiser.learned_variance)) || ![1, 3].contains(&taken) {
        let problem = format!(
            "`in_channels` = {taken} and `out_channels` = {given} are not supported: both must be 1 (gray) or both 3 \
             (color), or twice as many out as in with `variance_type` = \"learned_range\""
        );
        return Err(Error::file(config_file(folder), problem));
    }
    metadata.check(classes).map_err(|problem| Error::file(folder.join(CheckpointMetadata::FILE), problem))?;
    Ok(metadata)
}

/// Checks that the metadata names all classes of a classifier.
fn check_class_names(folder: &Path, classes: usize, metadata: Option<&CheckpointMetadata>) -> Result<()> {
    match metadata.map(|metadata| metadata.class_names.len()) {
        Some(names) if names != classes => {
            let problem = format!(
                "its config.json has {}, and its degrain.json names {names}: the files do not belong together",
                counted(classes, "class")
            );
            Err(Error::file(folder, problem))
        }
        _ => Ok(()),
    }
}

/// Writes the files of a checkpoint into a folder, which the caller then renames. `scheduler` is
/// `Some` exactly for a discrete process. A U-Net is also written for diffusers, with a scheduler
/// of the same process if there is one.
pub fn write(
    folder: &Path,
    model: &dyn Model,
    weights: &[f32],
    scheduler: Option<&SchedulerConfig>,
    metadata: &CheckpointMetadata,
) -> Result<()> {
    let is_unet = model.class() == UNET;
    let part = folder.join(if is_unet { "unet" } else { "model" });
    create_folder(&part)?;
    let own = || scheduler.map(|scheduler| SchedulerExport { config: scheduler.to_json(), index: None });
    let export = if is_unet { SchedulerExport::new(scheduler, metadata) } else { own() };
    if let Some(export) = export {
        create_folder(&folder.join("scheduler"))?;
        write_atomically(&folder.join(SCHEDULER), export.config.as_bytes())?;
        if let Some(index) = export.index {
            write_atomically(&folder.join("model_index.json"), index.as_bytes())?;
        }
    }
    write_atomically(&part.join(CONFIG), model.config_json().as_bytes())?;
    metadata.write(folder)?;
    state_dict::write(&part.join(WEIGHTS), model.parameters(), weights)
}
