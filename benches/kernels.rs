//! Times every kernel at the shapes where the U-Net uses it, against the roofline measured in the same run:
//!
//!     cargo bench --bench kernels -- [--target tiles|broadcast] [--quick] [--adapter A] [FILTER...]
//!
//! A FILTER is a part of a kernel's name (`conv2d`, `attention.backward`). Times are medians of the device's own time stamps, each call
//! alone. It measures, and asserts nothing.

#[path = "common/clock.rs"]
mod clock;

use clap::{Parser, ValueEnum};
use clock::today;
use degrain::gpu::{Form, Gpu, Memory, Target};
use degrain::ops::{ALL, roofline::measure_peaks};
use degrain::tape::{Case, Peaks, Profile, Program, STEP, call_times};
use degrain::{Error, Result};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
struct Options {
    /// Kernels for this kind of device, instead of the one that suits it
    #[arg(long, value_enum)]
    target: Option<Kind>,
    /// Three runs of each case instead of as many as half a second holds
    #[arg(long)]
    quick: bool,
    /// Number of an adapter, or a part of its name
    #[arg(long)]
    adapter: Option<String>,
    /// Said by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
    /// Parts of kernels' names
    filters: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Tiles,
    Broadcast,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let mut gpu = Gpu::open_with(options.adapter.as_deref(), degrain::gpu::BoundsChecks::Off)?;
    match options.target {
        Some(Kind::Tiles) => gpu.set_target(Target::TILES),
        Some(Kind::Broadcast) if gpu.target().form != Form::Broadcast => {
            let advice = "its subgroups are no fixed 4, 8 or 16 lanes, or it is no software driver";
            return Err(Error::Config(format!("{} cannot run broadcast kernels: {advice}", gpu.adapter())));
        }
        _ => {}
    }
    println!("{}, {}, {}", gpu.adapter(), gpu.target(), today());
    let peaks = measure_peaks(&gpu)?;
    println!("{peaks}\n\n{:46}      ms   GFLOP/s      GB/s  roofline", "kernel");
    for operator in ALL {
        for case in (operator.bench)() {
            measure_case(&gpu, &case, peaks, options)?;
        }
    }
    Ok(())
}

fn measure_case(gpu: &Gpu, case: &Case, peaks: Peaks, options: &Options) -> Result<()> {
    let trial = case.record(gpu.target(), 1);
    let wanted = |label: &str| options.filters.is_empty() || options.filters.iter().any(|f| label.contains(f.as_str()));
    if !trial.tape.calls().iter().any(|call| wanted(call.dispatch.entry.label)) {
        return Ok(());
    }
    let mut memory = Memory::new();
    trial.fill(gpu, &mut memory)?;
    let program = Program::compile(gpu, &trial.tape, &mut memory)?;
    program.run(gpu, &STEP)?; // drivers compile at the first run
    gpu.wait()?;
    let started = Instant::now();
    program.run(gpu, &STEP)?;
    gpu.wait()?;
    let runs = if options.quick { 3 } else { (0.5 / started.elapsed().as_secs_f64()).clamp(5.0, 101.0) as usize };
    let times = call_times(gpu, &program, &STEP, runs)?;
    let shapes: Vec<String> = case.inputs.iter().map(|(shape, _)| shape.to_string()).collect();
    println!("{:?} of {}", case.op, shapes.join(", "));
    for row in Profile::from_times(&trial.tape, &times, peaks).rows.iter().filter(|row| wanted(row.label)) {
        let (ms, share) = (row.seconds * 1e3, 100.0 * row.share());
        let (gflops, gbytes) = (row.flops as f64 * 1e-9 / row.seconds, row.bytes as f64 * 1e-9 / row.seconds);
        println!("  {:42} {ms:9.3} {gflops:9.1} {gbytes:9.2} {share:8.1}%", row.label);
    }
    Ok(())
}
