//! How much memory this system has left.
//!
//! Sizes that a user or a file chooses are checked before they are allocated, because a failed
//! allocation ends the program without a message that helps.

/// Bytes that are available, if the system reports them as Linux does.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Whether `bytes` can be allocated and are available.
pub fn fits(bytes: u128) -> bool {
    let reservable = usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    reservable && available().is_none_or(|available| bytes <= u128::from(available))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_holds_a_kilobyte_and_not_a_petabyte() {
        assert!(super::fits(1 << 10));
        assert!(!super::fits(1 << 50));
        assert!(!super::fits(u128::MAX));
    }
}
