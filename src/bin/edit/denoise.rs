//! Denoising: noises images to a time, and denoises them again.

use super::images::{DataOptions, TestImages, read_png, rms_difference};
use super::model::{Loaded, LoadedModel, check_memory, check_output};
use clap::Args;
use degrain::diffusion::process::Marginal;
use degrain::diffusion::sdedit::{Step, last_steps, noised};
use degrain::diffusion::{Generator, Sampling, SamplingOptions};
use degrain::gpu::Context;
use degrain::output::{counted, note};
use degrain::{Error, Result, cli, files};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Number of test images.
const COUNT: usize = 4;
/// Largest number of columns that are chosen without `--every`: the original, the noised image, the
/// states between, and the result.
const COLUMNS: usize = 8;

#[derive(Args)]
pub struct Denoise {
    #[command(flatten)]
    model: LoadedModel,
    #[command(flatten)]
    options: SamplingOptions,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Share of the sampling steps that are run, above 0 and at most 1: more adds more noise
    #[arg(long, default_value_t = 0.5, allow_negative_numbers = true)]
    strength: f64,
    /// Show the state after every N-th step [default: such that there are at most 8 columns]
    #[arg(long, value_name = "N")]
    every: Option<usize>,
    /// Images: PNG files of the model's size and channels [default: test images of --data]
    #[arg(long, value_name = "PNG", num_args = 1.., conflicts_with_all = ["data", "resize", "skip_damaged", "first", "count"])]
    image: Vec<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
    /// Number of the first test image
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Number of test images
    #[arg(long, default_value_t = COUNT)]
    count: usize,
    /// Output file (PNG): a row per image with the image, the noised image, the states between,
    /// and the result. Noisy states are divided by sqrt(alpha² + sigma²) where this is above 1
    #[arg(long, default_value = "denoising.png")]
    out: PathBuf,
}

/// The images that are denoised.
struct Originals {
    /// `[N, C, H, W]` in [-1, 1].
    images: Vec<f32>,
    /// One class per image.
    labels: Vec<u32>,
    /// One name per image, for messages.
    names: Vec<String>,
    /// The numbers of the images, which decide their noise.
    numbers: Range<u32>,
}

impl Denoise {
    pub fn run(&self) -> Result<()> {
        if self.count == 0 {
            return Err(Error::Config("--count must be at least 1".into()));
        }
        check_output(&self.out)?;
        files::check_not_input(&self.out, &self.image.iter().map(PathBuf::as_path).collect::<Vec<&Path>>())?;
        let loaded = self.model.load("--count or --image")?;
        let sampling = loaded.checkpoint.sampling(self.options)?;
        loaded.checkpoint.check_effect(&self.options, &sampling)?;
        sampling.check_class(self.model.class.as_deref())?;
        let (last, warnings) = last_steps(loaded.denoiser()?.process, &sampling, self.strength)?;
        warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        let steps = &last.steps;
        let shown = shown_steps(self.every, steps.len())?;
        let originals = self.originals(&loaded, &sampling)?;
        let columns = shown.len() + 3;
        let what = format!("{} of all images", counted(columns, "column"));
        check_memory(originals.images.len() * columns, &what, "use a larger --every, or fewer images")?;

        let start = steps[0];
        let first = originals.numbers.start;
        let x = noised(&originals.images, &start.at, self.seed, originals.numbers.clone());
        let count = originals.labels.len() as u32;
        let (ctx, generator) = loaded.generator(&sampling, last.plan, count, self.seed)?;
        loaded.announce(count, steps.len() as u32);
        generator.begin_from(&ctx, &x, &originals.labels)?;
        let between = denoise(&ctx, &generator, steps, &shown, first)?;
        let result = generator.images(&ctx)?;

        let Marginal { alpha, sigma, .. } = start.at;
        let (run, time) = (steps.len(), (start.time * 1e4).round() / 1e4);
        let noise = format!(
            "noised to t = {time}, alpha {alpha:.4}, sigma {sigma:.4}; {run} of {} of {}",
            counted(last.of, "step"),
            sampling.sampler.name()
        );
        files::print(format!("{noise}\n"))?;
        let pixels = loaded.pixels();
        for (k, name) in originals.names.iter().enumerate() {
            let [before, after] = [&originals.images, &result].map(|images| &images[k * pixels..][..pixels]);
            let error = rms_difference(before, after);
            files::print(format!("{name}: root mean square difference to the image: {error:.4} of a range of 2\n"))?;
        }
        let noisy = [&x].into_iter().chain(&between).zip([0].iter().chain(&shown));
        let noisy = noisy.map(|(x, &step)| visible(x, &steps[step].at));
        let columns: Vec<Vec<f32>> = [originals.images].into_iter().chain(noisy).chain([result]).collect();
        let row = |k: usize| columns.iter().flat_map(move |column| &column[k * pixels..][..pixels]);
        let picture: Vec<f32> = (0..count as usize).flat_map(row).copied().collect();
        let text = format!("images, {noise}, and denoised; guidance {}, seed {}", sampling.guidance, self.seed);
        loaded.save(&self.out, &picture, columns.len(), &text)
    }

