//! Rules that configs of several models share. Every message says which values would fit.

pub(in crate::nn) type Rule = std::result::Result<(), String>;

/// Largest number of channels. The weights of a 3x3 convolution between two such layers still have
/// a size in 32 bits.
const MAX_CHANNELS: u32 = 16_384;
/// Largest side of an image. The product of two sides has a size in 32 bits.
const MAX_SIDE: u32 = 16_384;
/// Largest number of values of the map that a linear layer computes or takes.
const MAX_MAP_VALUES: u64 = 1 << 24;
/// Largest number of levels: each halves the image.
const MAX_LEVELS: usize = 15;
/// Largest number of layers per block.
const MAX_LAYERS: u32 = 64;

pub(in crate::nn) fn positive(key: &str, value: u32) -> Rule {
    at_most(key, value, u32::MAX)
}

/// Checks a number of channels, or of another dimension of weights.
pub(in crate::nn) fn channels(key: &str, value: u32) -> Rule {
    at_most(key, value, MAX_CHANNELS)
}

/// Checks a number of layers per block.
pub(in crate::nn) fn layers(key: &str, value: u32) -> Rule {
    at_most(key, value, MAX_LAYERS)
}

fn at_most(key: &str, value: u32, most: u32) -> Rule {
    match value {
        0 => Err(format!("`{key}` = 0 must be at least 1")),
        _ if value > most => Err(format!("`{key}` = {value} must be at most {most}")),
        _ => Ok(()),
    }
}

/// Checks a dropout probability.
pub(in crate::nn) fn rate(key: &str, value: f64) -> Rule {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("`{key}` = {value} must be at least 0 and less than 1"))
    }
}

/// Checks `block_out_channels`.
pub(in crate::nn) fn levels_at_least(block_out_channels: &[u32], least: usize) -> Rule {
    if block_out_channels.len() < least {
        let given = block_out_channels;
        let entries = if given.is_empty() { "is empty".into() } else { format!("= {given:?} is too short") };
        return Err(format!(
            "`block_out_channels` {entries}: it needs a number of channels for each level, and {least} at least"
        ));
    }
    if block_out_channels.len() > MAX_LEVELS {
        let count = block_out_channels.len();
        return Err(format!("`block_out_channels` has {count} levels, and images allow at most {MAX_LEVELS}"));
    }
    block_out_channels.iter().try_for_each(|&count| channels("block_out_channels", count))
}

/// Checks that a number of groups divides the channels of a level.
pub(in crate::nn) fn divides(levels: &[u32], key: &str, groups: u32, level: usize) -> Rule {
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
pub(in crate::nn) fn divides_all(levels: &[u32], key: &str, groups: u32) -> Rule {
    (0..levels.len()).try_for_each(|level| divides(levels, key, groups, level))
}

/// A number of groups that divides all these numbers of channels: the largest divisor up to 32
/// with at least four channels per group, if any.
pub fn suggest_groups(channels: &[u32]) -> Option<u32> {
    (1..=32).rev().find(|&groups| channels.iter().all(|&c| c.is_multiple_of(groups) && c / groups >= 4))
}

/// Checks the number of values of a map, which a linear layer computes or takes.
pub(in crate::nn) fn map_values(channels: u32, [height, width]: [u32; 2]) -> Rule {
    let values = u64::from(channels) * u64::from(height) * u64::from(width);
    if values <= MAX_MAP_VALUES {
        return Ok(());
    }
    Err(format!(
        "the coarsest map has {channels} channels of {height}x{width}, {values} values, and at most {MAX_MAP_VALUES} are \
         supported: use more levels or fewer channels"
    ))
}

/// Checks that an attention head is not wider than its level.
pub(in crate::nn) fn head_fits(levels: &[u32], level: usize, width: Option<u32>) -> Rule {
    match width {
        Some(width) if width > levels[level] => Err(format!(
            "`attention_head_dim` = {width} is more than the {} channels of level {level}: \
             use at most that, or null for one head",
            levels[level]
        )),
        _ => Ok(()),
    }
}

/// Checks that an image is neither empty nor too large.
pub(in crate::nn) fn check_sides(height: u32, width: u32) -> Rule {
    if height.min(width) == 0 {
        return Err(format!("images of {height}x{width} are empty: sides are at least 1"));
    }
    if height.max(width) > MAX_SIDE {
        return Err(format!("images of {height}x{width} are too large: sides are at most {MAX_SIDE}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_rules_bound_sizes() {
        let refused = |rule: Rule, part: &str| {
            let problem = rule.expect_err(part);
            assert!(problem.contains(part), "{problem}");
        };
        assert!(check_sides(1, 16_384).is_ok());
        refused(check_sides(65_536, 65_536), "sides are at most 16384");
        refused(check_sides(0, 3), "sides are at least 1");
        refused(check_sides(8, u32::MAX), "sides are at most 16384");
        assert!(levels_at_least(&[1; 15], 1).is_ok());
        refused(levels_at_least(&[1; 16], 1), "16 levels");
        assert!(map_values(64, [512, 512]).is_ok());
        refused(map_values(u32::MAX, [u32::MAX, u32::MAX]), "more levels or fewer channels");
    }
}
