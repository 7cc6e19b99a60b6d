//! Compiled kernels: each shader is compiled once, and each entry point once for each set of
//! constants. The kernels of a program are compiled by several threads.

use super::shader::{Access, Entry, Shader, link_with};
use super::target::Target;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
struct Linker {
    target: Target,
    checks: BoundsChecks,
    /// Texts that replace shaders and prelude files, by name.
    replaced: HashMap<String, String>,
}

/// The compiled kernels of a device.
pub(super) struct PipelineCache {
    linker: Linker,
    /// By name of the shader.
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    pipelines: HashMap<Key, Rc<Pipeline>>,
}

/// Label of an entry point, and the bits of its constants.
type Key = (&'static str, Vec<u64>);

fn key(entry: &Entry, constants: &[f64]) -> Key {
    (entry.label, constants.iter().map(|c| c.to_bits()).collect())
}

impl PipelineCache {
    pub(super) fn new(target: Target, checks: BoundsChecks) -> PipelineCache {
        let linker = Linker { target, checks, replaced: HashMap::new() };
        PipelineCache { linker, modules: HashMap::new(), pipelines: HashMap::new() }
    }

    pub(super) fn target(&self) -> Target {
        self.linker.target
    }

    pub(super) fn set_target(&mut self, target: Target) {
        self.clear();
        self.linker.target = target;
    }

    pub(super) fn replace_shader(&mut self, name: &str, text: Option<String>) {
        self.clear();
        match text {
            Some(text) => self.linker.replaced.insert(name.to_owned(), text),
            None => self.linker.replaced.remove(name),
        };
    }

    fn clear(&mut self) {
        self.modules.clear();
        self.pipelines.clear();
    }

    /// The pipeline of an entry point with these constants. Compiles it at the first call.
    pub(super) fn pipeline(&mut self, device: &wgpu::Device, entry: &'static Entry, constants: &[f64]) -> Rc<Pipeline> {
        let key = key(entry, constants);
        if !self.pipelines.contains_key(&key) {
            self.compile(device, [(entry, constants)]);
        }
        self.pipelines[&key].clone()
    }

    /// Compiles the entry points that are new, with these constants. Drivers take up to a second
    /// for one, so several threads compile.
    pub(super) fn compile<'a>(
        &mut self,
        device: &wgpu::Device,
        kernels: impl IntoIterator<Item = (&'static Entry, &'a [f64])>,
    ) {
        let mut new = BTreeMap::new();
        for (entry, constants) in kernels {
            let key = key(entry, constants);
            if !self.pipelines.contains_key(&key) {
                new.insert(key, (entry, constants));
            }
        }
        let shaders: BTreeMap<_, _> = new.values().map(|(entry, _)| (entry.shader.name, entry.shader)).collect();
        let shaders: Vec<_> = shaders.into_values().filter(|s| !self.modules.contains_key(s.name)).collect();
        let linker = &self.linker;
        let modules = in_threads(&shaders, |shader| (shader.name, linker.module(device, shader)));
        self.modules.extend(modules);
        let new: Vec<_> = new.into_iter().collect();
        let modules = &self.modules;
        let pipelines = in_threads(&new, |(key, (entry, constants))| {
            (key.clone(), compile(device, &modules[entry.shader.name], entry, constants))
        });
        self.pipelines.extend(pipelines.into_iter().map(|(key, pipeline)| (key, Rc::new(pipeline))));
    }
}

impl Linker {
    fn module(&self, device: &wgpu::Device, shader: &'static Shader) -> wgpu::ShaderModule {
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
        unsafe { device.create_shader_module_trusted(descriptor, checks) }
    }
}

/// `f` of each item, computed by as many threads as there are processors.
fn in_threads<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    if threads < 2 {
        return items.iter().map(f).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || std::iter::from_fn(|| items.get(next.fetch_add(1, Ordering::Relaxed)).map(&f)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join =
            |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        threads.into_iter().flat_map(join).collect()
    })
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
