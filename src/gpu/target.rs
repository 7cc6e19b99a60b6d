//! The capabilities of a device, as plain data: recording a tape needs no GPU.
//!
//! Operators ask the target which kernels to record. [`Target::choose`] derives that choice from
//! the capabilities, and is the only place where it is made.

use super::MAX_WORKGROUPS;
use std::fmt;

/// Operators with several kernels have one set for each variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelVariant {
    /// Tiles in workgroup memory with barriers, for GPUs.
    Tiled,
    /// One subgroup per workgroup that shares registers by shuffles, without barriers. Software
    /// Vulkan drivers run it faster: a barrier or a load from workgroup memory is expensive there.
    Subgroup,
}

/// Class of a device, as its driver reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceClass {
    /// A GPU with separate memory.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU in a virtual machine.
    Virtual,
    /// Not known.
    Other,
    /// A software driver.
    Cpu,
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceClass::Discrete => "discrete",
            DeviceClass::Integrated => "integrated",
            DeviceClass::Virtual => "virtual",
            DeviceClass::Other => "other",
            DeviceClass::Cpu => "software",
        })
    }
}

/// Smallest and largest subgroup that a device may run a kernel with, in lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubgroupRange {
    /// Smallest subgroup.
    pub min: u32,
    /// Largest subgroup.
    pub max: u32,
}

/// The capabilities of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// Class of the device.
    pub class: DeviceClass,
    /// Its subgroup sizes; `None` if kernels cannot use subgroup operations.
    pub subgroups: Option<SubgroupRange>,
    /// Workgroup memory that one workgroup may use, in bytes.
    pub workgroup_memory: u32,
    /// Whether it supports 16-bit floating point in shaders. No kernel uses it yet.
    pub f16: bool,
    /// Whether it supports 64-bit integers in shaders.
    pub int64: bool,
}

/// A device that tapes are recorded for: its capabilities, and the kernel variant that suits them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Variant of the kernels that have two.
    pub variant: KernelVariant,
    /// The capabilities of the device.
    pub capabilities: Capabilities,
    /// Workgroups in a row of a folded grid, at most [`MAX_WORKGROUPS`]. Tests choose a few, so
    /// that the grids of small tensors are folded.
    pub grid_row: u32,
    /// Rows past the end of every folded grid: none, except in tests that check that they are
    /// harmless.
    pub spare_rows: u32,
}

/// Lanes that the tiled variant is linked for without subgroup operations. It does not use them.
const TILED_LANES: u32 = 8;

/// Lanes of a block that adds by shuffles, at least and at most. Blocks of 4 lanes, which wgpu
/// reports for Metal, would leave 64 sums to add one by one.
const SHUFFLE_LANES: [u32; 2] = [8, 32];

impl Target {
    /// Example: SwiftShader, whose subgroups have 4 lanes.
    pub const SWIFTSHADER: Target = Target::software(4, false);
    /// Example: Mesa's lavapipe on a processor with AVX2, whose subgroups have 8 lanes.
    pub const LAVAPIPE: Target = Target::software(8, true);
    /// Example: Mesa's lavapipe on a processor with AVX-512, whose subgroups have 16 lanes.
    pub const LAVAPIPE_AVX512: Target = Target::software(16, true);
    /// Example: a discrete GPU with subgroups of 32 lanes.
    pub const DISCRETE_GPU: Target = Target::choose(Capabilities {
        class: DeviceClass::Discrete,
        subgroups: Some(SubgroupRange { min: 32, max: 32 }),
        workgroup_memory: 49_152,
        f16: true,
        int64: true,
    });

    /// All examples. Together they link every shader in all possible variants.
    pub const EXAMPLES: [Target; 5] = [
        Target::SWIFTSHADER,
        Target::LAVAPIPE,
        Target::LAVAPIPE_AVX512,
        Target::DISCRETE_GPU,
        Target::DISCRETE_GPU.without_subgroups(),
    ];

    const fn software(lanes: u32, int64: bool) -> Target {
        Target::choose(Capabilities {
            class: DeviceClass::Cpu,
            subgroups: Some(SubgroupRange { min: lanes, max: lanes }),
            workgroup_memory: 32_768,
            f16: true,
            int64,
        })
    }

    /// The target for a device. Software drivers with a fixed subgroup of 4, 8 or 16 lanes get the
    /// subgroup variant, all other devices the tiled one.
    pub const fn choose(capabilities: Capabilities) -> Target {
        let variant = match (capabilities.class, capabilities.subgroups) {
            (DeviceClass::Cpu, Some(SubgroupRange { min: lanes @ (4 | 8 | 16), max })) if lanes == max => {
                KernelVariant::Subgroup
            }
            _ => KernelVariant::Tiled,
        };
        Target { variant, capabilities, grid_row: MAX_WORKGROUPS, spare_rows: 0 }
    }

    /// The same device with the tiled variant, which every device can run.
    pub const fn tiled(self) -> Target {
        Target { variant: KernelVariant::Tiled, ..self }
    }

    /// The same device without subgroup operations, with the tiled variant.
    pub const fn without_subgroups(self) -> Target {
        Target { capabilities: Capabilities { subgroups: None, ..self.capabilities }, ..self.tiled() }
    }

    /// Whether reductions of the tiled variant add by shuffles (`reduce_shuffle.wgsl`), in blocks
    /// of [`Target::lanes`]: the smallest subgroup that the driver may choose has some lanes, so
    /// that every subgroup consists of such blocks.
    pub const fn shuffles(self) -> bool {
        match (self.variant, self.capabilities.subgroups) {
            (KernelVariant::Tiled, Some(range)) => range.min.is_power_of_two() && range.min >= SHUFFLE_LANES[0],
            _ => false,
        }
    }

