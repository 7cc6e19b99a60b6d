//! Kernels made ready to run: compiled pipelines, bind groups, and the passes that replay them.

use super::context::Context;
use super::device::{BoundsChecks, Gpu};
use super::shader::{Access, Entry, link_with};
use crate::{Error, Result};
use std::collections::HashMap;
use std::rc::Rc;

/// Compiled modules by shader name, pipelines by label and constants.
#[derive(Default)]
pub(super) struct PipelineCache {
    modules: HashMap<&'static str, Rc<wgpu::ShaderModule>>,
    pipelines: HashMap<(&'static str, Vec<u64>), Rc<Pipeline>>,
}

impl PipelineCache {
    pub(super) fn clear(&mut self) {
        self.modules.clear();
        self.pipelines.clear();
    }
}

struct Pipeline {
    compute: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// A kernel with its operands: what a dispatch needs, made once.
pub(super) struct BoundKernel {
    pipeline: Rc<Pipeline>,
    operands: wgpu::BindGroup,
    takes_step: bool,
    groups: [u32; 3],
}

/// What [`CommandList::bind`] makes ready.
#[derive(Clone, Copy)]
pub struct BoundCall<'a> {
    /// The entry point.
    pub entry: &'static Entry,
    /// Place and bytes of each of its bindings, in their order.
    pub operands: &'a [(BufferSlot<'a>, u64)],
    /// A value for each of its constants.
    pub constants: &'a [f64],
    /// The words of its uniform `dims`.
    pub dims: &'a [u32],
    /// Workgroups in each dimension.
    pub groups: [u32; 3],
}

/// The kernels of a program, its slot buffers, and the uniforms they share.
pub struct CommandList {
    pub(super) kernels: Vec<BoundKernel>,
    slots: Vec<wgpu::Buffer>,
    dims: Option<wgpu::Buffer>,
    dims_words: Vec<u32>,
    pub(super) step: wgpu::Buffer,
    step_group: wgpu::BindGroup,
}

/// A run that was submitted: what to wait for.
pub struct Submission(pub(super) wgpu::SubmissionIndex);

/// Where an operand of [`CommandList::bind`] lies, in words of the caller: a slot, or named memory.
pub enum BufferSlot<'a> {
    /// Slot buffer of this program, by number, at an offset in bytes.
    Transient(usize, u64),
    /// Named memory at an offset in bytes.
    Named(&'a str, u64),
}

impl Gpu {
    fn module(&self, entry: &Entry) -> Rc<wgpu::ShaderModule> {
        if let Some(module) = self.pipelines.borrow().modules.get(entry.shader.name) {
            return module.clone();
        }
        let text = self.replacement(entry.shader.name).unwrap_or_else(|| entry.shader.text.to_owned());
        let source = wgpu::ShaderSource::Wgsl(link_with(&text, self.target(), |name| self.replacement(name)).into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(entry.shader.name), source };
        let checks = match self.checks {
            BoundsChecks::On => {
                wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() }
            }
            BoundsChecks::Off => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        // SAFETY: without checks a kernel that left its buffers would be undefined behaviour. The kernel tests run with the
        // checks on and off, between guard bands, over shapes that exercise every edge.
        let module = Rc::new(unsafe { self.device.create_shader_module_trusted(descriptor, checks) });
        self.pipelines.borrow_mut().modules.insert(entry.shader.name, module.clone());
        module
    }

    fn pipeline(&self, entry: &'static Entry, constants: &[f64]) -> Rc<Pipeline> {
        let key = (entry.label, constants.iter().map(|c| c.to_bits()).collect::<Vec<_>>());
        if let Some(pipeline) = self.pipelines.borrow().pipelines.get(&key) {
            return pipeline.clone();
        }
        let buffer = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let storage = |access| wgpu::BufferBindingType::Storage { read_only: access == Access::Read };
        let mut entries: Vec<_> = entry.bindings.iter().map(|b| buffer(b.index, storage(b.access))).collect();
        entries.extend(entry.uniform.map(|(index, _)| buffer(index, wgpu::BufferBindingType::Uniform)));
        let group = |entries| {
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(entry.label), entries })
        };
        let layout = group(&entries);
        let step = self.step_layout();
        let groups = [Some(&layout), Some(&step)];
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(entry.label),
            bind_group_layouts: &groups[..if entry.takes_step { 2 } else { 1 }],
            ..Default::default()
        });
        let constants: Vec<_> = entry.constants.iter().copied().zip(constants.iter().copied()).collect();
        let compute = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry.label),
            layout: Some(&pipeline_layout),
            module: &self.module(entry),
            entry_point: Some(entry.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let pipeline = Rc::new(Pipeline { compute, layout });
        self.pipelines.borrow_mut().pipelines.insert(key, pipeline.clone());
        pipeline
    }

    fn step_layout(&self) -> wgpu::BindGroupLayout {
        let ty = wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Uniform,
            has_dynamic_offset: false,
            min_binding_size: None,
        };
        let entry = wgpu::BindGroupLayoutEntry { binding: 0, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None };
        self.device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("step"), entries: &[entry] })
    }

    /// Pipelines compiled so far on this device.
    pub fn pipeline_count(&self) -> usize {
        self.pipelines.borrow().pipelines.len()
    }
}

