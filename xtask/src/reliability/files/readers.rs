//! The readers of the crate, each with the files of its seed that are damaged.

use super::seeds::{SIDE, dataset};
use degrain::checkpoint::{Checkpoint, noise, read_model};
use degrain::data::{Dataset, Split, images_of_npz, load};
use degrain::diffusion::SamplingOptions;
use degrain::evaluate::html::{EvaluatedRun, page};
use degrain::gpu::Context;
use degrain::metrics::feature_extractor::FeatureExtractor;
use degrain::output::{JsonLines, Picture, jsonl};
use degrain::train::{Inspection, LogEntry, Settings, Trainer};
use degrain::{Error, Result};
use std::path::Path;

/// What readers share, made once in a process.
pub struct World {
    ctx: Context,
    data: Dataset,
}

impl World {
    pub fn new() -> Result<World> {
        Ok(World { ctx: Context::open(None)?, data: dataset() })
    }
}

/// A reader of the files of one format.
pub struct Reader {
    /// Name of the folder of undamaged files.
    pub seed: &'static str,
    /// The files that are damaged, one at a time.
    pub files: &'static [&'static str],
    /// Reads the folder as a program does. An error is right for most damage.
    pub read: fn(&World, &Path) -> Result<()>,
}

const fn reader(seed: &'static str, files: &'static [&'static str], read: fn(&World, &Path) -> Result<()>) -> Reader {
    Reader { seed, files, read }
}

const WEIGHTS: &str = "model/diffusion_pytorch_model.safetensors";
const MODEL: &[&str] = &["degrain.json", "model/config.json", "scheduler/scheduler_config.json", WEIGHTS];
const UNET: &[&str] = &[
    "degrain.json",
    "unet/config.json",
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "scheduler/scheduler_config.json",
    "unet/diffusion_pytorch_model.safetensors",
];

/// Every reader.
pub const READERS: &[Reader] = &[
    reader("idx", &["train-images-idx3-ubyte", "train-labels-idx1-ubyte"], data_set),
    reader("idx-gzip", &["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"], data_set),
    reader("cifar", &["data_batch_1.bin", "data_batch_2.bin.gz", "batches.meta.txt"], data_set),
    reader("imagenet", &["train_data_batch_1.npz", "train_data_batch_2.npz"], data_set),
    reader("png", &["a.png", "b.png", "labels.csv", "labels.csv"], data_set),
    reader("png-color", &["a.png", "b.png"], data_set),
    reader("photographs", &["a.jpg", "b.webp", "c.bmp", "metadata.jsonl"], data_set),
    reader("samples", &["samples.npz"], |_, folder| {
        images_of_npz(&folder.join("samples.npz"), [1, SIDE as u32, SIDE as u32], 3).map(drop)
    }),
    reader("noise", &["noise.safetensors"], |_, folder| {
        noise::read(&folder.join("noise.safetensors"), [1, 8, 8], None).map(drop)
    }),
    reader("picture", &["picture.png"], |_, folder| Picture::load_png(&folder.join("picture.png")).map(drop)),
    reader("unet", UNET, denoiser),
    reader("diffusers", UNET.split_at(1).1, denoiser),
    reader("plain", MODEL, denoiser),
    reader("residual", MODEL, denoiser),
    reader("classifier", MODEL, classifier),
    reader("extractor", &["degrain.json", "model/config.json", WEIGHTS], |world, folder| {
        FeatureExtractor::open(folder)?.check(&world.data)
    }),
    reader("vae", &["degrain.json", "latent_mixture.safetensors", "model/config.json", WEIGHTS], |_, folder| {
        read_model(&folder.join("model/config.json"))?;
        Checkpoint::open(folder).map(drop)
    }),
    reader(
        "run",
        &[
            "config.toml",
            "manifest.json",
            "log.jsonl",
            "checkpoint-1/degrain.json",
            "checkpoint-1/training_state.safetensors",
        ],
        resumption,
    ),
    reader("run", &["config.toml"], new_run),
    reader("run", &["log.jsonl"], log),
    reader(
        "evaluated",
        &[
            "evaluation/evaluation.json",
            "evaluation/evaluation.json",
            "log.jsonl",
            "evaluation/grid.png",
            "forward.png",
        ],
        |_, folder| page(&[EvaluatedRun::open(folder)?]).map(drop),
    ),
];

fn data_set(_: &World, folder: &Path) -> Result<()> {
    load(folder, Split::Train).map(drop)
}

fn denoiser(_: &World, folder: &Path) -> Result<()> {
    let checkpoint = Checkpoint::open(folder)?;
    checkpoint.image_shape(None)?;
    checkpoint.class(Some("1"), None)?;
    checkpoint.labels(None, 10);
    let denoiser = checkpoint.denoiser("weights")?;
    checkpoint.deterministic_sampling(SamplingOptions::default())?.plan(denoiser.process)?;
    checkpoint.sampling(SamplingOptions::default())?.plan(denoiser.process).map(drop)
}

fn classifier(_: &World, folder: &Path) -> Result<()> {
    Checkpoint::open(folder)?.classifier().map(drop)
}

fn resumption(world: &World, folder: &Path) -> Result<()> {
    let settings = Settings::default().or_those_of_run(folder)?;
    Trainer::with_data(&world.ctx, settings, world.data.clone())?.resume()?.is_finished().map(drop)
}

fn new_run(world: &World, folder: &Path) -> Result<()> {
    let settings = Settings::read(&folder.join("config.toml"))?;
    let mut trainer = Trainer::with_data(&world.ctx, settings, world.data.clone())?;
    trainer.describe();
    trainer.inspect(Inspection::default())
}

fn log(_: &World, folder: &Path) -> Result<()> {
    let path = folder.join("log.jsonl");
    let entries: Vec<LogEntry> = jsonl::read(&path)?;
    let kept: Vec<LogEntry> = JsonLines::open(&path)?.keep_while(|_: &LogEntry| true)?;
    if entries.len() == kept.len() { Ok(()) } else { Err(Error::file(path, "two readers differ")) }
}
