//! Description of a run before it starts, and listing, profile and verification of one training
//! step.

use super::config::{Config, NetworkName};
use super::trainer::Trainer;
use crate::data::Dataset;
use crate::files::print;
use crate::gpu::DeviceClass;
use crate::memory;
use crate::nn::{Initialization, PARAMETERS};
use crate::ops::measure_peaks;
use crate::output::counted;
use crate::output::progress::progress_bar;
use crate::tape::inspect::{Profile, RunTime, Verifier, call_times, run_time};
use crate::tape::{Program, Tape};
use crate::{Error, Result};

/// Number of runs over which `--profile` takes the median.
const PROFILE_RUNS: usize = 3;
/// Number of classes that a warning names.
const NAMED_CLASSES: usize = 5;
/// How many times the area of the images a padded image must have for a warning.
const MUCH_PADDING: u64 = 4;
/// Number of classes that are listed with their images.
const LISTED_CLASSES: usize = 12;
/// Batch size of `--verify`, whose references run on one CPU thread.
const VERIFY_BATCH: u32 = 2;

/// What to print about a training step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Every kernel call, instead of a summary.
    pub listing: bool,
    /// The time of every kernel.
    pub profile: bool,
    /// The comparison of every kernel with its reference.
    pub verify: bool,
}

impl Trainer {
    /// Device, data, model, process and length of the run, with warnings; several lines.
    pub fn describe(&self) -> String {
        let (config, data) = (&self.config, &self.dataset);
        let model = self.objective.model();
        let mut lines = vec![format!("adapter   {}, kernels {}", self.ctx.gpu.adapter(), self.ctx.target())];
        lines.push(format!(
            "data      {}: {} of {}x{}x{}, {} of them for validation, {} ({}){}{}",
            data.name,
            counted(data.count, "image"),
            data.channels,
            data.height,
            data.width,
            config.validation_count,
            counted(data.classes, "class"),
            config.data.display(),
            if self.loader.streamed() { ", streamed" } else { "" },
            if self.loader.random_flip() { ", flipped at random" } else { "" },
        ));
        lines.extend(self.classes());
        lines.extend(data.notes.iter().flat_map(|note| note.lines()).map(|note| format!("          {note}")));
        for file in &data.files {
            let known = file.known.map_or("unknown".into(), |name| format!("known: {name}"));
            lines.push(format!("          {} sha256 {}… ({known})", file.path.display(), &file.sha256[..16]));
        }
        let with_classes = match config.network {
            NetworkName::Classifier => true,
            NetworkName::Vae => false,
            NetworkName::Unet | NetworkName::Plain | NetworkName::Residual => !config.unconditional,
        };
        lines.push(format!(
            "model     preset {}, size {}: {}, {:?} channels, {} parameters, {}",
            config.preset,
            config.size,
            model.class(),
            config.block_out_channels,
            model.parameters().count(),
            if with_classes { counted(data.classes, "class") } else { "no classes".into() },
        ));
        lines.extend(padding(config, model.padded_size([data.height as u32, data.width as u32]), data));
        lines.extend(self.default_size.iter().map(|size| format!("size      {size}")));
        lines.push(format!("process   {}", self.objective.describe()));
        let ranks = match self.ranks.communicator.size() {
            1 => String::new(),
            size => format!(" on {size} ranks"),
        };
        lines.push(format!(
            "training  {} of {}{ranks}, seed {}, into {}",
            counted(config.steps, "step"),
            counted(config.batch, "image"),
            config.seed,
            config.out.display()
        ));
        if config.validation_count > 1 && config.validation_count as usize * 5 > data.count {
            lines.push(format!(
                "warning: --validation-count {} of {} leaves only {} to train on: lower it",
                config.validation_count,
                counted(data.count, "image"),
                self.training_images()
            ));
        }
        if with_classes {
            lines.extend(self.untrained_classes().map(|warning| format!("warning: {warning}")));
        }
        lines.extend(self.objective.warnings().iter().map(|warning| format!("warning: {warning}")));
        lines.join("\n") + "\n"
    }

    /// The classes with their numbers of images, if there are several.
    fn classes(&self) -> Option<String> {
        let data = &self.dataset;
        if data.classes < 2 {
            return None;
        }
        let mut counts = vec![0usize; data.classes];
        data.labels.iter().for_each(|&label| counts[label as usize] += 1);
        let shown = if data.classes > LISTED_CLASSES + 1 { LISTED_CLASSES } else { data.classes };
        let named = data.class_names.iter().zip(&counts).take(shown);
        let named: Vec<String> = named.map(|(name, count)| format!("{name} {count}")).collect();
        let rest = &counts[shown..];
        let more = match (rest.iter().min(), rest.iter().max()) {
            (Some(least), Some(most)) if least == most => {
                format!(" and {} more of {} each", rest.len(), counted(*most, "image"))
            }
            (Some(least), Some(most)) => format!(" and {} more of {least} to {most} images", rest.len()),
            _ => String::new(),
        };
        Some(format!("classes   {}{more}", named.join(", ")))
    }

