//! Compiled kernels: each shader is compiled once, and each entry point once for each set of
//! constants.

use super::shader::{Access, Entry, Shader, link_with};
use super::target::Target;
use std::collections::HashMap;
use std::rc::Rc;

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

/// The compiled kernels of a device.
pub(super) struct PipelineCache {
    target: Target,
    checks: BoundsChecks,
    /// Texts that replace shaders and prelude files, by name.
    replaced: HashMap<String, String>,
    /// By name of the shader.
    modules: HashMap<&'static str, Rc<wgpu::ShaderModule>>,
    /// By label and the bits of the constants.
    pipelines: HashMap<(&'static str, Vec<u64>), Rc<Pipeline>>,
}

impl PipelineCache {
    pub(super) fn new(target: Target, checks: BoundsChecks) -> PipelineCache {
        let replaced = HashMap::new();
        PipelineCache { target, checks, replaced, modules: HashMap::new(), pipelines: HashMap::new() }
    }

    pub(super) fn target(&self) -> Target {
        self.target
    }

    pub(super) fn set_target(&mut self, target: Target) {
        self.clear();
        self.target = target;
    }

    pub(super) fn replace_shader(&mut self, name: &str, text: Option<String>) {
        self.clear();
        match text {
            Some(text) => self.replaced.insert(name.to_owned(), text),
            None => self.replaced.remove(name),
        };
    }

    fn clear(&mut self) {
        self.modules.clear();
        self.pipelines.clear();
    }

    /// The pipeline of an entry point with these constants. Compiles it at the first call.
    pub(super) fn pipeline(&mut self, device: &wgpu::Device, entry: &'static Entry, constants: &[f64]) -> Rc<Pipeline> {
        let key = (entry.label, constants.iter().map(|c| c.to_bits()).collect::<Vec<_>>());
        if let Some(pipeline) = self.pipelines.get(&key) {
            return pipeline.clone();
        }
        let module = self.module(device, entry.shader);
        let pipeline = Rc::new(compile(device, &module, entry, constants));
        self.pipelines.insert(key, pipeline.clone());
        pipeline
    }

    fn module(&mut self, device: &wgpu::Device, shader: &'static Shader) -> Rc<wgpu::ShaderModule> {
        if let Some(module) = self.modules.get(shader.name) {
            return module.clone();
        }
        let replacement = |name: &str| self.replaced.get(name).cloned();
        let text = replacement(shader.name).unwrap_or_else(|| shader.text.to_owned());
        let source = wgpu::ShaderSource::Wgsl(link_with(&text, self.target, replacement).into());
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
        let module = Rc::new(unsafe { device.create_shader_module_trusted(descriptor, checks) });
        self.modules.insert(shader.name, module.clone());
        module
    }
}

fn compile(device: &wgpu::Device, module: &wgpu::ShaderModule, entry: &'static Entry, constants: &[f64]) -> Pipeline {
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
