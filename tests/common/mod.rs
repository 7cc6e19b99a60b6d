//! Code that the test programs share: the device, goldens, small data sets and settings.

#![allow(dead_code)] // not every test program uses all of it

pub mod enlarged;
pub mod golden;
pub mod inexact;
pub mod linear_network;
pub mod pictures;
pub mod run;
pub mod small;

use degrain::gpu::{BoundsChecks, Context, Gpu, Target};
use degrain::tape::testing::Case;

/// Kernels that a device can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Those that the device chooses.
    Native,
    /// Those of real GPUs.
    Tiles,
}

impl Kernels {
    /// All kinds.
    pub const ALL: [Kernels; 2] = [Kernels::Native, Kernels::Tiles];

    /// The name in the names of tests.
    pub fn name(self) -> &'static str {
        match self {
            Kernels::Native => "native",
            Kernels::Tiles => "tiles",
        }
    }

    /// The target of a device with these kernels.
    pub fn target(self, own: Target) -> Target {
        match self {
            Kernels::Native => own,
            Kernels::Tiles => own.tiled(),
        }
    }
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// Which kernels tapes are recorded with.
    pub kernels: Kernels,
    /// Whether kernels are compiled with run-time checks.
    pub checks: BoundsChecks,
    /// Whether grids are folded into rows of a few workgroups.
    pub folded: bool,
}

/// Workgroups in a row of a folded grid, and rows past its end, in tests that fold small grids. The
/// rows reach further than the padding of a tensor, which kernels may write.
const SHORT_ROW: u32 = 3;
const SPARE_ROWS: u32 = 2;

impl Setup {
    /// All setups: each kind of kernels with run-time checks, without, and in folded grids.
    pub fn all() -> Vec<Setup> {
        let of = |kernels| {
            let plain = |checks| Setup { kernels, checks, folded: false };
            [plain(BoundsChecks::On), plain(BoundsChecks::Off), Setup { folded: true, ..plain(BoundsChecks::Off) }]
        };
        Kernels::ALL.into_iter().flat_map(of).collect()
    }

    /// These kernels, without run-time checks.
    pub fn unchecked(kernels: Kernels) -> Setup {
        Setup { kernels, checks: BoundsChecks::Off, folded: false }
    }
}

/// Number or part of the name of the adapter that the tests use instead of the best one.
const ADAPTER: &str = "DEGRAIN_ADAPTER";

/// A context without buffers on a newly opened device. The device is closed when the test drops the
/// last context on it: NVIDIA's driver refused to open more after many tests had left theirs open.
/// Fails with the message that says how to install a driver.
pub fn context_for(setup: Setup) -> Context {
    let adapter = std::env::var(ADAPTER).ok();
    let gpu = Gpu::open_with(adapter.as_deref(), setup.checks).unwrap_or_else(|e| panic!("{e}"));
    gpu.set_target(setup.kernels.target(gpu.target()));
    if setup.folded {
        // Also the reductions of devices without subgroup operations.
        let target = match setup.kernels {
            Kernels::Native => gpu.target(),
            Kernels::Tiles => gpu.target().without_subgroups(),
        };
        gpu.set_target(Target { grid_row: SHORT_ROW, spare_rows: SPARE_ROWS, ..target });
    }
    Context::new(gpu)
}

/// A context on the device with the kernel variant that it chooses.
pub fn context() -> Context {
    context_for(Setup { kernels: Kernels::Native, checks: BoundsChecks::On, folded: false })
}

/// A context on the device with the kernel variant of real GPUs.
pub fn context_with_tiles() -> Context {
    context_for(Setup { kernels: Kernels::Tiles, checks: BoundsChecks::On, folded: false })
}

/// Runs one case forward and backward, twice, and compares it with its reference and with itself.
pub fn check_case(ctx: &Context, case: &Case) -> Result<(), String> {
    degrain::tape::testing::check_case(ctx, case).map_err(|e| e.to_string())?.map_err(|m| m.to_string())
}
