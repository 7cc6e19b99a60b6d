//! The name of a run. Its manifest, its checkpoints and its temporary folders contain it, so that a
//! run can tell what it wrote from copies and other runs.

use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other run has: 16 hexadecimal digits.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let text = format!("{now} {} {}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_names_are_unique() {
        let (a, b) = (unique(), unique());
        assert!(a != b && a.len() == 16, "{a} {b}");
    }
}
