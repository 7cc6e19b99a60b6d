//! A record made ready to run on a device: compiled once, replayed every step.

use super::array::Array;
use super::emit::Dispatch;
use super::memory_plan::{Plan, PlanOptions};
use super::record::{Storage, Tape, Tensor};
use super::step::Step;
use crate::gpu::{BoundCall, BufferSizes, BufferSlot, CommandList, Context, OFFSET_ALIGNMENT, Submission};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;

/// A compiled tape: pipelines, slots and bind groups made once; a run is one small write, one pass, one submit, and no allocation.
pub struct Program {
    passes: CommandList,
    plan: Plan,
    calls: usize,
    guard: u64,
}

impl Program {
    /// Plans memory, compiles the kernels and binds their operands. Named memory that `memory` lacks is made, filled with zeros.
    ///
    /// # Errors
    /// A tensor larger than the device's bindings, out of memory, or named memory of another size.
    pub fn compile(ctx: &mut Context, tape: &Tape) -> Result<Program> {
        Program::compile_with(ctx, tape, PlanOptions::default())
    }

    /// [`Program::compile`] with the sharing of storage named.
    ///
    /// # Errors
    /// As [`Program::compile`].
    ///
    /// # Panics
    /// If the tape was recorded for another target than the device is opened for.
    pub fn compile_with(ctx: &mut Context, tape: &Tape, options: PlanOptions) -> Result<Program> {
        assert_eq!(tape.target(), ctx.target(), "the tape was recorded for another kind of device");
        let limit = ctx.gpu.max_binding();
        for call in tape.calls() {
            for (&x, binding) in call.dispatch.operands.iter().zip(call.dispatch.entry.bindings) {
                let bytes = tape.shape(x).bytes();
                if bytes > limit {
                    let what = format!("`{}` of {} ({})", binding.name, call.dispatch.entry.label, tape.shape(x));
                    return Err(Error::TooLarge { what, bytes, limit, advice: "use a smaller --batch".into() });
                }
            }
        }
        for (name, bytes) in tape.buffer_sizes() {
            if !ctx.buffers.contains(&name) || ctx.buffers.bytes(&name) < bytes {
                ctx.require(&name, bytes)?;
            }
        }
        let plan = tape.plan(options);
        let uniforms = tape.calls().iter().filter(|call| call.dispatch.entry.uniform.is_some()).count() as u64;
        let sizes =
            BufferSizes { slots: &plan.slots, step: size_of::<Step>() as u64, dims: uniforms * OFFSET_ALIGNMENT };
        let mut passes = CommandList::new(ctx, &sizes)?;
        for call in tape.calls() {
            let operands: Vec<(BufferSlot<'_>, u64)> = call
                .dispatch
                .operands
                .iter()
                .map(|&x| match tape.place(&plan, x, options.guard) {
                    // The guard behind a tensor is bound with it: else drivers drop writes there, and no test would see them.
                    place @ BufferSlot::Transient(..) => (place, tape.shape(x).bytes() + options.guard),
                    place => (place, tape.shape(x).bytes()),
                })
                .collect();
            let Dispatch { entry, constants, dims, .. } = &call.dispatch;
            let bound = BoundCall { entry, operands: &operands, constants, dims, groups: call.groups };
            passes.bind(ctx, &bound)?;
        }
        passes.finish(ctx)?;
        Ok(Program { passes, plan, calls: tape.calls().len(), guard: options.guard })
    }

    /// Runs all calls; does not wait for the device.
    ///
    /// # Errors
    /// The device was lost.
    pub fn run(&self, ctx: &Context, step: &Step) -> Result<Submission> {
        self.run_calls(ctx, 0..self.calls, step)
    }

    /// Runs some of the calls.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_calls(&self, ctx: &Context, calls: Range<usize>, step: &Step) -> Result<Submission> {
        self.passes.run(ctx, calls, bytemuck::bytes_of(step))
    }

    /// Runs every call alone and returns its time on the device in nanoseconds.
    ///
    /// # Errors
    /// The device was lost, or has no time stamps.
    pub fn run_timed(&self, ctx: &Context, step: &Step) -> Result<Vec<f64>> {
        self.passes.run_timed(ctx, bytemuck::bytes_of(step))
    }

    /// Bytes of the slot buffers.
    pub fn slot_bytes(&self) -> u64 {
        self.plan.slots.iter().sum()
    }

    /// The memory plan it was compiled with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Fills all slots, guards included, with one word.
    pub fn fill_slots(&self, ctx: &Context, word: u32) {
        (0..self.plan.slots.len()).for_each(|slot| self.passes.fill_slot(ctx, slot, word));
    }

    /// Whether every guard still holds `word`; `Err` is the tensor beside the broken one.
    ///
    /// # Errors
    /// The device's.
    pub fn check_guards(&self, ctx: &Context, tape: &Tape, word: u32) -> Result<std::result::Result<(), Tensor>> {
        for (&x, &slot) in &self.plan.slot_of {
            let words = self.passes.read_slot(ctx, slot, self.plan.slots[slot] as usize / 4)?;
            let (guard, data) = (self.guard as usize / 4, tape.shape(x).bytes() as usize / 4);
            if words[..guard].iter().chain(&words[guard + data..]).any(|&w| w != word) {
                return Ok(Err(x));
            }
        }
        Ok(Ok(()))
    }

    /// Reads a tensor: of named memory, or of a slot that no later tensor has taken.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If no call names the tensor: it has no storage then.
    pub fn read_words(&self, ctx: &Context, tape: &Tape, x: Tensor) -> Result<Vec<u32>> {
        let count = tape.shape(x).len();
        match tape.place(&self.plan, x, self.guard) {
            BufferSlot::Named(name, offset) => ctx.read(name, offset, count),
            BufferSlot::Transient(slot, offset) => {
                let skip = offset as usize / 4;
                Ok(self.passes.read_slot(ctx, slot, skip + count)?[skip..].to_vec())
            }
        }
    }

    /// [`Program::read_words`] as an array.
    ///
    /// # Errors
    /// As [`Program::read_words`].
    pub fn read(&self, ctx: &Context, tape: &Tape, x: Tensor) -> Result<Array> {
        Ok(Array::from_words(tape.shape(x), &self.read_words(ctx, tape, x)?))
    }
}

impl Tape {
    fn place<'a>(&'a self, plan: &Plan, x: Tensor, guard: u64) -> BufferSlot<'a> {
        let root = self.root(x);
        match &self.tensors[root.0 as usize].storage {
            Storage::Named { name, offset } => BufferSlot::Named(name, *offset),
            _ => match plan.slot_of.get(&root) {
                Some(&slot) => BufferSlot::Transient(slot, guard),
                None => panic!("a tensor of shape {} is named by no call", self.shape(x)),
            },
        }
    }

    /// Named memory and the bytes that its tensors reach to.
    pub fn buffer_sizes(&self) -> BTreeMap<String, u64> {
        let mut sizes = BTreeMap::new();
        let gradients = self
            .tensors
            .iter()
            .filter_map(|info| info.gradient.as_ref().map(|(name, offset)| (name, *offset, info.shape)));
        let views = self.tensors.iter().filter_map(|info| match &info.storage {
            Storage::Named { name, offset } => Some((name, *offset, info.shape)),
            _ => None,
        });
        for (name, offset, shape) in views.chain(gradients) {
            let size = sizes.entry(name.to_string()).or_insert(0);
            *size = (offset + shape.bytes()).max(*size);
        }
        sizes
    }
}
