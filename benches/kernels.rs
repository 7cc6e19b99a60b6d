//! Times every kernel at the shapes where the U-Net uses it, against the roofline measured in the
//! same run:
//!
//!     cargo bench --bench kernels -- [--variant tiled|subgroup] [--quick] [--adapter A]
//!         [--forms] [FILTER...]
//!
//! A FILTER is a part of a kernel's name (`conv2d`, `attention.backward`). Times of kernels are
//! medians of the device's own time stamps, each call alone. Above them stands the time of all
//! calls of a case by the clock, when they follow each other as in training: on a GPU it includes
//! the start of each call. `--forms` prints the times of the forms of kernels of each class of work
//! instead, in turns: the fastest run of each by the clock. It measures, and asserts nothing.

#[path = "common/clock.rs"]
mod clock;

use clap::{Parser, ValueEnum};
use clock::today;
use degrain::gpu::{Context, KernelVariant};
use degrain::ops::{ALL, measure_peaks};
use degrain::tape::inspect::{Peaks, Profile, call_times, run_time};
use degrain::tape::testing::{Case, TEST_STEP};
use degrain::tape::{FormTimes, Program, time_forms};
use degrain::{Error, Result};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
struct Options {
    /// Kernel variant [default: the one that suits the device]
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// Three runs of each case instead of as many as half a second holds
    #[arg(long)]
    quick: bool,
    /// Times the forms of kernels of each class of work
    #[arg(long)]
    forms: bool,
    /// Number of an adapter, or a part of its name
    #[arg(long)]
    adapter: Option<String>,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Parts of kernels' names
    filters: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Variant {
    Tiled,
    Subgroup,
}

fn main() -> ExitCode {
    degrain::cli::disable_device_select();
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let ctx = Context::open(options.adapter.as_deref())?;
    match options.variant {
        Some(Variant::Tiled) => ctx.gpu.set_target(ctx.target().tiled()),
        Some(Variant::Subgroup) if ctx.target().variant != KernelVariant::Subgroup => {
            let rule = "that needs a software driver with a fixed subgroup of 4, 8 or 16 lanes";
            return Err(Error::Config(format!("{} cannot run subgroup kernels: {rule}", ctx.gpu.adapter())));
        }
        _ => {}
    }
    println!("{}, {}, {}", ctx.gpu.adapter(), ctx.target(), today());
    if options.forms {
        return compare_forms(&ctx, options);
    }
    let peaks = measure_peaks(&ctx)?;
    println!("{peaks}\n\n{:46}      ms   GFLOP/s      GB/s  roofline", "kernel");
    for (_, operator) in ALL {
        for case in (operator.bench)() {
            measure_case(&ctx, &case, peaks, options)?;
        }
    }
    Ok(())
}

/// Prints a row for each class of work that has several forms.
fn compare_forms(ctx: &Context, options: &Options) -> Result<()> {
    println!("{:70} forms, ms, and the ratio to the fastest", "class of work");
    for case in ALL.iter().flat_map(|(_, operator)| (operator.bench)()) {
        let recorded = case.record(ctx.target(), 1);
        let wanted =
            |name: &str| options.filters.is_empty() || options.filters.iter().any(|f| name.contains(f.as_str()));
        if !recorded.tape.made_choices().iter().any(|choice| wanted(&choice.class.name)) {
            continue;
        }
        for FormTimes { class, times } in time_forms(ctx, &case, if options.quick { 3 } else { 9 })? {
            let least = times.iter().map(|(_, time)| *time).fold(f64::INFINITY, f64::min);
            let of = |&(form, time): &(&str, f64)| format!("{form} {:.2} ({:.2})", time * 1e3, time / least);
            println!("{class:70} {}", times.iter().map(of).collect::<Vec<_>>().join(", "));
        }
    }
    Ok(())
}

fn measure_case(ctx: &Context, case: &Case, peaks: Peaks, options: &Options) -> Result<()> {
    let trial = case.record(ctx.target(), 1);
    let wanted = |label: &str| options.filters.is_empty() || options.filters.iter().any(|f| label.contains(f.as_str()));
    if !trial.tape.calls().iter().any(|call| wanted(call.dispatch.entry.label)) {
        return Ok(());
    }
    let mut ctx = ctx.fork();
    trial.fill(&mut ctx)?;
    let program = Program::compile(&mut ctx, &trial.tape)?;
    program.run(&ctx, &TEST_STEP)?; // drivers compile at the first run
    ctx.gpu.wait()?;
    let started = Instant::now();
    program.run(&ctx, &TEST_STEP)?;
    ctx.gpu.wait()?;
    let runs = if options.quick { 3 } else { (0.5 / started.elapsed().as_secs_f64()).clamp(5.0, 101.0) as usize };
    let times = call_times(&ctx, &program, &TEST_STEP, runs)?;
    let shapes: Vec<String> = case.inputs.iter().map(|(shape, _)| shape.to_string()).collect();
    let profile = Profile::from_times(&trial.tape, &times, peaks);
    // The calls follow each other without a pause, as in training.
    let wall = run_time(&ctx, &program, &TEST_STEP, runs)?;
    println!(
        "{:?} of {}: {:.3} ms by the clock, {:.3} ms in kernels",
        case.op,
        shapes.join(", "),
        wall * 1e3,
        profile.seconds() * 1e3
    );
    for row in profile.rows.iter().filter(|row| wanted(row.label)) {
        let (ms, share) = (row.seconds * 1e3, 100.0 * row.share());
        let (gflops, gbytes) = (row.flops as f64 * 1e-9 / row.seconds, row.bytes as f64 * 1e-9 / row.seconds);
        println!("  {:42} {ms:9.3} {gflops:9.1} {gbytes:9.2} {share:8.1}%", row.label);
    }
    Ok(())
}
