//! The kernels of a program, bound to their buffers, and the passes that replay them.

use super::OFFSET_ALIGNMENT;
use super::allocation::create_buffer;
use super::context::Context;
use super::first_dispatch::NewKernel;
use super::pipeline::{Pipeline, step_layout};
use super::shader::Entry;
use super::submission::Submission;
use crate::{Error, Result};
use std::num::NonZero;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

/// A kernel bound to its operands: everything that a dispatch needs.
pub(super) struct BoundKernel {
    pipeline: Rc<Pipeline>,
    operands: wgpu::BindGroup,
    takes_step: bool,
    groups: [u32; 3],
}

/// A kernel call, as [`CommandList::bind`] takes it.
#[derive(Clone, Copy)]
pub struct BoundCall<'a> {
    /// The entry point.
    pub entry: &'static Entry,
    /// Buffer and size in bytes of each of its bindings, in their order.
    pub operands: &'a [(BufferSlot<'a>, u64)],
    /// A value for each of its constants.
    pub constants: &'a [f64],
    /// The words of its uniform `dims`.
    pub dims: &'a [u32],
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
    /// Its work, as in [`work`](super::work).
    pub work: f64,
}

/// The storage of an operand.
pub enum BufferSlot<'a> {
    /// A transient buffer of the program, by number, at an offset in bytes.
    Transient(usize, u64),
    /// A named buffer at an offset in bytes.
    Named(&'a str, u64),
}

/// The sizes of a program's transient buffers and uniforms, in bytes.
pub struct BufferSizes<'a> {
    /// Each transient buffer.
    pub slots: &'a [u64],
    /// The uniform that changes with each run.
    pub step: u64,
    /// The uniforms `dims` of all kernels, each padded to [`OFFSET_ALIGNMENT`].
    pub dims: u64,
}

/// The kernels of a program, its transient buffers, and its uniforms.
pub struct CommandList {
    pub(super) kernels: Vec<BoundKernel>,
    /// Work of each kernel.
    pub(super) work: Vec<f64>,
    slots: Vec<wgpu::Buffer>,
    dims: Option<wgpu::Buffer>,
    dims_words: Vec<u32>,
    pub(super) step: wgpu::Buffer,
    step_group: wgpu::BindGroup,
}

