//! The target of an evaluation: a run, a checkpoint, or images from a file, together with the data
//! set that it is compared with.

use super::evaluation::TargetInfo;
use super::options::EvalOptions;
use crate::checkpoint::{AnyModel, Checkpoint, CheckpointMetadata, run_folder};
use crate::data::{
    ChannelChoice, Dataset, ImageFileOptions, LoadOptions, Split, check_image_options, image_shape_of_npz,
    images_of_npz, is_image_folder, load_with,
};
use crate::diffusion::latent_prior::Mixture;
use crate::metrics::padding::ImagePadding;
use crate::nn::{Network, Vae};
use crate::output::counted;
use crate::train::Settings;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Buffer of the model's weights.
pub(super) const WEIGHTS: &str = "weights";

/// Source of the images.
pub enum ImageSource {
    /// A denoiser.
    Denoiser(Box<Checkpoint>),
    /// An autoencoder.
    Autoencoder {
        /// The model.
        vae: Box<Vae>,
        /// Its weights.
        weights: Vec<f32>,
        /// What its checkpoint says that latents are drawn from; `None` for N(0, 1).
        mixture: Option<Mixture>,
    },
    /// Images from a file: bytes `[N, C, H, W]`, and their classes if the file has them.
    Images(Vec<u8>, Option<Vec<u32>>),
}

/// The model or images to evaluate, with the data set to compare with.
pub struct EvalTarget {
    /// Source of its images.
    pub source: ImageSource,
    /// Description for `evaluation.json`.
    pub info: TargetInfo,
    /// Seconds of training.
    pub training_seconds: f64,
    /// The run folder, if there is one.
    pub run: Option<PathBuf>,
    /// The settings of the run, if there are any.
    pub settings: Option<Settings>,
    /// The training images.
    pub train: Arc<Dataset>,
    /// The test images.
    pub test: Dataset,
    /// Padding between the images of the data and of the model.
    pub padding: ImagePadding,
    /// Warnings for the user, such as ignored keys of the checkpoint.
    pub warnings: Vec<String>,
}

/// Default data set of images from a file.
const DATA: &str = "data/mnist";

impl EvalTarget {
    /// Opens a run folder or a checkpoint, and the data set it was trained on. The option `data`
    /// replaces the data folder of the run's settings.
    ///
    /// # Errors
    /// A folder without a denoiser or autoencoder; a data set that is missing, or that the model
    /// was not trained on; a model whose images or classes are not those of the data.
    pub fn from_checkpoint(path: &Path, options: &EvalOptions) -> Result<EvalTarget> {
        let mut checkpoint = Checkpoint::open(path)?.with_null_class(options.null_class)?;
        let folder = checkpoint.folder.clone();
        if let AnyModel::Classifier(_) = checkpoint.model {
            let problem = "holds a classifier, which cannot sample images: evaluate a denoiser or an autoencoder";
            return Err(Error::file(&folder, problem));
        }
        let run = run_folder(path, &folder);
        let settings = run.as_ref().map(|run| Settings::read(&run.join("config.toml"))).transpose()?;
        let run_data = settings.as_ref().and_then(|settings| settings.data.clone());
        let data = options.data.clone().or(run_data).unwrap_or_else(|| DATA.into());
        let mut warnings = std::mem::take(&mut checkpoint.warnings);
        let metadata = checkpoint.metadata.clone();
        let model = checkpoint.model.model();
        let mut load_options = match &settings {
            Some(settings) => settings.load_options(),
            // The user says that the model's images are resized ones.
            None if checkpoint.has_metadata || options.files.resize.is_some() => {
                LoadOptions::of_model(model.image_shape())
            }
            None => LoadOptions::of_foreign_model(model.image_shape()),
        };
        // The files of a model need not say the size of its images, but they say the channels.
        if settings.is_none()
            && let AnyModel::Denoiser(network) = &checkpoint.model
        {
            load_options.channels = ChannelChoice::of(network.channels()[0]);
        }
        let [train, test] = splits(&data, options.files, load_options)?;
        check_data(&folder, &metadata, &train, &data)?;
        let padding = padding(&folder, model.image_shape(), &train, options.padded)?;
        if let AnyModel::Denoiser(_) = checkpoint.model {
            check_images(&folder, checkpoint.denoiser(WEIGHTS)?.network, padding.model_shape(), &data)?;
        }
        if !checkpoint.has_metadata {
            check_classes(&checkpoint, train.classes, &data)?;
            warnings.push(unknown_data(&checkpoint, &data));
        }
        let mut info = TargetInfo {
            name: name(path, run.as_deref(), &folder, metadata.step)?,
            model: model.class().into(),
            process: "variational autoencoder".into(),
            dataset: train.name.clone(),
            image: train.shape(),
            conditional: false,
            step: metadata.step,
            parameters: model.parameters().count() as u64,
        };
        let source = match checkpoint.model {
            AnyModel::Vae(vae) => ImageSource::Autoencoder {
                vae: Box::new(vae),
                weights: checkpoint.weights,
                mixture: checkpoint.latent_mixture,
            },
            AnyModel::Denoiser(_) | AnyModel::Classifier(_) => {
                let denoiser = checkpoint.denoiser(WEIGHTS)?;
                info.process = denoiser.process.describe();
                info.conditional = denoiser.network.classes().is_some();
                ImageSource::Denoiser(Box::new(checkpoint))
            }
        };
        Ok(EvalTarget {
            source,
            info,
            training_seconds: metadata.seconds.trained,
            run,
            settings,
            train: Arc::new(train),
            test,
            padding,
            warnings,
        })
    }

