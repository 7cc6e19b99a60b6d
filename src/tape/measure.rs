//! Which form of kernels is fastest on a device: each class of work is timed in each of its forms,
//! on small inputs.

use super::choice::Choice;
use super::program::Program;
use super::record::Tape;
use super::step::Step;
use super::testing::{Case, Fill};
use crate::gpu::{Context, KernelChoices};
use crate::output::note;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time after which no further class is begun. The rest gets its first form, also in later
/// programs, so that all of them use the same forms.
const BUDGET: Duration = Duration::from_secs(5);
/// Runs of which the fastest counts. One run before them does not: drivers compile then.
const RUNS: usize = 2;
/// Another form than the first is chosen if it takes at most this share of the first one's time.
const GAIN: f64 = 0.95;

/// A tape with what `write` records, in the fastest forms of kernels, and the result of `write`.
///
/// If kernels are measured on the device ([`Gpu::measure_kernels`](crate::gpu::Gpu)), classes of
/// work that have no choice yet are timed first, and then the tape is recorded again. Several ranks
/// use the forms that rank 0 measured.
///
/// # Errors
/// A device that was lost or is out of memory.
pub fn record<R>(ctx: &Context, write: impl Fn(&mut Tape) -> R) -> Result<(Tape, R)> {
    let ranks = &*ctx.ranks;
    if !ranks.is_first() {
        let choices = ctx.share_kernel_choices(ranks, &KernelChoices::default())?;
        let mut tape = Tape::on(ctx);
        tape.set_choices(Rc::new(choices));
        let result = write(&mut tape);
        return Ok((tape, result));
    }
    let (tape, result) = record_fastest(ctx, write)?;
    if ranks.is_one_of_several() {
        ctx.share_kernel_choices(ranks, &tape.recorded_forms())?;
    }
    Ok((tape, result))
}

fn record_fastest<R>(ctx: &Context, write: impl Fn(&mut Tape) -> R) -> Result<(Tape, R)> {
    let begin = || {
        let mut tape = Tape::on(ctx);
        let result = write(&mut tape);
        (tape, result)
    };
    let (tape, result) = begin();
    let open: BTreeMap<&str, &Choice> = tape
        .made_choices()
        .iter()
        .filter(|choice| ctx.kernel_choices().get(&choice.class.name).is_none())
        .map(|choice| (choice.class.name.as_str(), choice))
        .collect();
    if open.is_empty() || !ctx.gpu.measures_kernels() {
        return Ok((tape, result));
    }
    ctx.gpu.add_measured(|known| {
        let began = Instant::now();
        let mut new = KernelChoices::default();
        for (name, choice) in open {
            if known.get(name).is_some() || new.get(name).is_some() {
                continue;
            }
            if new.is_empty() {
                note("measuring which kernels are fastest on this device (once for each model)");
            }
            if began.elapsed() < BUDGET {
                measure(ctx, &tape, choice, known, &mut new)?;
            } else {
                new.insert(name, choice.form);
            }
        }
        Ok(new)
    })?;
    Ok(begin())
}

/// Times the node of a choice in all forms of its classes, forward and backward. Choices that are
/// known stay.
fn measure(ctx: &Context, tape: &Tape, choice: &Choice, known: &KernelChoices, new: &mut KernelChoices) -> Result<()> {
    let op = tape.nodes()[choice.node].op.clone();
    let inputs = choice.class.inputs.iter().map(|&shape| (shape, Fill::Normal(1.0))).collect();
    let measured = match time_forms(ctx, &Case { op, inputs }, RUNS) {
        Ok(measured) => measured,
        Err(error) => {
            // Not a reason to stop, unless the device failed: the inputs may be too large for it.
            ctx.gpu.check().map_err(while_measuring)?;
            note(format_args!("{}: not measured: {error}", choice.class.name));
            new.insert(&choice.class.name, choice.form);
            return Ok(());
        }
    };
    for FormTimes { class, times } in measured {
        let Some(&(first, default)) = times.first() else { continue };
        let (best, fastest) = times.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((first, default));
        if known.get(&class).is_some() {
            continue;
        }
        new.insert(&class, if fastest <= GAIN * default { best } else { first });
    }
    Ok(())
}

/// The error of a device that failed while kernels were measured. The batch of the run is not the
/// cause.
fn while_measuring(error: Error) -> Error {
    match error {
        Error::Device(problem) => Error::Device(format!(
            "{problem}. It happened while kernels were measured; --kernels default does not measure them"
        )),
        error => error,
    }
}

/// Times of the forms of a class of work.
#[derive(Clone, Debug)]
pub struct FormTimes {
    /// Name of the class.
    pub class: String,
    /// The forms, with the seconds of the fastest run by the clock.
    pub times: Vec<(&'static str, f64)>,
}

/// Times the classes of work of a case in each of their forms, in turns. The first run of each does
/// not count: drivers compile then.
///
/// # Errors
/// A device that was lost or is out of memory.
pub fn time_forms(ctx: &Context, case: &Case, runs: usize) -> Result<Vec<FormTimes>> {
    let mut programs = Vec::new();
    let mut values = None;
    for choices in case.forms(ctx.target()) {
        let recorded = case.record_with(ctx.target(), 1, choices);
        let mut ctx = ctx.fork();
        recorded.fill_with(&mut ctx, values.get_or_insert_with(|| recorded.values()))?;
        let program = Program::compile(&mut ctx, &recorded.tape)?;
        ctx.wait_for(&program.run(&ctx, &Step::default())?)?;
        programs.push((ctx, program, recorded.tape));
    }
    let mut classes: BTreeMap<&str, Vec<(&'static str, f64)>> = BTreeMap::new();
    for (ctx, program, tape) in std::iter::repeat_n(&programs, runs).flatten() {
        for made in tape.made_choices() {
            let began = Instant::now();
            ctx.wait_for(&program.run_calls(ctx, made.calls.clone(), &Step::default())?)?;
            let seconds = began.elapsed().as_secs_f64();
            let times = classes.entry(&made.class.name).or_default();
            match times.iter_mut().find(|(form, _)| *form == made.form) {
                Some((_, fastest)) => *fastest = fastest.min(seconds),
                None => times.push((made.form, seconds)),
            }
        }
    }
    Ok(classes.into_iter().map(|(class, times)| FormTimes { class: class.into(), times }).collect())
}
