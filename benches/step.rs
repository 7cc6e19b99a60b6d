//! Times whole steps:
//!
//!     cargo bench --bench step -- [--preset NAME] [--size tiny|small|base] [--batch N]
//!         [--steps N] [--guidance W] [--adapter A]
//!
//! - training: images per second, for a whole step (batch, noise, network, gradients, clipping,
//!   AdamW, EMA);
//! - sampling: image-steps per second (one image moved by one step of the preset's sampler;
//!   guidance doubles the cost);
//! - the host's part of a replayed step: CPU time of the calling thread in `Program::run`. It has
//!   our code, wgpu's, and the driver's work on that thread while commands are recorded, but not
//!   the driver's other threads;
//! - submissions: how many a training step is split into, and what that costs;
//! - memory: planned, and the peak of the process after training, if the system reports it;
//! - the first training step, from the start of a separate process to the end of the step: once
//!   with an empty Mesa shader cache, once with the cache that the first left. Caches of other
//!   drivers are not emptied.
//!
//! Times are medians. On a machine that does other work, the CPU time of all threads says more. It
//! measures and asserts nothing.

#[path = "common/clock.rs"]
mod clock;

use clap::Parser;
use clock::{peak_memory, process_time, thread_time, today};
use degrain::diffusion::{BatchSpec, Generator, Guidance, Sampling, StageNoise};
use degrain::gpu::{Context, Submission};
use degrain::nn::PARAMETERS;
use degrain::ops::measure_peak_flops;
use degrain::tape::Program;
use degrain::tape::inspect::Summary;
use degrain::train::{Settings, Size, Trainer};
use degrain::{Error, Result};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Steps before the first that counts.
const WARM_UP: usize = 2;
/// The line that a child process prints after its first step.
const DONE: &str = "first step done";

#[derive(Parser)]
struct Options {
    /// Preset [default: ddpm]
    #[arg(long)]
    preset: Option<String>,
    /// Size of the model [default: the largest that this device trains in an hour]
    #[arg(long, value_enum)]
    size: Option<Size>,
    /// Images per step [default: the preset's]
    #[arg(long)]
    batch: Option<u32>,
    /// Number of training steps and of sampling steps to time
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Scale of guidance in sampling; 1 is none
    #[arg(long, default_value_t = 1.0)]
    guidance: f32,
    /// Adapter, by number or part of its name [default: the fastest]
    #[arg(long)]
    adapter: Option<String>,
    /// Make one training step in this process and print a line
    #[arg(long, hide = true)]
    first_step: bool,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    degrain::cli::disable_device_select();
    let options = Options::parse();
    let outcome = if options.first_step { first_step(&options) } else { measure(&options) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let [cold, warm] = first_steps()?;
    let ctx = Context::open(options.adapter.as_deref())?;
    let mut training = Training::new(open(&ctx, options)?)?;
    let config = training.trainer.config().clone();
    println!("{}, {}, {}", ctx.gpu.adapter(), ctx.target(), today());
    println!(
        "{:?}: {} parameters, batches of {}, medians of {} steps after {WARM_UP}",
        config.size,
        training.trainer.objective().model().parameters().count(),
        config.batch,
        options.steps
    );
    row("first step, cache empty", &cold.to_string());
    row("first step, cache warm", &warm.to_string());

    let times = Times::measure(training.trainer.context(), options.steps, |n| training.step(n))?;
    let Summary { calls, pipelines, slots, slot_bytes, unshared_bytes, named_bytes, flops, .. } = training.summary;
    row("training", &times.rate(config.batch, "images/s"));
    row("  a step", &times.to_string());
    let (gflop, peak) = (flops as f64 * 1e-9, measure_peak_flops(&ctx)? * 1e-9);
    let (speed, share) = (gflop / times.wall, 100.0 * gflop / times.wall / peak);
    row("  work", &format!("{gflop:.1} GFLOP, {speed:.1} GFLOP/s, {share:.1} % of the measured peak of {peak:.1}"));
    row(
        "  host",
        &format!("{:.3} ms of CPU in Program::run, for {calls} calls of {pipelines} pipelines", times.host * 1e3),
    );
    row("  submissions", &training.splitting(options.steps)?);
    let mb = |bytes: u64| bytes as f64 * 1e-6;
    row("  slots", &format!("{:.1} MB in {slots} buffers ({:.1} MB unshared)", mb(slot_bytes), mb(unshared_bytes)));
    row("  named buffers", &format!("{:.1} MB", mb(named_bytes)));
    row(
        "  peak of the process",
        &peak_memory().map_or("not reported by this system".into(), |bytes| format!("{:.1} MB", mb(bytes))),
    );

    sampling(&mut training.trainer, options)
}

fn sampling(trainer: &mut Trainer, options: &Options) -> Result<()> {
    let objective = trainer.objective().clone();
    let model = objective.generative().and_then(|model| model.denoiser(PARAMETERS));
    let sampling = objective.generative().and_then(|model| model.sampling());
    let (Some(model), Some(sampling)) = (model, sampling) else { return Ok(()) };
    let (plan, _) = Sampling { steps: 50, ..sampling }.plan(model.process)?;
    let config = trainer.config();
    let batch = config.batch;
    let spec = BatchSpec { name: "bench", size: batch, image: trainer.dataset().shape(), seed: 0 };
    let guidance = Guidance { scale: options.guidance, ..Guidance::default() };
    let ctx = trainer.context_mut();
    let generator = Generator::new(ctx, model, guidance, plan, spec)?;
    generator.begin(ctx, &vec![0; batch as usize], 0)?;
    let times =
        Times::measure(ctx, options.steps, |n| generator.submit(ctx, n % generator.stages(), StageNoise::default()))?;
    row(&format!("sampling, guidance {}", options.guidance), &times.rate(batch, "image-steps/s"));
    row("  a step", &times.to_string());
    Ok(())
}

fn row(name: &str, value: &str) {
    println!("{name:26} {value}");
}

fn open(ctx: &Context, options: &Options) -> Result<Trainer> {
    Trainer::new(
        ctx,
        Settings { preset: options.preset.clone(), size: options.size, batch: options.batch, ..Settings::default() },
    )
}

/// The training program with fresh parameters.
struct Training {
    trainer: Trainer,
    program: Program,
    summary: Summary,
}

impl Training {
    fn new(mut trainer: Trainer) -> Result<Training> {
        trainer.upload()?;
        trainer.initialize()?;
        let tape = trainer.training_tape().expect("the step can be recorded");
        let program = Program::compile(trainer.context_mut(), &tape)?;
        Ok(Training { trainer, program, summary: tape.summary() })
    }

