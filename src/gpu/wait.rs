//! Waiting for a device: it may be lost meanwhile, or stop answering.

use super::adapter::AdapterChoice;
use super::target::DeviceClass;
use crate::Result;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::Duration;

/// A device that finishes no submission in this time is reported.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Calls `poll`, which waits for up to [`INTERVAL`], until it returns true. `finished` is the
/// number of submissions that the device has finished. Calls `warn` each time that it did not grow.
pub(super) fn wait_until(
    mut poll: impl FnMut() -> Result<bool>,
    finished: impl Fn() -> u64,
    mut warn: impl FnMut(),
) -> Result<()> {
    loop {
        let before = finished();
        if poll()? {
            return Ok(());
        }
        if finished() == before {
            warn();
        }
    }
}

/// The warning for a device that has not answered for [`INTERVAL`].
pub(super) fn warning(adapter: &AdapterChoice) -> String {
    let advice = match adapter.class {
        DeviceClass::Cpu => {
            "A large model or batch takes this long on a software driver: wait, or press Ctrl-C twice and use a \
             smaller batch or model."
        }
        _ => {
            "Either the model or batch is very large for it, or its driver hangs. Wait, or press Ctrl-C twice and \
             start again, with a smaller batch or model if it happens again."
        }
    };
    format!(
        "warning: {} has finished nothing for {} seconds. {advice} What was saved is intact",
        adapter.name,
        INTERVAL.as_secs()
    )
}

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// The result of `poll`, or `None` if it panicked. The panic prints nothing.
///
/// wgpu panics if the driver reports to a wait that the device was lost. It has called the callback
/// of the loss before, and holds no lock.
pub(super) fn catch_loss<T>(poll: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !SILENT.get() {
                before(panic);
            }
        }));
    });
    SILENT.set(true);
    let result = catch_unwind(AssertUnwindSafe(poll)).ok();
    SILENT.set(false);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// Warnings during a wait. Each item is a poll: the submissions that it sees finish, and
    /// whether the wait is over.
    fn warnings(polls: &[(u64, bool)]) -> usize {
        let (finished, warnings) = (Cell::new(0), Cell::new(0));
        let mut polls = polls.iter();
        let poll = || {
            let (more, over) = polls.next().unwrap();
            finished.set(finished.get() + more);
            Ok(*over)
        };
        wait_until(poll, || finished.get(), || warnings.set(warnings.get() + 1)).unwrap();
        warnings.get()
    }

    #[test]
    fn wait_warns_of_a_device_that_finishes_nothing() {
        assert_eq!(warnings(&[(1, true)]), 0);
        assert_eq!(warnings(&[(0, true)]), 0, "the run had ended before");
        assert_eq!(warnings(&[(1, false), (3, false), (1, true)]), 0, "slow, but it works");
        assert_eq!(warnings(&[(1, false), (0, false), (1, false), (0, false), (1, true)]), 2);
    }

    #[test]
    fn wait_ends_with_an_error() {
        let lost = || Err(Error::Device("lost".into()));
        assert!(wait_until(lost, || 0, || unreachable!()).is_err());
    }

    #[test]
    fn wait_warning_names_the_device_and_says_what_to_do() {
        let adapter = |class| AdapterChoice {
            number: 0,
            name: "Card 9".into(),
            class,
            backend: "Vulkan".into(),
            driver: String::new(),
            pci_address: String::new(),
        };
        for (class, words) in [(DeviceClass::Cpu, "software driver"), (DeviceClass::Discrete, "driver hangs")] {
            let text = warning(&adapter(class));
            for part in ["warning: Card 9", "60 seconds", words, "smaller batch", "Ctrl-C twice", "intact"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn wait_catches_a_panic_of_poll_only() {
        assert_eq!(catch_loss(|| 3), Some(3));
        assert_eq!(catch_loss(|| -> u32 { panic!("Error in Device::poll") }), None);
        assert!(!SILENT.get());
    }
}
