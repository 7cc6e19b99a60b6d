//! Blocks of U-Nets, made of layers.

pub mod levels;
pub mod resnet;
pub mod self_attention;
