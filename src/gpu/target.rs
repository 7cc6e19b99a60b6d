//! What a recording must know of the device it will run on: plain data, so that recording needs no GPU.

use std::fmt;

/// The form of the kernels that have two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Tiles in workgroup memory with barriers: real GPUs.
    Tiles,
    /// One subgroup that broadcasts registers, without barriers: software Vulkan, where a barrier or a load is dear.
    Broadcast,
}

/// The kind of device that calls are recorded for. The choice of kernel forms by class of device stands here, and only here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Form of convolution and matrix product, and of reductions (`prelude/reduce_*.wgsl`).
    pub form: Form,
    /// Lanes of a subgroup in [`Form::Broadcast`]: 4, 8 or 16.
    pub lanes: u32,
}

impl Target {
    /// Mesa's lavapipe with 8 lanes: what tests without a device record for.
    pub const SOFTWARE: Target = Target { form: Form::Broadcast, lanes: 8 };
    /// A GPU of any vendor, nothing assumed about its subgroups.
    pub const TILES: Target = Target { form: Form::Tiles, lanes: 8 };

    /// Every target that a shader can be linked for.
    pub const ALL: [Target; 4] = [
        Target { form: Form::Broadcast, lanes: 4 },
        Target::SOFTWARE,
        Target { form: Form::Broadcast, lanes: 16 },
        Target::TILES,
    ];

    /// The target for a device: software drivers with a fixed subgroup of 4, 8 or 16 lanes broadcast, everything else uses tiles.
    pub fn choose(is_software: bool, subgroup_lanes: Option<u32>) -> Target {
        match subgroup_lanes {
            Some(lanes @ (4 | 8 | 16)) if is_software => Target { form: Form::Broadcast, lanes },
            _ => Target::TILES,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Tiles => f.write_str("tiles"),
            Form::Broadcast => write!(f, "broadcast_{}", self.lanes),
        }
    }
}