    /// Reads the images.
    fn originals(&self, loaded: &Loaded, sampling: &Sampling) -> Result<Originals> {
        let classes = &loaded.checkpoint.metadata.class_names;
        let conditional = loaded.labeled(sampling)?;
        if self.image.is_empty() {
            let wanted = TestImages { data: &self.data, option: "--first", first: self.first, count: self.count };
            let (images, labels) = loaded.test_images(&wanted, conditional)?;
            let of_class = |label: u32| classes.get(label as usize).filter(|_| conditional);
            let name = |(k, &label): (usize, &u32)| {
                let class = of_class(label).map_or(String::new(), |class| format!(", class {class}"));
                format!("test image {}{class}", self.first + k)
            };
            let names = labels.iter().enumerate().map(name).collect();
            let first = self.first as u32;
            return Ok(Originals { images, numbers: first..first + labels.len() as u32, labels, names });
        }
        if conditional && loaded.class.is_none() {
            return Err(Error::Config(format!(
                "--image: the class of the images is not known. Give --class with one of {}, or --guidance 0 for a model \
                 with a null class",
                classes.join(", ")
            )));
        }
        let mut images = Vec::new();
        for path in &self.image {
            let bytes = read_png(path, loaded.image, "image")?;
            images.extend(bytes.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0));
        }
        let count = self.image.len();
        let names = self.image.iter().map(|path| path.display().to_string()).collect();
        Ok(Originals { images, labels: vec![loaded.class.unwrap_or(0); count], names, numbers: 0..count as u32 })
    }
}

/// Runs a batch that has begun. Returns its states at the start of the steps `shown`.
fn denoise(
    ctx: &Context,
    generator: &Generator<'_>,
    steps: &[Step],
    shown: &[usize],
    first_image: u32,
) -> Result<Vec<Vec<f32>>> {
    let mut states = Vec::new();
    let progress = cli::Progress::new();
    generator.run(ctx, first_image, &mut |done| {
        let stage = (done * f64::from(generator.stages())).round() as u32;
        if shown.iter().any(|&step| steps[step].stage == stage) {
            states.push(generator.images(ctx)?);
        }
        progress.set(done)
    })?;
    Ok(states)
}

/// The steps between the first and the end whose states are shown, of `steps` steps.
fn shown_steps(every: Option<usize>, steps: usize) -> Result<Vec<usize>> {
    let every = every.unwrap_or(steps.div_ceil(COLUMNS - 2));
    if every == 0 || every > steps {
        return Err(Error::Config(format!(
            "--every {every}: {} will be run, so use 1 to {steps}",
            counted(steps, "step")
        )));
    }
    Ok((every..steps).step_by(every).collect())
}

/// A state for the picture: the noise of some processes is many times larger than the image.
fn visible(x: &[f32], at: &Marginal) -> Vec<f32> {
    let scale = at.alpha.hypot(at.sigma).max(1.0);
    x.iter().map(|x| (f64::from(*x) / scale) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, shown_steps, visible};
    use degrain::diffusion::process::Marginal;

    #[test]
    fn denoise_shows_at_most_eight_columns_by_default() {
        for steps in 1..200 {
            let shown = shown_steps(None, steps).unwrap();
            assert!(shown.len() + 3 <= COLUMNS && (shown.len() >= 2 || steps < 4), "{steps}: {shown:?}");
        }
        assert_eq!(shown_steps(None, 25).unwrap(), [5, 10, 15, 20]);
        assert_eq!(shown_steps(Some(10), 25).unwrap(), [10, 20]);
        assert!(shown_steps(Some(25), 25).unwrap().is_empty());
        for every in [0, 26] {
            assert!(shown_steps(Some(every), 25).unwrap_err().to_string().contains("use 1 to 25"));
        }
    }

    #[test]
    fn denoise_scales_only_states_above_unit_variance() {
        let at = |alpha: f64, sigma: f64| Marginal { alpha, sigma, alpha_rate: 0.0, sigma_rate: 0.0 };
        assert_eq!(visible(&[1.0, -0.5], &at(0.6, 0.8)), [1.0, -0.5]);
        assert_eq!(visible(&[1.0, -0.5], &at(0.5, 0.5)), [1.0, -0.5]);
        assert_eq!(visible(&[10.0, -5.0], &at(3.0, 4.0)), [2.0, -1.0]);
    }
}
