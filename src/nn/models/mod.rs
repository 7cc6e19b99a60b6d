//! The models, one file each, with their configs.

pub(super) mod classifier;
pub(super) mod plain_unet;
pub(super) mod residual_unet;
pub(super) mod unet2d;
pub(super) mod unet2d_config;
pub(super) mod vae;