    /// Reads images from an npz archive as guided-diffusion's scripts write it: `arr_0` u8
    /// `[N, H, W, C]`, and optionally `arr_1` with their classes. They are compared with the data set
    /// of the option `data` [default: MNIST in `data/mnist`].
    ///
    /// # Errors
    /// An archive in another format, or images of another shape than the data's.
    pub fn from_samples(path: &Path, options: &EvalOptions) -> Result<EvalTarget> {
        let data = options.data.as_deref().unwrap_or(Path::new(DATA));
        let [train, test] = splits(data, options.files, LoadOptions::of_model(image_shape_of_npz(path)?))?;
        check_samples(path, data, train.shape())?;
        let (bytes, labels) = images_of_npz(path, train.shape(), train.classes as u32)?;
        let info = TargetInfo {
            name: path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into()),
            model: "images".into(),
            process: "images from a file".into(),
            dataset: train.name.clone(),
            image: train.shape(),
            conditional: labels.is_some(),
            step: 0,
            parameters: 0,
        };
        Ok(EvalTarget {
            source: ImageSource::Images(bytes, labels),
            info,
            training_seconds: 0.0,
            run: None,
            settings: None,
            padding: ImagePadding::new(train.shape(), train.shape())?,
            train: Arc::new(train),
            test,
            warnings: vec![],
        })
    }

    /// Default folder of the evaluation of `path`: in the run folder, or next to the checkpoint or
    /// file.
    pub fn default_folder(&self, path: &Path) -> PathBuf {
        match &self.run {
            // The user named one checkpoint of the run: do not replace the run's own evaluation.
            Some(run) if run != path => run.join(format!("evaluation-{}", self.info.step)),
            Some(run) => run.join("evaluation"),
            None => {
                // `.` and `..` have no name.
                let named = path.canonicalize().ok().filter(|_| path.file_name().is_none());
                let path = named.as_deref().unwrap_or(path);
                // Without the slash at its end that shells write.
                let mut name = path.components().as_path().as_os_str().to_owned();
                name.push(".evaluation");
                name.into()
            }
        }
    }
}

/// Name of the run, or of the checkpoint folder if there is no run. If the user named one
/// checkpoint of a run, the name ends with its training step.
fn name(path: &Path, run: Option<&Path>, folder: &Path, step: u32) -> Result<String> {
    // The absolute path has a name even if the user wrote `.`.
    let place = std::path::absolute(run.unwrap_or(folder)).map_err(Error::io(folder))?;
    let name = place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(if run.is_some_and(|run| run != path) { format!("{name}-{step}") } else { name })
}

/// The border between the images of the data and of the model. The files of a model do not say
/// whether its images are padded or resized, so images of two sizes are compared only if the user
/// says that they are padded.
fn padding(folder: &Path, model: Option<[u32; 3]>, data: &Dataset, padded: bool) -> Result<ImagePadding> {
    let model = model.unwrap_or(data.shape());
    let padding = ImagePadding::new(data.shape(), model).map_err(|problem| Error::file(folder, problem.to_string()))?;
    let [[_, height, width], [_, h, w]] = [model, data.shape()];
    match (padded, model == data.shape()) {
        (false, true) | (true, false) => Ok(padding),
        (true, true) => {
            let problem =
                "--padded has no effect here: the images of model and data have one size. Leave the option out";
            Err(Error::Config(problem.into()))
        }
        (false, false) => Err(Error::file(
            folder,
            format!(
                "the model samples images of {height}x{width}, and the data's are {h}x{w}. If the model was trained on the \
                 data with a black border, add --padded. If it was trained on resized images, add --resize for a folder \
                 of image files, or give the resized images as --data, with a feature extractor that was trained on them"
            ),
        )),
    }
}

