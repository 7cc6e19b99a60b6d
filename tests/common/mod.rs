//! What the tests of kernels and models share: the device, and the check of one case.

#![allow(dead_code)] // not every test uses all of it

use degrain::gpu::{Checks, Gpu, Target};
use degrain::tape::Case;
use std::rc::Rc;

fn open() -> Gpu {
    Gpu::open_with(None, Checks::On).unwrap_or_else(|e| panic!("{e}"))
}

/// Keeps a thread's device from being dropped at the thread's end: wgpu needs thread-local storage for it, which may be gone by then.
fn keep(gpu: Gpu) -> Rc<Gpu> {
    let gpu = Rc::new(gpu);
    std::mem::forget(Rc::clone(&gpu));
    gpu
}

/// Opens the device, or fails with the message that says how to install a driver.
pub fn gpu() -> Rc<Gpu> {
    thread_local!(static GPU: Rc<Gpu> = keep(open()));
    GPU.with(Rc::clone)
}

/// The device, recorded for as any GPU would be, whatever form it would choose itself.
pub fn gpu_with_tiles() -> Rc<Gpu> {
    thread_local!(static GPU: Rc<Gpu> = {
        let mut gpu = open();
        gpu.set_target(Target::TILES);
        keep(gpu)
    });
    GPU.with(Rc::clone)
}

/// Runs one case forward and backward, twice, and compares it with its reference and with itself.
pub fn check_case(gpu: &Gpu, case: &Case) -> Result<(), String> {
    degrain::tape::check_case(gpu, case).map_err(|e| e.to_string())?.map_err(|m| m.to_string())
}
