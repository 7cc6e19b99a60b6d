//! What is evaluated, with the data that it is compared with: a run, a checkpoint, or images from elsewhere.

use super::evaluation::Subject;
use crate::data::{Dataset, Split, images_of_npz, load};
use crate::diffusion::CheckpointMetadata;
use crate::diffusion::pipeline::{self, Checkpoint, Pipeline};
use crate::metrics::padding::ImagePadding;
use crate::nn::registry::AnyModel;
use crate::nn::{Model, Vae};
use crate::train::Settings;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where images come from.
pub enum Source {
    /// A denoiser.
    Denoiser(Box<Pipeline>),
    /// An autoencoder with its weights.
    Autoencoder(Box<Vae>, Vec<f32>),
    /// Images that are there: bytes `[N, C, H, W]`, and their classes if they are known.
    Images(Vec<u8>, Option<Vec<u32>>),
}

/// What is evaluated.
pub struct EvalTarget {
    /// Where its images come from.
    pub source: Source,
    /// What is said of it.
    pub about: Subject,
    /// Seconds that its training took.
    pub training_seconds: f64,
    /// The folder of its run, if it has one.
    pub run: Option<PathBuf>,
    /// Settings of its run, if it has any.
    pub settings: Option<Settings>,
    /// The training images.
    pub train: Dataset,
    /// The test images.
    pub test: Dataset,
    /// The frame between the data's images and the model's.
    pub border: ImagePadding,
    /// What the files say that was passed over, for the caller to print.
    pub warnings: Vec<String>,
}

/// The bundled data set, for images that do not say what they are of.
const DATA: &str = "data/mnist";

impl EvalTarget {
    /// Reads a run folder or a checkpoint, and the data set it was trained on (that of the run's settings, unless given).
    ///
    /// # Errors
    /// A folder that holds no denoiser or autoencoder; a data set that is missing, or not the one that it was trained on.
    pub fn checkpoint(path: &Path, data: Option<&Path>) -> Result<EvalTarget> {
        let folder = pipeline::locate(path)?;
        let run = [Some(path), folder.parent()].into_iter().flatten().find(|run| run.join("config.toml").is_file());
        let settings = run.map(|run| Settings::read(&run.join("config.toml"))).transpose()?;
        let data = match (data, settings.as_ref().and_then(|settings| settings.data.clone())) {
            (Some(data), _) => data.to_path_buf(),
            (None, Some(data)) => data,
            (None, None) => DATA.into(),
        };
        let (any, _) = pipeline::read_config(&folder)?;
        let (source, card, process, warnings) = match any {
            AnyModel::Network(_) => {
                let mut pipeline = Pipeline::read(&folder)?;
                let (card, process) = (pipeline.card.clone(), pipeline.process.describe());
                let warnings = std::mem::take(&mut pipeline.warnings);
                (Source::Denoiser(Box::new(pipeline)), card, process, warnings)
            }
            AnyModel::Vae(_) | AnyModel::Classifier(_) => {
                let Checkpoint { model, weights, card, warnings } = pipeline::read_model(&folder)?;
                let AnyModel::Vae(vae) = model else {
                    let problem = "holds a classifier, which draws no images: evaluate a denoiser or an autoencoder";
                    return Err(Error::file(&folder, problem));
                };
                let process = "variational autoencoder".to_string();
                (Source::Autoencoder(Box::new(vae), weights), card.unwrap_or_default(), process, warnings)
            }
        };
        let [train, test] = splits(&data)?;
        let model: &dyn Model = match &source {
            Source::Denoiser(pipeline) => &*pipeline.network,
            Source::Autoencoder(vae, _) => &**vae,
            Source::Images(..) => unreachable!("a checkpoint holds a model"),
        };
        let conditional = matches!(&source, Source::Denoiser(pipeline) if pipeline.network.classes().is_some());
        same_data(&folder, &card, &train, &data)?;
        let border = ImagePadding::between(train.shape(), model.image_shape().unwrap_or(train.shape()))
            .map_err(|problem| Error::file(&folder, problem.to_string()))?;
        // Of `.` too.
        let place = std::path::absolute(run.unwrap_or(&folder)).map_err(Error::io(&folder))?;
        let mut name = place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if run.is_some_and(|run| run != path) {
            name = format!("{name}-{}", card.step);
        }
        let about = Subject {
            name,
            model: model.class().into(),
            process,
            dataset: train.name.clone(),
            image: train.shape(),
            conditional,
            step: card.step,
            parameters: model.parameters().count() as u64,
        };
        let run = run.map(Path::to_path_buf);
        Ok(EvalTarget { source, about, training_seconds: card.seconds, run, settings, train, test, border, warnings })
    }

    /// Reads images from elsewhere, an npz archive as guided-diffusion's scripts write it: `arr_0` u8 `[N, H, W, C]`, and `arr_1`, their classes,
    /// if there are any.
    ///
    /// # Errors
    /// An archive of another kind, or images of another size than the data's.
    pub fn images(path: &Path, data: Option<&Path>) -> Result<EvalTarget> {
        let [train, test] = splits(data.unwrap_or(Path::new(DATA)))?;
        let (bytes, labels) = images_of_npz(path, train.shape(), train.classes as u32)?;
        let about = Subject {
            name: path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into()),
            model: "images".into(),
            process: "images from elsewhere".into(),
            dataset: train.name.clone(),
            image: train.shape(),
            conditional: labels.is_some(),
            step: 0,
            parameters: 0,
        };
        let border = ImagePadding::between(train.shape(), train.shape())?;
        let source = Source::Images(bytes, labels);
        let (run, settings, warnings) = (None, None, vec![]);
        Ok(EvalTarget { source, about, training_seconds: 0.0, run, settings, train, test, border, warnings })
    }
}

impl EvalTarget {
    /// Where its evaluation is written unless asked otherwise: in the folder of its run, or beside it.
    pub fn usual_folder(&self, path: &Path) -> PathBuf {
        match &self.run {
            // Of a checkpoint that was named itself, beside that of the run.
            Some(run) if run != path => run.join(format!("evaluation-{}", self.about.step)),
            Some(run) => run.join("evaluation"),
            None => {
                let mut name = path.as_os_str().to_owned();
                name.push(".evaluation");
                name.into()
            }
        }
    }
}

fn splits(data: &Path) -> Result<[Dataset; 2]> {
    Ok([load(data, Split::Train)?, load(data, Split::Test)?])
}

/// A folder of other makers does not say what it was trained on.
fn same_data(folder: &Path, card: &CheckpointMetadata, data: &Dataset, place: &Path) -> Result<()> {
    match card.dataset.is_empty() || card.dataset == data.name {
        true => Ok(()),
        false => Err(Error::file(
            folder,
            format!(
                "this checkpoint was trained on {}, and {} holds {}: give the folder of its own data set with --data",
                card.dataset,
                place.display(),
                data.name
            ),
        )),
    }
}
