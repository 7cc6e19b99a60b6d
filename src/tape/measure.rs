//! Which form of kernels is fastest on a device: each class of work is timed in each of its forms,
//! on small inputs.

use super::choice::{Choice, KernelClass};
use super::program::Program;
use super::record::Tape;
use super::step::Step;
use super::testing::{Case, Fill};
use crate::Result;
use crate::gpu::{Context, KernelChoices};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Time after which no further class is measured. The rest gets its first form.
const BUDGET: Duration = Duration::from_secs(5);
/// Runs of which the fastest counts. One run before them does not: drivers compile then.
const RUNS: usize = 2;
/// Another form than the first is chosen if it takes at most this share of the first one's time.
const GAIN: f64 = 0.95;

/// A tape with what `write` records, in the fastest forms of kernels, and the result of `write`.
///
/// If kernels are measured on the device ([`Gpu::measure_kernels`](crate::gpu::Gpu)), classes of
/// work that have no choice yet are timed first, and then the tape is recorded again.
///
/// # Errors
/// A device that was lost or is out of memory.
pub fn record<R>(ctx: &Context, write: impl Fn(&mut Tape) -> R) -> Result<(Tape, R)> {
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
            if known.get(name).is_none() && new.get(name).is_none() && began.elapsed() < BUDGET {
                measure(ctx, &tape, choice, &mut new)?;
            }
        }
        Ok(new)
    })?;
    Ok(begin())
}

/// Times the node of a choice in all forms of its classes, forward and backward.
fn measure(ctx: &Context, tape: &Tape, choice: &Choice, new: &mut KernelChoices) -> Result<()> {
    let op = tape.nodes()[choice.node].op.clone();
    let inputs = choice.class.inputs.iter().map(|&shape| (shape, Fill::Normal(1.0))).collect();
    let case = Case { op, inputs };
    let mut times: BTreeMap<String, (KernelClass, Vec<(&str, f64)>)> = BTreeMap::new();
    for &form in &choice.class.forms {
        // The other classes of the node too: they are timed in one go.
        let mut forced = KernelChoices::default();
        let default = case.record(ctx.target(), 1).tape;
        default.made_choices().iter().for_each(|made| forced.insert(&made.class.name, form));
        let recorded = case.record_with(ctx.target(), 1, Rc::new(forced));
        let mut ctx = ctx.fork();
        recorded.fill(&mut ctx)?;
        let program = Program::compile(&mut ctx, &recorded.tape)?;
        ctx.wait_for(&program.run(&ctx, &Step::default())?)?;
        for made in recorded.tape.made_choices() {
            let mut fastest = f64::INFINITY;
            for _ in 0..RUNS {
                let start = Instant::now();
                ctx.wait_for(&program.run_calls(&ctx, made.calls.clone(), &Step::default())?)?;
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
            let entry = times.entry(made.class.name.clone()).or_insert_with(|| (made.class.clone(), vec![]));
            entry.1.push((made.form, fastest));
        }
    }
    for (name, (class, times)) in times {
        let Some(&first) = class.forms.first() else { continue };
        let of = |form: &str| times.iter().find(|(other, _)| *other == form).map_or(f64::INFINITY, |&(_, time)| time);
        let best = class.forms.iter().copied().min_by(|a, b| of(a).total_cmp(&of(b))).unwrap_or(first);
        new.insert(&name, if of(best) <= GAIN * of(first) { best } else { first });
    }
    Ok(())
}
