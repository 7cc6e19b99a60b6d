//! Small undamaged files of every format that the crate reads.

#[allow(dead_code)]
#[path = "../../../../tests/page/made_up.rs"]
mod made_up;

use crate::reliability::Result;
use degrain::checkpoint::{self, CheckpointMetadata, SchedulerConfig, latent_mixture, noise};
use degrain::data::Dataset;
use degrain::diffusion::latent_prior::Mixture;
use degrain::diffusion::{BetaSchedule, DenoiserSpec, Labels, SamplerName};
use degrain::gpu::Context;
use degrain::nn::{
    Classifier, ClassifierConfig, DownBlock, Initialization, Model, PlainUNet, PlainUNetConfig, ResidualUNet,
    ResidualUNetConfig, SampleSize, UNet2d, UNet2dConfig, UpBlock, Vae, VaeConfig,
};
use degrain::output::{Images, Picture, npz::save_npz};
use degrain::train::{Settings, Trainer};
use flate2::write::GzEncoder;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Rows and columns of the images.
pub const SIDE: usize = 8;
/// Number of images of a data set.
const COUNT: usize = 24;

/// Images `[24, 1, 8, 8]` of three classes.
pub fn dataset() -> Dataset {
    let images = (0..COUNT * SIDE * SIDE).map(|i| (i * 37 % 251) as u8).collect();
    Dataset::from_arrays("made up", images, (0..COUNT as u32).map(|i| i % 3).collect(), [1, SIDE as u32, SIDE as u32])
}

/// Writes all files below a folder.
pub fn write(folder: &Path) -> Result<()> {
    let text = |problem: degrain::Error| problem.to_string();
    data_sets(folder)?;
    models(folder).map_err(text)?;
    let put = |name: &str| prepare(&folder.join(name));
    let gray = Images::new(dataset().images.to_vec(), [COUNT, 1, SIDE, SIDE]);
    save_npz(&put("samples/samples.npz")?, &gray, Some(&dataset().labels)).map_err(text)?;
    let values: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
    noise::write(&put("noise/noise.safetensors")?, &values, [1, 1, 8, 8]).map_err(text)?;
    picture(3).save_png(&put("picture/picture.png")?, &[("Software", "degrain"), ("note", "ä")]).map_err(text)?;

    let evaluated = folder.join("evaluated");
    made_up::write_evaluation(&evaluated, &made_up::evaluation("run", 0.3));
    for name in ["evaluation/grid.png", "forward.png"] {
        picture(1).save_png(&evaluated.join(name), &[]).map_err(text)?;
    }
    let log = folder.join("run/log.jsonl");
    run(&folder.join("run")).map_err(text)?;
    fs::copy(&log, evaluated.join("log.jsonl")).map_err(|e| format!("{}: {e}", log.display()))?;
    Ok(())
}

