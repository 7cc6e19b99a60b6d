//! Compiling by several devices, for software Vulkan drivers.
//!
//! Such a driver compiles a kernel when it is first dispatched, on the one thread of the device.
//! Here every new kernel is dispatched once, without workgroups, by one of several devices on as
//! many threads. The driver keeps compiled kernels in files, from which the device of the program
//! takes those that other devices compiled. If the driver keeps none, the device compiles them
//! again, and nothing is gained.

use super::allocation::create_buffer;
use super::faults;
use super::pipeline::{Linker, Pipeline, compile, step_layout};
use super::shader::{Access, Entry};
use super::target::DeviceClass;
use super::wait::catch_loss;
use crate::Result;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Kernels that the program's own device compiles first. They tell whether the driver compiles, or
/// finds the kernels in its files.
const FIRST: usize = 4;
/// Mean time of the first kernels from which on the driver is taken to compile. Small kernels take
/// 0.03 s and large ones 0.2 to 5 s to compile, and all of them less than 0.01 s to load.
const COMPILED: Duration = Duration::from_millis(15);
/// Most devices that compile: each has threads and a compiler of its driver.
const MOST_DEVICES: usize = 8;
/// Bytes of the buffers that are bound, which no kernel reads or writes.
const BOUND: u64 = 4096;

/// A kernel that was not compiled yet.
#[derive(Clone, Copy)]
pub(super) struct NewKernel<'a> {
    /// The entry point.
    pub entry: &'static Entry,
    /// One value for each of its constants.
    pub constants: &'a [f64],
    /// The words of its uniform `dims` in a call. lavapipe compiles a simpler kernel for values with
    /// which most of the code does nothing, so they must be real ones.
    pub dims: &'a [u32],
}

/// Opens more devices of one adapter.
pub(super) struct Compilers {
    adapter: wgpu::Adapter,
    features: wgpu::Features,
}

impl Compilers {
    /// The compilers of an adapter whose driver compiles at the first dispatch; `None` for others.
    pub fn new(adapter: wgpu::Adapter, class: DeviceClass, features: wgpu::Features) -> Option<Compilers> {
        (class == DeviceClass::Cpu).then_some(Compilers { adapter, features })
    }

    /// Compiles kernels that the device of `queue` has not run yet. Without memory for the bound
    /// buffers nothing is compiled yet.
    pub fn compile(
        &self,
        (device, queue): (&wgpu::Device, &wgpu::Queue),
        linker: &Linker,
        kernels: &[(NewKernel<'_>, &Pipeline)],
    ) {
        // A failure on purpose counts submissions and allocations: only those of the program.
        if faults::fixed_calls().is_some() {
            return;
        }
        let next = AtomicUsize::new(0);
        let take = || kernels.get(next.fetch_add(1, Ordering::Relaxed));
        let Ok(buffers) = Buffers::new(device) else { return };
        let began = Instant::now();
        for &(kernel, pipeline) in std::iter::from_fn(take).take(FIRST) {
            buffers.dispatch(device, queue, kernel, pipeline);
        }
        if began.elapsed() < COMPILED * FIRST as u32 {
            return;
        }
        let rest = kernels.len().saturating_sub(FIRST);
        let devices = thread::available_parallelism().map_or(1, NonZero::get).min(rest).min(MOST_DEVICES);
        thread::scope(|scope| {
            for _ in 1..devices {
                let compile = || self.compile_on_another(linker, || take().map(|&(kernel, _)| kernel));
                // Without a thread, or after a panic of the driver, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, move || catch_loss(compile));
            }
            while let Some(&(kernel, pipeline)) = take() {
                buffers.dispatch(device, queue, kernel, pipeline);
            }
        });
    }

    /// Compiles kernels on one more device. If it cannot be opened or fails, the kernels that are
    /// left to it are compiled later by the device of the program.
    fn compile_on_another<'a>(&self, linker: &Linker, take: impl Fn() -> Option<NewKernel<'a>>) {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("compiler"),
            required_features: self.features,
            required_limits: self.adapter.limits(),
            ..Default::default()
        };
        let Ok((device, queue)) = pollster::block_on(self.adapter.request_device(&descriptor)) else { return };
        device.on_uncaptured_error(Arc::new(|_| {}));
        let Ok(buffers) = Buffers::new(&device) else { return };
        let mut modules = HashMap::new();
        while let Some(kernel) = take() {
            let NewKernel { entry, constants, .. } = kernel;
            let module = modules.entry(entry.shader.name).or_insert_with(|| linker.module(&device, entry.shader));
            let pipeline = compile(&device, module, entry, constants);
            buffers.dispatch(&device, &queue, kernel, &pipeline);
        }
    }
}

/// What is bound: a buffer cannot be bound as read and as written in one dispatch.
struct Buffers {
    read: wgpu::Buffer,
    written: wgpu::Buffer,
    uniform: wgpu::Buffer,
}

impl Buffers {
    fn new(device: &wgpu::Device) -> Result<Buffers> {
        let buffer = |usage| {
            let label = Some("bound while compiling");
            create_buffer(device, &wgpu::BufferDescriptor { label, size: BOUND, usage, mapped_at_creation: false })
        };
        Ok(Buffers {
            read: buffer(wgpu::BufferUsages::STORAGE)?,
            written: buffer(wgpu::BufferUsages::STORAGE)?,
            uniform: buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?,
        })
    }

    /// Dispatches a kernel without workgroups, and waits.
    fn dispatch(&self, device: &wgpu::Device, queue: &wgpu::Queue, kernel: NewKernel<'_>, pipeline: &Pipeline) {
        let NewKernel { entry, dims, .. } = kernel;
        queue.write_buffer(&self.uniform, 0, bytemuck::cast_slice(dims));
        let bind = |layout: &wgpu::BindGroupLayout, entries: &[(u32, &wgpu::Buffer)]| {
            let entries: Vec<_> = entries
                .iter()
                .map(|&(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let storage = entry
            .bindings
            .iter()
            .map(|binding| (binding.index, if binding.access == Access::Read { &self.read } else { &self.written }));
        let entries: Vec<_> = storage.chain(entry.uniform.map(|(index, _)| (index, &self.uniform))).collect();
        let operands = bind(&pipeline.layout, &entries);
        let step = entry.takes_step.then(|| bind(&step_layout(device), &[(0, &self.uniform)]));
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline.compute);
            pass.set_bind_group(0, &operands, &[]);
            if let Some(step) = &step {
                pass.set_bind_group(1, step, &[]);
            }
            pass.dispatch_workgroups(0, 1, 1);
        }
        faults::submit(device, queue, encoder);
        // A device that was lost is noticed by the program's next submission.
        let _ = catch_loss(|| faults::poll(device, wgpu::PollType::wait_indefinitely()));
    }
}
