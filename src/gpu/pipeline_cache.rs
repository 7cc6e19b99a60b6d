//! The compiled kernels of a device: each shader is compiled once, and each entry point once for each
//! set of constants. The kernels of a program are compiled by several threads.

use super::first_dispatch::{Compilers, NewKernel};
use super::pipeline::{BoundsChecks, Linker, Pipeline, compile};
use super::shader::Entry;
use super::target::Target;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The compiled kernels of a device.
pub(super) struct PipelineCache {
    linker: Linker,
    /// By name of the shader.
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    pipelines: HashMap<Key, Rc<Pipeline>>,
    compilers: Option<Compilers>,
}

/// Name of the shader, name of the entry point, and the bits of the constants.
type Key = (&'static str, &'static str, Vec<u64>);

fn key(entry: &Entry, constants: &[f64]) -> Key {
    (entry.shader.name, entry.name, constants.iter().map(|c| c.to_bits()).collect())
}

impl PipelineCache {
    pub(super) fn new(target: Target, checks: BoundsChecks, compilers: Option<Compilers>) -> PipelineCache {
        let linker = Linker { target, device: target, checks, replaced: HashMap::new() };
        PipelineCache { linker, modules: HashMap::new(), pipelines: HashMap::new(), compilers }
    }

    pub(super) fn target(&self) -> Target {
        self.linker.target
    }

    pub(super) fn set_target(&mut self, target: Target) {
        self.clear();
        self.linker.target = target;
    }

    /// Compiles `text` in place of a shader or a prelude file from now on, or the original text again.
    pub(super) fn replace_shader(&mut self, name: &str, text: Option<String>) {
        if name.starts_with("prelude/") {
            self.clear();
        } else {
            self.modules.remove(name);
            self.pipelines.retain(|(shader, ..), _| *shader != name);
        }
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
    pub(super) fn pipeline(
        &mut self,
        device: (&wgpu::Device, &wgpu::Queue),
        entry: &'static Entry,
        constants: &[f64],
    ) -> Rc<Pipeline> {
        let key = key(entry, constants);
        if !self.pipelines.contains_key(&key) {
            self.compile(device, [NewKernel { entry, constants, dims: &[] }]);
        }
        self.pipelines[&key].clone()
    }

    /// Compiles the entry points that are new, with these constants. Drivers take up to a second
    /// for one, so several threads compile.
    pub(super) fn compile<'a>(
        &mut self,
        (device, queue): (&wgpu::Device, &wgpu::Queue),
        kernels: impl IntoIterator<Item = NewKernel<'a>>,
    ) {
        let mut new = BTreeMap::new();
        for kernel in kernels {
            let key = key(kernel.entry, kernel.constants);
            if !self.pipelines.contains_key(&key) {
                new.entry(key).or_insert(kernel);
            }
        }
        let shaders: BTreeMap<_, _> =
            new.values().map(|kernel| (kernel.entry.shader.name, kernel.entry.shader)).collect();
        let shaders: Vec<_> = shaders.into_values().filter(|s| !self.modules.contains_key(s.name)).collect();
        let linker = &self.linker;
        let modules = in_threads(&shaders, |shader| (shader.name, linker.module(device, shader)));
        self.modules.extend(modules);
        let new: Vec<_> = new.into_iter().collect();
        let modules = &self.modules;
        let pipelines = in_threads(&new, |(key, NewKernel { entry, constants, .. })| {
            (key.clone(), compile(device, &modules[entry.shader.name], entry, constants))
        });
        if let Some(compilers) = &self.compilers {
            let by_key: HashMap<_, _> = new.iter().map(|(key, kernel)| (key, *kernel)).collect();
            let kernels: Vec<_> = pipelines.iter().map(|(key, pipeline)| (by_key[key], pipeline)).collect();
            compilers.compile((device, queue), linker, &kernels);
        }
        self.pipelines.extend(pipelines.into_iter().map(|(key, pipeline)| (key, Rc::new(pipeline))));
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
