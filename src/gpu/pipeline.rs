//! How a shader becomes a module, and an entry point a pipeline.

use super::shader::{Access, Entry, Shader, link_with};
use super::target::Target;
use std::collections::HashMap;

/// Whether kernels are compiled with naga's run-time checks of array bounds and integer division.
/// Its check for endless loops is always off: drivers do not unroll the loops that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundsChecks {
    /// As WebGPU requires.
    On,
    /// Without checks. The tests run both ways, and prove that no kernel leaves its buffers.
    Off,
}

/// A compiled entry point.
pub(super) struct Pipeline {
    pub(super) compute: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// How shaders become modules.
pub(super) struct Linker {
    pub target: Target,
    /// The target that the device chooses.
    pub device: Target,
    pub checks: BoundsChecks,
    /// Texts that replace shaders and prelude files, by name.
    pub replaced: HashMap<String, String>,
}

impl Linker {
    /// The module of a shader on a device.
    pub(super) fn module(&self, device: &wgpu::Device, shader: &'static Shader) -> wgpu::ShaderModule {
        let replacement = |name: &str| self.replaced.get(name).cloned();
        let text = replacement(shader.name).unwrap_or_else(|| shader.text.to_owned());
        let target = self.target.run_on(self.device);
        let source = wgpu::ShaderSource::Wgsl(link_with(shader.name, &text, target, replacement).into());
        let descriptor = wgpu::ShaderModuleDescriptor { label: Some(shader.name), source };
        let checks = match self.checks {
            BoundsChecks::On => {
                wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() }
            }
            BoundsChecks::Off => wgpu::ShaderRuntimeChecks::unchecked(),
        };
        // SAFETY: without checks, a kernel that left its buffers would be undefined behavior. The
        // kernel tests run with the checks on and off, between guard bands, over shapes that reach
        // every edge case.
        unsafe { device.create_shader_module_trusted(descriptor, checks) }
    }
}

/// Compiles an entry point, as far as the driver does it before the first dispatch.
pub(super) fn compile(
    device: &wgpu::Device,
    module: &wgpu::ShaderModule,
    entry: &'static Entry,
    constants: &[f64],
) -> Pipeline {
    let storage = |access| wgpu::BufferBindingType::Storage { read_only: access == Access::Read };
    let mut entries: Vec<_> = entry.bindings.iter().map(|b| layout_entry(b.index, storage(b.access))).collect();
    entries.extend(entry.uniform.map(|(index, _)| layout_entry(index, wgpu::BufferBindingType::Uniform)));
    let layout = device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(entry.label), entries: &entries });
    let step = step_layout(device);
    let groups = [Some(&layout), Some(&step)];
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(entry.label),
        bind_group_layouts: &groups[..if entry.takes_step { 2 } else { 1 }],
        ..Default::default()
    });
    let constants: Vec<_> = entry.constants.iter().copied().zip(constants.iter().copied()).collect();
    let compute = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry.label),
        layout: Some(&pipeline_layout),
        module,
        entry_point: Some(entry.name),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &constants,
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    Pipeline { compute, layout }
}

/// Layout of the bind group of the uniform `step`, which all kernels share.
pub(super) fn step_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entries = &[layout_entry(0, wgpu::BufferBindingType::Uniform)];
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some("step"), entries })
}

pub(super) fn layout_entry(binding: u32, ty: wgpu::BufferBindingType) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