impl CommandList {
    /// Allocates the buffers; no kernels yet.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a transient buffer larger than one binding, [`Error::Device`] if the
    /// device is out of memory.
    pub fn new(ctx: &Context, sizes: &BufferSizes<'_>) -> Result<CommandList> {
        let limit = ctx.gpu.max_binding();
        if let Some(&bytes) = sizes.slots.iter().find(|&&bytes| bytes > limit) {
            let advice = "a tensor may not be larger than one binding; use a smaller batch".into();
            return Err(Error::TooLarge { what: "a tensor of the program".into(), bytes, limit, advice });
        }
        let allocate = |(i, &bytes): (usize, &u64)| ctx.gpu.allocate(&format!("slot {i}"), bytes);
        let slots = sizes.slots.iter().enumerate().map(allocate).collect::<Result<_>>()?;
        let device = &ctx.gpu.device;
        let uniform = |label, size| {
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let label = Some(label);
            create_buffer(device, &wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
        };
        let step = uniform("step", sizes.step)?;
        let step_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &step_layout(device),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: step.as_entire_binding() }],
        });
        let dims = (sizes.dims > 0).then(|| uniform("dims", sizes.dims)).transpose()?;
        Ok(CommandList { kernels: Vec::new(), work: Vec::new(), slots, dims, dims_words: Vec::new(), step, step_group })
    }

    /// Compiles kernels by several threads: entry points, with a value for each constant and the
    /// words of the uniform `dims`.
    pub fn compile<'a>(ctx: &Context, kernels: impl IntoIterator<Item = (&'static Entry, &'a [f64], &'a [u32])>) {
        let new = |(entry, constants, dims)| NewKernel { entry, constants, dims };
        ctx.gpu.compile(kernels.into_iter().map(new));
    }

    /// Compiles a kernel and binds its operands.
    ///
    /// # Errors
    /// [`Error::Config`] for a named buffer that does not exist.
    pub fn bind(&mut self, ctx: &Context, call: &BoundCall<'_>) -> Result<()> {
        let BoundCall { entry, operands, constants, dims, groups, work } = *call;
        let pipeline = ctx.gpu.pipeline(entry, constants);
        let mut entries = Vec::with_capacity(operands.len() + 1);
        let mut add = |index, buffer, offset, bytes| {
            let resource =
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size: NonZero::new(bytes) });
            entries.push(wgpu::BindGroupEntry { binding: index, resource });
        };
        for (binding, (slot, bytes)) in entry.bindings.iter().zip(operands) {
            let (buffer, offset) = match slot {
                BufferSlot::Transient(number, offset) => (&self.slots[*number], *offset),
                BufferSlot::Named(name, offset) => (ctx.buffers.buffer(name)?, *offset),
            };
            add(binding.index, buffer, offset, *bytes);
        }
        if let (Some((index, bytes)), Some(buffer)) = (entry.uniform, &self.dims) {
            let offset = self.dims_words.len() as u64 * 4;
            self.dims_words.extend(dims);
            self.dims_words.resize(self.dims_words.len().next_multiple_of(OFFSET_ALIGNMENT as usize / 4), 0);
            add(index, buffer, offset, u64::from(bytes));
        }
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(entry.label), layout: &pipeline.layout, entries: &entries };
        let operands = ctx.gpu.device.create_bind_group(&descriptor);
        self.work.push(work);
        self.kernels.push(BoundKernel { pipeline, operands, takes_step: entry.takes_step, groups });
        Ok(())
    }

    /// Writes the uniform `dims` of all kernels. Called once, after the last [`CommandList::bind`].
    ///
    /// # Errors
    /// [`Error::Device`] for a kernel that the driver did not compile or an operand that it did not
    /// bind.
    pub fn finish(&self, ctx: &Context) -> Result<()> {
        if let Some(buffer) = &self.dims {
            ctx.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&self.dims_words));
        }
        ctx.gpu.check()
    }

    /// Runs the kernels in `range`: one small write, then one pass and one submit for each range
    /// of [`Pace::split`](super::Pace::split). Does not wait.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&self, ctx: &Context, range: Range<usize>, step: &[u8]) -> Result<Submission> {
        let submitted = Instant::now();
        ctx.gpu.queue.write_buffer(&self.step, 0, step);
        let (kernels, work) = (&self.kernels[range.clone()], &self.work[range]);
        let mut last = None;
        for part in ctx.gpu.pace().split(work) {
            let mut encoder = ctx.gpu.device.create_command_encoder(&Default::default());
            {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                kernels[part].iter().for_each(|kernel| self.encode(&mut pass, kernel));
                ctx.gpu.counter.count(&mut pass);
            }
            last = Some(ctx.gpu.submit(Some(encoder)));
        }
        // Without kernels, the write is submitted.
        let index = last.unwrap_or_else(|| ctx.gpu.submit(None));
        ctx.gpu.check()?;
        ctx.gpu.pace().began(submitted, work.iter().sum());
        Ok(Submission { index, submitted })
    }

    /// The ranges of kernels that a run would submit now.
    pub fn submissions(&self, ctx: &Context) -> Vec<Range<usize>> {
        ctx.gpu.pace().split(&self.work)
    }

    pub(super) fn encode(&self, pass: &mut wgpu::ComputePass<'_>, kernel: &BoundKernel) {
        pass.set_pipeline(&kernel.pipeline.compute);
        pass.set_bind_group(0, &kernel.operands, &[]);
        if kernel.takes_step {
            pass.set_bind_group(1, &self.step_group, &[]);
        }
        let [x, y, z] = kernel.groups;
        pass.dispatch_workgroups(x, y, z);
    }

    /// Writes the first words of a transient buffer. Tests start from NaN.
    pub fn write_slot(&self, ctx: &Context, slot: usize, words: &[u32]) {
        ctx.gpu.queue.write_buffer(&self.slots[slot], 0, bytemuck::cast_slice(words));
    }

    /// Reads the first `count` words of a transient buffer; waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn read_slot(&self, ctx: &Context, slot: usize, count: usize) -> Result<Vec<u32>> {
        ctx.gpu.start_read(&self.slots[slot], 0, count as u64 * 4)?.wait(&ctx.gpu)
    }
}