/// Checks that the images in an archive have the shape `[C, H, W]` of those in the folder `data`.
fn check_samples(path: &Path, data: &Path, shape: [u32; 3]) -> Result<()> {
    match image_shape_of_npz(path)? {
        Some(other) if other != shape => {
            let [[c, h, w], [channels, height, width]] = [other, shape];
            let problem = format!(
                "holds images of {h}x{w} with {}, and those in {} have {height}x{width} with {}: give the folder of the \
                 data set that they are compared with as --data, and its feature extractor as --feature-extractor",
                counted(c as usize, "channel"),
                data.display(),
                counted(channels as usize, "channel")
            );
            Err(Error::file(path, problem))
        }
        _ => Ok(()),
    }
}

/// Checks that a network takes images `[C, H, W]`. The files of a model need not say their size.
fn check_images(folder: &Path, network: &dyn Network, [channels, height, width]: [u32; 3], data: &Path) -> Result<()> {
    let [own, _] = network.channels();
    if own != channels {
        let [own, theirs] = [own, channels].map(|count| counted(count, "channel"));
        let problem = format!(
            "the model takes images of {own}, and those in {} have {theirs}: give the folder of the model's data set \
             with --data",
            data.display()
        );
        return Err(Error::file(folder, problem));
    }
    network.check_size(height, width).map_err(|problem| Error::file(folder, problem.to_string()))
}

/// Checks that a model that was not written by degrain has the classes of the data.
fn check_classes(checkpoint: &Checkpoint, classes: usize, data: &Path) -> Result<()> {
    let Some(labels) = checkpoint.metadata.denoiser.labels else { return Ok(()) };
    if labels.classes as usize == classes {
        return Ok(());
    }
    let [own, theirs] = [labels.classes as usize, classes].map(|count| counted(count, "class"));
    let advice = if labels.null_class().is_none() && labels.classes as usize == classes + 1 {
        format!("If one of them means \"no label\", name it with --null-class, such as {classes}")
    } else {
        "Give the folder of the model's data set with --data".into()
    };
    let problem = format!("the model has {own}, and the data in {} has {theirs}. {advice}", data.display());
    Err(Error::file(&checkpoint.folder, problem))
}

/// A warning that a model may have been trained on other data.
fn unknown_data(checkpoint: &Checkpoint, data: &Path) -> String {
    let classes =
        if checkpoint.metadata.class_names.is_empty() { "" } else { ", and its classes with the data's in order" };
    let size = match checkpoint.model.model().image_shape() {
        Some(_) => "",
        None => ". It does not say the size of its images either, so they have the data's",
    };
    format!(
        "{}: nothing says which data the model was trained on. It is compared with {}{classes}{size}",
        checkpoint.folder.display(),
        data.display()
    )
}

fn splits(data: &Path, files: ImageFileOptions, defaults: LoadOptions) -> Result<[Dataset; 2]> {
    let options = files.or(defaults);
    let train = load_with(data, Split::Train, &options)?;
    check_image_options(data, &files.given())?;
    Ok([train, load_with(data, Split::Test, &options)?])
}

/// Checks that the model was trained on this data set. Checkpoints not written by degrain do not
/// name their data set and pass.
fn check_data(folder: &Path, metadata: &CheckpointMetadata, data: &Dataset, place: &Path) -> Result<()> {
    let same = metadata.data_sha256.as_ref().map_or(metadata.dataset == data.name, |sum| *sum == data.sha256());
    if metadata.dataset.is_empty() || same {
        return Ok(());
    }
    let resized = if is_image_folder(place)? { ", and --resize as in training" } else { "" };
    Err(Error::file(
        folder,
        format!(
            "this checkpoint was trained on {}, and {} holds other data ({}): give the folder of the model's data set with \
             --data{resized}",
            metadata.dataset,
            place.display(),
            data.name
        ),
    ))
}
