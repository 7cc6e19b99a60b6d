//! Rules that configs of several models share. Every message says which values would fit.

use super::unet_choices::{DownBlock, UpBlock};
use super::unet_config::UNet2dConfig;

pub(super) type Rule = std::result::Result<(), String>;

/// Checks every rule that does not depend on the size of the images.
pub(super) fn check(config: &UNet2dConfig) -> Rule {
    let levels = config.block_out_channels.len();
    let list = |key: &str, count: usize| match count == levels {
        true => Ok(()),
        false => Err(format!("`{key}` has {count} entries, but `block_out_channels` has {levels}: one for each level")),
    };
    list("down_block_types", config.down_block_types.len())?;
    list("up_block_types", config.up_block_types.len())?;
    levels_at_least(&config.block_out_channels, 1)?;
    positive("in_channels", config.in_channels)?;
    positive("out_channels", config.out_channels)?;
    positive("layers_per_block", config.layers_per_block)?;
    for (key, value) in [
        ("num_class_embeds", config.num_class_embeds),
        ("time_embedding_dim", config.time_embedding_dim),
        ("attention_head_dim", config.attention_head_dim),
    ] {
        value.map_or(Ok(()), |value| positive(key, value))?;
    }
    rate("dropout", config.dropout)?;
    if config.downsample_padding > 1 {
        return Err(format!(
            "`downsample_padding` = {} is not supported: it must be 0 or 1",
            config.downsample_padding
        ));
    }
    for (key, value) in [("norm_eps", config.norm_eps), ("mid_block_scale_factor", config.mid_block_scale_factor)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(format!("`{key}` = {value} must be a positive number"));
        }
    }
    let frequencies = f64::from(config.block_out_channels[0] / 2);
    if !(config.freq_shift.is_finite() && config.freq_shift < frequencies) {
        return Err(format!("`freq_shift` = {} must be less than the {frequencies} frequencies", config.freq_shift));
    }
    groups(config)?;
    heads(config)
}

pub(super) fn positive(key: &str, value: u32) -> Rule {
    if value == 0 { Err(format!("`{key}` = 0 must be at least 1")) } else { Ok(()) }
}

/// Checks a dropout probability.
pub(super) fn rate(key: &str, value: f64) -> Rule {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => Err(format!("`{key}` = {value} must be at least 0 and less than 1")),
    }
}

/// Checks `block_out_channels`.
pub(super) fn levels_at_least(channels: &[u32], least: usize) -> Rule {
    if channels.len() < least {
        let entries = if channels.is_empty() { "is empty".into() } else { format!("= {channels:?} is too short") };
        return Err(format!(
            "`block_out_channels` {entries}: it needs a number of channels for each level, and {least} at least"
        ));
    }
    channels.iter().try_for_each(|&channels| positive("block_out_channels", channels))
}

/// Checks that a number of groups divides the channels of a level.
pub(super) fn divides(levels: &[u32], key: &str, groups: u32, level: usize) -> Rule {
    let channels = levels[level];
    if groups > 0 && channels.is_multiple_of(groups) {
        return Ok(());
    }
    let advice = match suggest_groups(levels) {
        Some(groups) => format!("use {groups}"),
        None => "use channels with a larger common divisor".into(),
    };
    Err(format!("`{key}` = {groups} does not divide the {channels} channels of level {level}: {advice}"))
}

/// Checks that a number of groups divides the channels of every level.
pub(super) fn divides_all(levels: &[u32], key: &str, groups: u32) -> Rule {
    (0..levels.len()).try_for_each(|level| divides(levels, key, groups, level))
}

fn groups(config: &UNet2dConfig) -> Rule {
    let levels = &config.block_out_channels;
    divides_all(levels, "norm_num_groups", config.norm_num_groups)?;
    match config.attn_norm_num_groups {
        Some(groups) => divides(levels, "attn_norm_num_groups", groups, levels.len() - 1),
        None => Ok(()),
    }
}

/// A number of groups that divides all these numbers of channels: the largest divisor up to 32
/// with at least four channels per group, if any.
pub fn suggest_groups(channels: &[u32]) -> Option<u32> {
    (1..=32).rev().find(|&groups| channels.iter().all(|&c| c.is_multiple_of(groups) && c / groups >= 4))
}

fn heads(config: &UNet2dConfig) -> Rule {
    let last = config.levels() - 1;
    let used = |level: usize| {
        config.down_block_types[level] == DownBlock::Attention
            || config.up_block_types[last - level] == UpBlock::Attention
            || (level == last && config.add_attention && config.mid_block_type.is_some())
    };
    (0..=last)
        .filter(|&level| used(level))
        .try_for_each(|level| head_fits(&config.block_out_channels, level, config.attention_head_dim))
}

/// Checks that an attention head is not wider than its level.
pub(super) fn head_fits(levels: &[u32], level: usize, width: Option<u32>) -> Rule {
    match width {
        Some(width) if width > levels[level] => Err(format!(
            "`attention_head_dim` = {width} is more than the {} channels of level {level}: use at most that, or null for one head",
            levels[level]
        )),
        _ => Ok(()),
    }
}

/// Checks that an image can be halved between all levels.
pub(super) fn check_size(levels: usize, height: u32, width: u32) -> Rule {
    let unit = 1u32 << (levels - 1).min(31);
    let fits = |side: u32| side > 0 && side.is_multiple_of(unit);
    if fits(height) && fits(width) {
        return Ok(());
    }
    let below = |side: u32| (side / unit * unit).max(unit);
    let above = |side: u32| side.next_multiple_of(unit).max(unit);
    let side = if fits(height) { width } else { height };
    let possible = if height == 0 || width == 0 { 0 } else { height.trailing_zeros().min(width.trailing_zeros()) + 1 };
    Err(format!(
        "images of {height}x{width} do not fit a model of {levels} levels: sides must be multiples of {unit} (such as {} or {}); \
         this size allows {possible} levels at most",
        below(side),
        if below(side) == above(side) { below(side) + unit } else { above(side) }
    ))
}