/// The path, whose folder is made.
fn prepare(path: &Path) -> Result<std::path::PathBuf> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    Ok(path.into())
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(prepare(path)?, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn picture(channels: usize) -> Picture {
    Picture { height: SIDE, width: SIDE, channels, bytes: (0..SIDE * SIDE * channels).map(|i| i as u8).collect() }
}

fn data_sets(folder: &Path) -> Result<()> {
    let data = dataset();
    let header = |dimensions: &[usize]| {
        let sizes = dimensions.iter().flat_map(|&n| (n as u32).to_be_bytes());
        [0, 0, 8, dimensions.len() as u8].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    let images = [header(&[COUNT, SIDE, SIDE]), data.images.to_vec()].concat();
    let labels: Vec<u8> = header(&[COUNT]).into_iter().chain(data.labels.iter().map(|&label| label as u8)).collect();
    for (name, content) in [("train-images-idx3-ubyte", &images), ("train-labels-idx1-ubyte", &labels)] {
        put(&folder.join("idx").join(name), content)?;
        put(&folder.join("idx-gzip").join(format!("{name}.gz")), &gzip(content))?;
    }
    let record = |label: u8| [vec![label], (0..3072).map(|i| (i / 40) as u8).collect()].concat();
    let records: Vec<u8> = (0..3).flat_map(record).collect();
    put(&folder.join("cifar/data_batch_1.bin"), &records)?;
    put(&folder.join("cifar/data_batch_2.bin.gz"), &gzip(&records))?;
    put(&folder.join("cifar/batches.meta.txt"), b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n")?;
    let archive = |method| {
        let labels: Vec<u8> = (1..=5i64).flat_map(i64::to_le_bytes).collect();
        let pixels: Vec<u8> = (0..5 * 48).map(|i| i as u8).collect();
        let arrays = [("data.npy", npy("|u1", "(5, 48)", &pixels)), ("labels.npy", npy("<i8", "(5,)", &labels))];
        zip(method, &arrays)
    };
    put(&folder.join("imagenet/train_data_batch_1.npz"), &archive(CompressionMethod::Stored))?;
    put(&folder.join("imagenet/train_data_batch_2.npz"), &archive(CompressionMethod::Deflated))?;
    for (name, channels) in [("png", 1), ("png-color", 3)] {
        for image in ["a.png", "b.png"] {
            put(&folder.join(name).join(image), &picture(channels).to_png(&[]))?;
        }
        put(&folder.join(name).join("labels.csv"), b"file,label\na.png,4\nb.png,cat\n")?;
    }
    photographs(&folder.join("photographs"))
}

/// Image files of the formats that cameras and web pages use, with metadata.
fn photographs(folder: &Path) -> Result<()> {
    let image = image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([(9 * x) as u8, (13 * y) as u8, (x * y) as u8]));
    let image = image::DynamicImage::from(image);
    for (name, format) in
        [("a.jpg", image::ImageFormat::Jpeg), ("b.webp", image::ImageFormat::WebP), ("c.bmp", image::ImageFormat::Bmp)]
    {
        let mut bytes = std::io::Cursor::new(vec![]);
        image.write_to(&mut bytes, format).map_err(|e| format!("{name}: {e}"))?;
        put(&folder.join(name), bytes.get_ref())?;
    }
    let lines = ["a.jpg", "b.webp", "c.bmp"].map(|name| format!("{{\"file_name\": \"{name}\", \"label\": \"x\"}}\n"));
    put(&folder.join("metadata.jsonl"), lines.concat().as_bytes())?;
    Ok(())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all bytes")
}

fn npy(element: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

fn zip(method: CompressionMethod, arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    for (name, bytes) in arrays {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).expect("memory takes all bytes");
        zip.write_all(bytes).expect("memory takes all bytes");
    }
    zip.finish().expect("memory takes all bytes").into_inner()
}

/// A checkpoint folder of each class of model, and one that diffusers could have written.
fn models(folder: &Path) -> degrain::Result<()> {
    let sample_size = [SIDE as u32; 2];
    let unet = UNet2d::new(UNet2dConfig {
        sample_size: Some(SampleSize::Square(SIDE as u32)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: vec![DownBlock::Plain, DownBlock::Attention],
        up_block_types: vec![UpBlock::Attention, UpBlock::Plain],
        block_out_channels: vec![4, 4],
        layers_per_block: 1,
        norm_num_groups: 2,
        attention_head_dim: Some(4),
        num_class_embeds: Some(4),
        ..UNet2dConfig::default()
    })?;
    let plain = PlainUNet::new(PlainUNetConfig {
        sample_size,
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4, 4],
        time_channels: 2,
        class_channels: 2,
        hidden: 4,
        num_class_embeds: Some(4),
        ..PlainUNetConfig::default()
    })?;
    let residual = ResidualUNet::new(ResidualUNetConfig {
        sample_size,
        in_channels: 1,
        out_channels: 1,
        block_out_channels: vec![4, 4],
        layers_per_block: 1,
        attention: vec![false, true],
        attention_head_dim: 4,
        norm_num_groups: 2,
        num_class_embeds: Some(4),
        ..ResidualUNetConfig::default()
    })?;
    let classifier = Classifier::new(ClassifierConfig {
        sample_size,
        in_channels: 1,
        block_out_channels: vec![4, 4],
        classes: 3,
        time_embedding_dim: 8,
        noise_aware: true,
        ..ClassifierConfig::default()
    })?;
    let clean = Classifier::new(ClassifierConfig { noise_aware: false, ..classifier.config().clone() })?;
    let vae = Vae::new(VaeConfig {
        sample_size,
        in_channels: 1,
        block_out_channels: vec![4, 4],
        norm_num_groups: 2,
        latent_channels: 2,
        ..VaeConfig::default()
    })?;
    let scheduler =
        |sampler, schedule| SchedulerConfig { timesteps: 50, sampler, schedule, ..SchedulerConfig::default() };
    let ddim = scheduler(SamplerName::Ddim, BetaSchedule::Cosine);
    let betas = (1..=50).map(|i| 0.001 * f64::from(i)).collect();
    let dpm = SamplerName::ALL.iter().copied().find(|s| s.class().starts_with("DPM")).unwrap_or(SamplerName::Ddpm);
    let given = scheduler(dpm, BetaSchedule::Given { betas });
    let ddpm = scheduler(SamplerName::Ddpm, BetaSchedule::default());
    let labels = Some(Labels { classes: 3, dropout: 0.1 });
    save(folder, "unet", &unet, Some(&ddim), labels)?;
    save(folder, "plain", &plain, Some(&given), labels)?;
    save(folder, "residual", &residual, Some(&ddpm), labels)?;
    save(folder, "classifier", &classifier, Some(&ddpm), None)?;
    save(folder, "extractor", &clean, None, None)?;
    save(folder, "vae", &vae, None, None)?;
    let latents: Vec<f32> = (0..32).map(|i| (i * 7 % 11) as f32 / 4.0).collect();
    latent_mixture::write(&folder.join("vae").join(latent_mixture::FILE), &Mixture::fit(&latents, 2, 3)?)?;
    save(folder, "diffusers", &unet, Some(&ddpm), labels)?;
    let own = folder.join("diffusers").join(CheckpointMetadata::FILE);
    fs::remove_file(&own).map_err(degrain::Error::io(&own))
}

fn save(
    folder: &Path,
    name: &str,
    model: &dyn Model,
    scheduler: Option<&SchedulerConfig>,
    labels: Option<Labels>,
) -> degrain::Result<()> {
    let metadata = CheckpointMetadata {
        step: 2,
        dataset: "made up".into(),
        class_names: ["a", "b", "c"].map(String::from).into(),
        denoiser: DenoiserSpec { labels, ..DenoiserSpec::default() },
        ..CheckpointMetadata::default()
    };
    let weights = model.parameters().initialize(1, Initialization::PyTorch);
    checkpoint::write(&folder.join(name), model, &weights, scheduler, &metadata)
}

/// Settings of a run of two steps.
const RUN: &str = "size = \"tiny\"\nsteps = 2\nbatch = 2\nwarmup = 1\nblock_out_channels = [4, 4]\n\
    attention = [false, true]\nattention_head_dim = 4\nnorm_num_groups = 2\nvalidation_count = 3\nvalidate_every = 1\nsample_every = 2\n\
    sampling_steps = 2\ncheckpoint_every = 1\nevaluate_every = 0\ntimesteps = 50\n";

/// A run that stopped after one of two steps.
fn run(folder: &Path) -> degrain::Result<()> {
    let file = folder.with_extension("toml");
    fs::write(&file, RUN).map_err(degrain::Error::io(&file))?;
    let ctx = Context::open(None)?;
    let settings = Settings { out: Some(folder.into()), ..Settings::default() }.or(Settings::read(&file)?);
    Trainer::with_data(&ctx, settings, dataset())?.stop_after(Some(1)).run(&AtomicBool::new(false))?;
    Ok(())
}
