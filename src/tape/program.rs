//! A tape compiled for a device: compiled once, replayed every step.

use super::array::Array;
use super::kernel::Dispatch;
use super::memory_plan::{Plan, PlanOptions};
use super::record::Tape;
use super::step::Step;
use super::tensor::{BufferOffset, Storage, Tensor};
use crate::gpu::{
    BoundCall, BufferSizes, BufferSlot, CommandList, Context, KernelChoices, OFFSET_ALIGNMENT, Submission,
};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// The word in the guards of a transient buffer: a NaN, so that a kernel that reads it gives a
/// wrong result. Each buffer has a different word, because a kernel that reads the guard of its
/// input may write the same NaN over the guard of its result.
fn guard_word(slot: usize) -> u32 {
    0x7fe0_0000 | (slot as u32 + 1)
}

/// A compiled tape. Pipelines, transient buffers and bind groups are made once. A run is one small
/// write, and a pass and a submit for about 0.1 s of work.
pub struct Program {
    commands: CommandList,
    plan: Plan,
    calls: usize,
    guard: u64,
    forms: KernelChoices,
}

impl Program {
    /// Plans memory, compiles the kernels and binds their operands. Named buffers that do not exist
    /// yet are made, filled with zeros.
    ///
    /// # Errors
    /// A tensor larger than the device's bindings, out of memory, or a named buffer of another
    /// size.
    pub fn compile(ctx: &mut Context, tape: &Tape) -> Result<Program> {
        Program::compile_with(ctx, tape, PlanOptions::default())
    }