impl CommandList {
    /// No kernels yet; slot buffers of the given sizes (bytes), and a uniform of `step_bytes` that changes each run.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a slot larger than one binding, [`Error::Device`] when the device is out of memory.
    pub fn new(ctx: &Context, slots: &[u64], step_bytes: u64, dims_bytes: u64) -> Result<CommandList> {
        let limit = ctx.gpu.max_binding();
        if let Some(&bytes) = slots.iter().find(|&&bytes| bytes > limit) {
            let advice = "a tensor may not be larger than one binding; use a smaller batch".into();
            return Err(Error::TooLarge { what: "a tensor of the program".into(), bytes, limit, advice });
        }
        let slots = slots
            .iter()
            .enumerate()
            .map(|(i, &bytes)| ctx.gpu.allocate(&format!("slot {i}"), bytes))
            .collect::<Result<_>>()?;
        let uniform = |label, size| {
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            ctx.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        let step = uniform("step", step_bytes);
        let step_group = ctx.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &ctx.gpu.step_layout(),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: step.as_entire_binding() }],
        });
        let dims = (dims_bytes > 0).then(|| uniform("dims", dims_bytes));
        Ok(CommandList { kernels: Vec::new(), slots, dims, dims_words: Vec::new(), step, step_group })
    }

    /// Compiles a kernel and binds its operands.
    pub fn bind(&mut self, ctx: &Context, call: &BoundCall<'_>) -> Result<()> {
        let BoundCall { entry, operands, constants, dims, groups } = *call;
        let pipeline = ctx.gpu.pipeline(entry, constants);
        let mut entries = Vec::with_capacity(operands.len() + 1);
        for (binding, (place, bytes)) in entry.bindings.iter().zip(operands) {
            let (buffer, offset) = match place {
                BufferSlot::Transient(number, offset) => (&self.slots[*number], *offset),
                BufferSlot::Named(name, offset) => (ctx.buffers.buffer(name)?, *offset),
            };
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZero::new(*bytes),
            });
            entries.push(wgpu::BindGroupEntry { binding: binding.index, resource });
        }
        if let (Some((index, span)), Some(buffer)) = (entry.uniform, &self.dims) {
            let offset = self.dims_words.len() as u64 * 4;
            self.dims_words.extend(dims);
            self.dims_words.resize(self.dims_words.len().next_multiple_of(super::OFFSET_ALIGNMENT as usize / 4), 0);
            let size = std::num::NonZero::new(u64::from(span));
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
            entries.push(wgpu::BindGroupEntry { binding: index, resource });
        }
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(entry.label), layout: &pipeline.layout, entries: &entries };
        let operands = ctx.gpu.device.create_bind_group(&descriptor);
        self.kernels.push(BoundKernel { pipeline, operands, takes_step: entry.takes_step, groups });
        Ok(())
    }

    /// Writes the uniform `dims` of all kernels; once, after the last `bind`.
    ///
    /// # Errors
    /// [`Error::Device`] for a kernel that the driver did not compile or an operand that it did not bind.
    pub fn finish(&self, ctx: &Context) -> Result<()> {
        if let Some(buffer) = &self.dims {
            ctx.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&self.dims_words));
        }
        ctx.gpu.check()
    }

    /// Replays the kernels in `range`: one small write, one pass, one submit.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn run(&self, ctx: &Context, range: std::ops::Range<usize>, step: &[u8]) -> Result<Submission> {
        ctx.gpu.queue.write_buffer(&self.step, 0, step);
        let mut encoder = ctx.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for kernel in &self.kernels[range] {
                self.encode(&mut pass, kernel);
            }
        }
        let submitted = ctx.gpu.queue.submit([encoder.finish()]);
        ctx.gpu.check()?;
        Ok(Submission(submitted))
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

    /// Fills a slot with a bit pattern: tests start from NaN.
    pub fn fill_slot(&self, ctx: &Context, slot: usize, word: u32) {
        let words = vec![word; self.slots[slot].size() as usize / 4];
        ctx.gpu.queue.write_buffer(&self.slots[slot], 0, bytemuck::cast_slice(&words));
    }

    /// Reads `count` words of a slot.
    ///
    /// # Errors
    /// [`Error::Device`] if the device was lost.
    pub fn read_slot(&self, ctx: &Context, slot: usize, count: usize) -> Result<Vec<u32>> {
        ctx.gpu.start_read(&self.slots[slot], 0, count as u64 * 4)?.wait(ctx)
    }

    /// Writes words to a slot from its beginning.
    pub fn write_slot(&self, ctx: &Context, slot: usize, words: &[u32]) {
        ctx.gpu.queue.write_buffer(&self.slots[slot], 0, bytemuck::cast_slice(words));
    }
}