    /// A warning that names the classes without a training image, if there are any.
    fn untrained_classes(&self) -> Option<String> {
        let mut trained = vec![false; self.dataset.classes];
        let labels = &self.dataset.labels[..self.training_images() as usize];
        labels.iter().for_each(|&label| trained[label as usize] = true);
        let names = self.dataset.class_names.iter().zip(&trained).filter(|(_, trained)| !**trained);
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return None;
        }
        let (shown, more) = names.split_at(names.len().min(NAMED_CLASSES));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        Some(format!(
            "{} of {} without a training image, which the model cannot learn: {}{more}",
            names.len(),
            counted(trained.len(), "class"),
            shown.join(", ")
        ))
    }

    /// Prints the output of `--dry-run`, `--listing`, `--profile` or `--verify`.
    ///
    /// # Errors
    /// With `verify`, a kernel that disagrees with its reference.
    pub fn inspect(&mut self, what: Inspection) -> Result<()> {
        // The forms of kernels with which the run continues.
        self.ctx.pinned = self.earlier_forms()?;
        let tape = self.training_tape()?;
        tape.check_size()?;
        if what.listing {
            print(tape.listing())?;
        } else {
            print(tape.summary())?;
        }
        // What training would refuse. A verification has another batch.
        if !what.verify {
            Program::check_bindings(&self.ctx, &tape)?;
            if self.config.validation_count > 0 {
                Program::check_bindings(&self.ctx, &self.validation_tape())?;
            }
            self.check_memory(&tape)?;
        }
        if what.profile {
            self.upload()?;
            let peaks = measure_peaks(&self.ctx)?;
            let program = Program::compile(&mut self.ctx, &tape)?;
            let step = self.step_uniforms(0);
            let times = call_times(&self.ctx, &program, &step, PROFILE_RUNS)?;
            let profile = Profile::from_times(&tape, &times, peaks);
            print(format!("{peaks}\n{profile}"))?;
            let wall = run_time(&self.ctx, &program, &step, PROFILE_RUNS)?;
            let whole = RunTime { wall, kernels: times.iter().sum(), flops: tape.summary().flops, peaks };
            print(format!("a step: {whole}\n"))?;
            let parts = program.submissions(&self.ctx);
            let longest = parts.iter().map(|part| times[part.clone()].iter().sum()).fold(0.0, f64::max);
            let parts = counted(parts.len(), "submission");
            print(format!("a step is {parts}; the kernels of the longest take {:.1} ms\n", longest * 1e3))?;
        }
        if what.verify { self.with_batch(VERIFY_BATCH)?.verify() } else { Ok(()) }
    }

    /// Checks that the memory of this system can hold the buffers of a step, for a software driver.
    /// The memory of a GPU is not known before it is allocated.
    ///
    /// # Errors
    /// [`Error::Config`] with both sizes.
    pub(super) fn check_memory(&self, tape: &Tape) -> Result<()> {
        let summary = tape.summary();
        let software = self.ctx.gpu.adapter().class == DeviceClass::Cpu;
        let available = if software { memory::available() } else { None };
        check_fits(summary.slot_bytes + summary.named_bytes, available)
    }

    /// A trainer of the same objective with another batch size and separate buffers.
    fn with_batch(&self, batch: u32) -> Result<Trainer> {
        let mut config = self.config.clone();
        config.batch = batch;
        self.sibling(config, self.objective.clone())
    }

    /// Compares every kernel call of a step with its reference.
    ///
    /// Sums of partial gradients are computed one by one here. In training they are computed together
    /// at the end of backward.
    fn verify(mut self) -> Result<()> {
        let mut tape = Tape::on(&self.ctx);
        self.record_step(&mut tape);
        self.upload()?;
        for (name, bytes) in tape.buffer_sizes() {
            self.ctx.require(&name, bytes.max(self.ctx.buffers.bytes(&name)))?;
        }
        let parameters = self.objective.model().parameters();
        // With zeros in the last layers, many gradients would be zero.
        let fresh = parameters.initialize(self.config.seed, Initialization::PyTorch);
        parameters.write(&mut self.ctx, PARAMETERS, &fresh)?;
        let step = self.step_uniforms(1);
        let verifier = Verifier::new(&mut self.ctx, &tape, step)?;
        let bar = progress_bar(tape.sections().len() as u64, "{wide_bar} {pos}/{len}");
        let outcome = verifier.verify(|done, _| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        match outcome {
            Ok(()) => print(format!(
                "verified: {} kernel calls of {} operators agree with their references\n",
                tape.calls().len(),
                tape.sections().len()
            )),
            Err(mismatch) => Err(Error::Device(format!(
                "a kernel disagrees with its reference on {}:\n{mismatch}",
                self.ctx.gpu.adapter()
            ))),
        }
    }
}

/// Lines about images that the model pads, if it pads them.
fn padding(config: &Config, [height, width]: [u32; 2], data: &Dataset) -> Vec<String> {
    let image = format!("{}x{}", data.height, data.width);
    let padded = format!("{height}x{width}");
    if image == padded {
        return vec![];
    }
    let mut lines = vec![format!("padding   images of {image} are padded to {padded} inside the network")];
    if u64::from(height) * u64::from(width) >= MUCH_PADDING * (data.height * data.width) as u64 {
        lines.push(format!(
            "warning: most of {padded} is padding, which costs time and memory: {} levels are many for images of \
             {image}. Use fewer --block-out-channels",
            config.block_out_channels.len()
        ));
    }
    lines
}

fn check_fits(bytes: u64, available: Option<u64>) -> Result<()> {
    let gigabytes = |bytes: u64| bytes as f64 * 1e-9;
    match available {
        Some(available) if bytes > available => Err(Error::Config(format!(
            "a training step needs {:.1} GB of memory, and this system has {:.1} GB left: use a smaller \
             --batch or --size, or smaller images",
            gigabytes(bytes),
            gigabytes(available)
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_that_exceeds_the_memory_is_refused_with_both_sizes() {
        assert!(check_fits(10, Some(10)).is_ok() && check_fits(u64::MAX, None).is_ok());
        let message = check_fits(142_000_000_000, Some(15_500_000_000)).unwrap_err().to_string();
        assert!(
            message.contains("142.0 GB") && message.contains("15.5 GB") && message.contains("--batch"),
            "{message}"
        );
    }
}
