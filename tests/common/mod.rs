//! What the tests of kernels and models share: the device, and the check of one case.

#![allow(dead_code)] // not every test uses all of it

use degrain::gpu::{BoundsChecks, Gpu, Target};
use degrain::tape::Case;
use std::cell::RefCell;
use std::rc::Rc;

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// Recorded for as any GPU would be, whatever form the device would choose itself.
    pub tiles: bool,
    /// Whether kernels are compiled with run-time checks.
    pub checks: BoundsChecks,
}

impl Setup {
    /// Every way.
    pub const ALL: [Setup; 4] = [
        Setup { tiles: false, checks: BoundsChecks::On },
        Setup { tiles: false, checks: BoundsChecks::Off },
        Setup { tiles: true, checks: BoundsChecks::On },
        Setup { tiles: true, checks: BoundsChecks::Off },
    ];
}

/// Opens the device, once for each thread and way, or fails with the message that says how to install a driver.
pub fn gpu_for(setup: Setup) -> Rc<Gpu> {
    thread_local!(static OPEN: RefCell<Vec<(Setup, Rc<Gpu>)>> = const { RefCell::new(Vec::new()) });
    OPEN.with_borrow_mut(|open| {
        if let Some((_, gpu)) = open.iter().find(|(other, _)| *other == setup) {
            return gpu.clone();
        }
        let mut gpu = Gpu::open_with(None, setup.checks).unwrap_or_else(|e| panic!("{e}"));
        if setup.tiles {
            gpu.set_target(Target::TILES);
        }
        let gpu = Rc::new(gpu);
        // Not to be dropped at the thread's end: wgpu needs thread-local storage for that, which may be gone by then.
        std::mem::forget(Rc::clone(&gpu));
        open.push((setup, Rc::clone(&gpu)));
        gpu
    })
}

/// The device as it chooses itself.
pub fn gpu() -> Rc<Gpu> {
    gpu_for(Setup { tiles: false, checks: BoundsChecks::On })
}

/// The device, recorded for as any GPU would be.
pub fn gpu_with_tiles() -> Rc<Gpu> {
    gpu_for(Setup { tiles: true, checks: BoundsChecks::On })
}

/// Runs one case forward and backward, twice, and compares it with its reference and with itself.
pub fn check_case(gpu: &Gpu, case: &Case) -> Result<(), String> {
    degrain::tape::check_case(gpu, case).map_err(|e| e.to_string())?.map_err(|m| m.to_string())
}
