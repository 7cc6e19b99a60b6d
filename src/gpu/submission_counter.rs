//! Counts submissions on the device, so that one that did not run is noticed.
//!
//! A driver may stop a command buffer without an error: Metal signals its fence all the same. Each
//! submission therefore adds 1 to a number on the device, and each read compares this number with
//! the number of submissions that were sent. wgpu writes buffers in separate command buffers before
//! the submission's own. These are not counted.

use super::allocation::create_buffer;
use super::pipeline::layout_entry;
use crate::Result;
use std::cell::Cell;

const SHADER: &str = "
@group(0) @binding(0) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn add_one() {
    count[0] += 1u;
}
";

/// The number of submissions that were sent, and a buffer with the number of those that ran.
pub(super) struct SubmissionCounter {
    buffer: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    sent: Cell<u32>,
}

impl SubmissionCounter {
    /// Bytes that [`SubmissionCounter::copy`] writes.
    pub(super) const BYTES: u64 = 4;

    /// # Errors
    /// Out of memory.
    pub(super) fn new(device: &wgpu::Device) -> Result<SubmissionCounter> {
        let label = Some("submission_counter");
        let buffer = create_buffer(
            device,
            &wgpu::BufferDescriptor {
                label,
                size: SubmissionCounter::BYTES,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            },
        )?;
        let storage = wgpu::BufferBindingType::Storage { read_only: false };
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &[layout_entry(0, storage)] });
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label,
            layout: &layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            ..Default::default()
        });
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("add_one"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Ok(SubmissionCounter { buffer, pipeline, group, sent: Cell::new(0) })
    }

    /// Counts a submission. This must be its last dispatch.
    pub(super) fn count(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        self.sent.set(self.sent.get().wrapping_add(1));
    }

    /// Copies the number of submissions that ran to `target` at `offset`, and returns its value if
    /// all of them run.
    pub(super) fn copy(&self, encoder: &mut wgpu::CommandEncoder, target: &wgpu::Buffer, offset: u64) -> u32 {
        encoder.copy_buffer_to_buffer(&self.buffer, 0, target, offset, SubmissionCounter::BYTES);
        self.sent.get()
    }
}