    /// The step after `finished` steps.
    fn step(&self, finished: u32) -> Result<Submission> {
        self.program.run(self.trainer.context(), &self.trainer.step_uniforms(finished))
    }
}

impl Training {
    /// What splitting a step into submissions costs: steps as in training and steps in one
    /// submission, in turns.
    fn splitting(&self, steps: usize) -> Result<String> {
        let ctx = self.trainer.context();
        let parts = self.program.submissions(ctx).len();
        let mut times = [Vec::new(), Vec::new()];
        for n in 0..2 * steps.max(1) {
            ctx.gpu.pace().set_fixed((n % 2 == 1).then_some(usize::MAX));
            let start = Instant::now();
            ctx.wait_for(&self.step(n as u32)?)?;
            times[n % 2].push(start.elapsed());
        }
        ctx.gpu.pace().set_fixed(None);
        let [split, whole] = times.map(median);
        Ok(format!("{parts}; {:.3} times as long as in one submission, in turns", split / whole))
    }
}

/// Medians over steps, in seconds.
struct Times {
    wall: f64,
    fastest: f64,
    /// CPU time of all threads.
    cpu: f64,
    /// CPU time of the calling thread until the step was submitted.
    host: f64,
}

impl Times {
    fn measure(ctx: &Context, steps: usize, run: impl Fn(u32) -> Result<Submission>) -> Result<Times> {
        let [mut wall, mut cpu, mut host] = [(); 3].map(|()| Vec::new());
        for n in 0..WARM_UP + steps.max(1) {
            let (start, all, own) = (Instant::now(), process_time(), thread_time());
            let ticket = run(n as u32)?;
            let submitted = thread_time();
            ctx.wait_for(&ticket)?;
            if n >= WARM_UP {
                wall.push(start.elapsed());
                cpu.push(process_time() - all);
                host.push(submitted - own);
            }
        }
        let fastest = wall.iter().min().map_or(0.0, Duration::as_secs_f64);
        Ok(Times { wall: median(wall), fastest, cpu: median(cpu), host: median(host) })
    }

    fn rate(&self, images: u32, unit: &str) -> String {
        let images = f64::from(images);
        format!("{:.1} {unit} (fastest step {:.1})", images / self.wall, images / self.fastest)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Times { wall, fastest, cpu, .. } = self;
        write!(f, "{:.1} ms (fastest {:.1} ms), {:.1} ms of CPU over all threads", wall * 1e3, fastest * 1e3, cpu * 1e3)
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// One training step in this process.
fn first_step(options: &Options) -> Result<()> {
    let ctx = Context::open(options.adapter.as_deref())?;
    let training = Training::new(open(&ctx, options)?)?;
    ctx.wait_for(&training.step(0)?)?;
    println!("{DONE} {}", process_time().as_secs_f64());
    Ok(())
}

/// The cost of a first step.
struct First {
    wall: f64,
    cpu: f64,
}

impl std::fmt::Display for First {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s from the start of a process, {:.2} s of CPU", self.wall, self.cpu)
    }
}

/// The first step with an empty cache, and with the cache that it leaves.
fn first_steps() -> Result<[First; 2]> {
    let cache =
        tempfile::tempdir().map_err(|e| Error::Config(format!("no temporary folder for an empty cache: {e}")))?;
    Ok([child(cache.path())?, child(cache.path())?])
}

fn child(cache: &Path) -> Result<First> {
    let failed = |what: String| Error::Config(format!("the process of the first step: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--first-step")
        .env("MESA_SHADER_CACHE_DIR", cache)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let mut first = None;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|e| failed(e.to_string()))?;
        let cpu = line.strip_prefix(DONE).and_then(|seconds| seconds.trim().parse().ok());
        first = cpu.map(|cpu| First { wall: started.elapsed().as_secs_f64(), cpu });
    }
    let status = child.wait().map_err(|e| failed(e.to_string()))?;
    first.filter(|_| status.success()).ok_or_else(|| failed(format!("ended with {status}")))
}