    /// This target, as the `device` can run it: without shuffles if they need larger subgroups than
    /// it has. Tests record for other devices than they run on.
    pub(super) fn run_on(self, device: Target) -> Target {
        let device = device.tiled();
        let runs = !self.shuffles() || (device.shuffles() && self.lanes() <= device.lanes());
        if runs { self } else { self.without_subgroups() }
    }

    /// The same device without 64-bit integers, and so without the wide kernels.
    pub const fn narrow(self) -> Target {
        Target { capabilities: Capabilities { int64: false, ..self.capabilities }, ..self }
    }

    /// Whether the device runs the wide kernels, whose shaders have names that end in `_wide`. They
    /// are kernels of the subgroup variant that load and store elements of 64 bits.
    pub const fn is_wide(self) -> bool {
        matches!(self.variant, KernelVariant::Subgroup) && self.capabilities.int64
    }

    /// A grid of two dimensions for at least `groups` workgroups: as few rows as possible, and as
    /// few workgroups past the end.
    ///
    /// ```
    /// use degrain::gpu::Target;
    ///
    /// assert_eq!(Target::DISCRETE_GPU.fold(70_001), [35_001, 2]);
    /// ```
    pub const fn fold(self, groups: u32) -> [u32; 2] {
        let rows = groups.div_ceil(self.grid_row);
        if rows <= 1 { [groups, 1] } else { [groups.div_ceil(rows), rows + self.spare_rows] }
    }

    /// Lanes of a subgroup in the subgroup variant: 4, 8 or 16. In the tiled variant, lanes of a
    /// block that adds by shuffles: 8, 16 or 32; the number has no meaning without subgroup
    /// operations.
    pub fn lanes(self) -> u32 {
        match (self.variant, self.capabilities.subgroups) {
            (KernelVariant::Subgroup, Some(range)) => range.min,
            (KernelVariant::Tiled, Some(range)) if self.shuffles() => range.min.min(SHUFFLE_LANES[1]),
            _ => TILED_LANES,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.variant {
            KernelVariant::Tiled if self.shuffles() => write!(f, "tiled_{}", self.lanes()),
            KernelVariant::Tiled => f.write_str("tiled"),
            KernelVariant::Subgroup => write!(f, "subgroup_{}", self.lanes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(class: DeviceClass, subgroups: Option<(u32, u32)>) -> KernelVariant {
        let subgroups = subgroups.map(|(min, max)| SubgroupRange { min, max });
        Target::choose(Capabilities { class, subgroups, workgroup_memory: 16_384, f16: false, int64: false }).variant
    }

    #[test]
    fn target_of_software_with_a_fixed_subgroup_is_the_subgroup_variant() {
        for lanes in [4, 8, 16] {
            assert_eq!(variant(DeviceClass::Cpu, Some((lanes, lanes))), KernelVariant::Subgroup);
        }
    }

    #[test]
    fn target_of_any_other_device_is_the_tiled_variant() {
        for subgroups in [None, Some((2, 2)), Some((32, 32)), Some((4, 8)), Some((8, 16)), Some((4, 128))] {
            assert_eq!(variant(DeviceClass::Cpu, subgroups), KernelVariant::Tiled, "{subgroups:?}");
        }
        for class in [DeviceClass::Discrete, DeviceClass::Integrated, DeviceClass::Virtual, DeviceClass::Other] {
            for subgroups in [None, Some((8, 8)), Some((8, 32)), Some((32, 32)), Some((64, 64))] {
                assert_eq!(variant(class, subgroups), KernelVariant::Tiled, "{class} {subgroups:?}");
            }
        }
    }

    #[test]
    fn target_lanes_are_the_smallest_subgroup() {
        assert_eq!(Target::EXAMPLES.map(Target::lanes), [4, 8, 16, 32, 8]);
        assert_eq!(Target::EXAMPLES.map(|t| t.tiled().lanes()), [8, 8, 16, 32, 8]);
        assert_eq!(Target::EXAMPLES.map(|t| t.tiled().shuffles()), [false, true, true, true, false]);
    }

    #[test]
    fn target_shuffles_in_blocks_that_every_subgroup_has() {
        let lanes = |min, max| {
            let subgroups = Some(SubgroupRange { min, max });
            let target = Target::choose(Capabilities { subgroups, ..Target::DISCRETE_GPU.capabilities });
            target.shuffles().then(|| target.lanes())
        };
        assert_eq!(lanes(32, 64), Some(32));
        assert_eq!(lanes(8, 32), Some(8));
        assert_eq!(lanes(64, 64), Some(32));
        assert_eq!(lanes(128, 128), Some(32));
        assert_eq!(lanes(4, 64), None);
        assert_eq!(lanes(2, 2), None);
        assert_eq!(lanes(6, 6), None);
    }

    #[test]
    fn target_of_another_device_runs_without_shuffles_that_are_too_long() {
        let (gpu, software) = (Target::DISCRETE_GPU, Target::LAVAPIPE);
        assert_eq!(gpu.run_on(gpu), gpu);
        assert_eq!(gpu.run_on(software), gpu.without_subgroups());
        assert_eq!(software.tiled().run_on(gpu), software.tiled());
        assert_eq!(software.run_on(software), software);
        assert_eq!(software.tiled().run_on(software.without_subgroups()), software.without_subgroups());
    }

    #[test]
    fn target_names_are_distinct() {
        let names = Target::EXAMPLES.map(|target| target.to_string());
        assert_eq!(names, ["subgroup_4", "subgroup_8", "subgroup_16", "tiled_32", "tiled"]);
    }
}