    /// [`Program::compile`] with options of the memory plan.
    ///
    /// # Errors
    /// As [`Program::compile`].
    ///
    /// # Panics
    /// If the tape was recorded for another target than the device's.
    pub fn compile_with(ctx: &mut Context, tape: &Tape, options: PlanOptions) -> Result<Program> {
        assert_eq!(tape.target(), ctx.target(), "the tape was recorded for another target");
        Program::check_bindings(ctx, tape)?;
        for (name, bytes) in tape.buffer_sizes() {
            if !ctx.buffers.contains(&name) || ctx.buffers.bytes(&name) < bytes {
                ctx.require(&name, bytes)?;
            }
        }
        for (name, words) in &tape.constants {
            ctx.write(name, 0, words)?;
        }
        let plan = tape.plan(options);
        let uniforms = tape.calls().iter().filter(|call| call.dispatch.entry.uniform.is_some()).count() as u64;
        let sizes =
            BufferSizes { slots: &plan.slots, step: size_of::<Step>() as u64, dims: uniforms * OFFSET_ALIGNMENT };
        let mut commands = CommandList::new(ctx, &sizes)?;
        CommandList::compile(
            ctx,
            tape.calls()
                .iter()
                .map(|call| (call.dispatch.entry, &call.dispatch.constants[..], &call.dispatch.dims[..])),
        );
        for call in tape.calls() {
            let operands: Vec<(BufferSlot<'_>, u64)> = call
                .dispatch
                .operands
                .iter()
                .map(|&x| match tape.place(&plan, x, options.guard) {
                    // The guard after a tensor is bound with it. Otherwise drivers drop writes
                    // there, and no test would notice them.
                    place @ BufferSlot::Transient(..) => (place, tape.shape(x).bytes() + options.guard),
                    place => (place, tape.shape(x).bytes()),
                })
                .collect();
            let Dispatch { entry, constants, dims, .. } = &call.dispatch;
            let work = tape.work(call);
            let bound = BoundCall { entry, operands: &operands, constants, dims, groups: call.groups, work };
            commands.bind(ctx, &bound)?;
        }
        commands.finish(ctx)?;
        let forms = tape.recorded_forms();
        Ok(Program { commands, plan, calls: tape.calls().len(), guard: options.guard, forms })
    }

    /// Checks that the device can bind every tensor of a tape. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] naming the first tensor that is larger than the device's bindings.
    pub fn check_bindings(ctx: &Context, tape: &Tape) -> Result<()> {
        tape.check_size()?;
        let limit = ctx.gpu.max_binding();
        for call in tape.calls() {
            for (&x, binding) in call.dispatch.operands.iter().zip(call.dispatch.entry.bindings) {
                let bytes = tape.shape(x).bytes();
                if bytes > limit {
                    let what = format!("`{}` of {} ({})", binding.name, call.dispatch.entry.label, tape.shape(x));
                    return Err(Error::TooLarge {
                        what,
                        bytes,
                        limit,
                        advice: "use a smaller batch or smaller images".into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Runs all calls. Does not wait for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&self, ctx: &Context, step: &Step) -> Result<Submission> {
        self.run_calls(ctx, 0..self.calls, step)
    }

    /// Runs some of the calls.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_calls(&self, ctx: &Context, calls: Range<usize>, step: &Step) -> Result<Submission> {
        self.commands.run(ctx, calls, bytemuck::bytes_of(step))
    }

    /// Runs each call alone, and returns their times on the device in nanoseconds.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost or has no time stamps.
    pub fn run_timed(&self, ctx: &Context, step: &Step) -> Result<Vec<f64>> {
        self.commands.run_timed(ctx, bytemuck::bytes_of(step))
    }

    /// The ranges of calls that a run would submit now, one submission each.
    pub fn submissions(&self, ctx: &Context) -> Vec<Range<usize>> {
        self.commands.submissions(ctx)
    }

    /// The form of kernels of each class of work that has several.
    pub fn forms(&self) -> &KernelChoices {
        &self.forms
    }

    /// Bytes of the transient buffers.
    pub fn slot_bytes(&self) -> u64 {
        self.plan.slots.iter().sum()
    }

    /// The memory plan that it was compiled with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Fills all transient buffers with one word, and their guards with a different NaN for
    /// each buffer. For plans in which tensors do not share buffers.
    pub fn fill_slots(&self, ctx: &Context, tape: &Tape, word: u32) {
        for (&x, &slot) in &self.plan.slot_of {
            let mut words = vec![guard_word(slot); self.plan.slots[slot] as usize / 4];
            words[self.data_words(tape, x)].fill(word);
            self.commands.write_slot(ctx, slot, &words);
        }
    }

    /// Finds a guard that has changed since [`Program::fill_slots`], and returns the tensor next to
    /// it.
    pub fn find_broken_guard(&self, ctx: &Context, tape: &Tape) -> Result<Option<Tensor>> {
        for (&x, &slot) in &self.plan.slot_of {
            let words = self.commands.read_slot(ctx, slot, self.plan.slots[slot] as usize / 4)?;
            let data = self.data_words(tape, x);
            if words[..data.start].iter().chain(&words[data.end..]).any(|&word| word != guard_word(slot)) {
                return Ok(Some(x));
            }
        }
        Ok(None)
    }

    /// The words of a transient tensor within its guarded buffer.
    fn data_words(&self, tape: &Tape, x: Tensor) -> Range<usize> {
        let guard = self.guard as usize / 4;
        guard..guard + tape.shape(x).bytes() as usize / 4
    }

    /// Reads a tensor from a named buffer, or from a transient buffer that no later tensor has
    /// overwritten.
    ///
    /// # Panics
    /// If no call names the tensor, because then it has no storage.
    pub fn read_words(&self, ctx: &Context, tape: &Tape, x: Tensor) -> Result<Vec<u32>> {
        let count = tape.shape(x).len();
        match tape.place(&self.plan, x, self.guard) {
            BufferSlot::Named(name, offset) => ctx.read(name, offset, count),
            BufferSlot::Transient(slot, offset) => {
                let skip = offset as usize / 4;
                Ok(self.commands.read_slot(ctx, slot, skip + count)?[skip..].to_vec())
            }
        }
    }

    /// [`Program::read_words`] as an array.
    pub fn read(&self, ctx: &Context, tape: &Tape, x: Tensor) -> Result<Array> {
        Ok(Array::from_words(tape.shape(x), &self.read_words(ctx, tape, x)?))
    }
}

impl Tape {
    pub(super) fn place<'a>(&'a self, plan: &Plan, x: Tensor, guard: u64) -> BufferSlot<'a> {
        let (root, offset) = self.place_in_root(x);
        match &self.root_info(x).storage {
            Storage::Named(place) => BufferSlot::Named(&place.buffer, place.offset + offset),
            _ => match plan.slot_of.get(&root) {
                Some(&slot) => BufferSlot::Transient(slot, guard + offset),
                None => panic!("no call names this tensor of shape {}", self.shape(x)),
            },
        }
    }

    /// The named buffers, and the bytes that each must have at least.
    pub fn buffer_sizes(&self) -> BTreeMap<String, u64> {
        let mut sizes = BTreeMap::new();
        for info in &self.tensors {
            let value = if let Storage::Named(place) = &info.storage { Some(place) } else { None };
            for BufferOffset { buffer, offset } in value.into_iter().chain(&info.gradient) {
                let size = sizes.entry(buffer.to_string()).or_insert(0);
                *size = (offset + info.shape.bytes()).max(*size);
            }
        }
        sizes
    }
}
