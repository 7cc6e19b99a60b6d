//! The same work for many files, on all cores, with a progress bar.

use crate::output::note;
use crate::output::progress::progress_bar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Without a terminal, the work on this many files is announced by a line.
const MANY: usize = 1000;

/// Number of threads.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A progress bar for `count` files.
pub(super) struct Bar {
    bar: crate::output::progress::ProgressBar,
    done: AtomicUsize,
}

impl Bar {
    /// `what` is for example `decoding`.
    pub fn new(count: usize, what: &str) -> Bar {
        let template = format!("{what} {{bar:30}} {{pos}}/{{len}} images  {{eta_precise}} left");
        let bar = progress_bar(count as u64, &template);
        if bar.is_hidden() && count >= MANY {
            note(format_args!("{what} {count} images"));
        }
        Bar { bar, done: AtomicUsize::new(0) }
    }

    fn one_more(&self) {
        self.bar.set_position(self.done.fetch_add(1, Ordering::Relaxed) as u64 + 1);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The result of `work` for each item, in the order of the items.
pub(super) fn map<T: Sync, R: Send>(items: &[T], bar: &Bar, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut results = vec![];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return results };
            results.push((index, work(item)));
            bar.one_more();
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        // This thread works too, also if the system starts no other.
        let start = |_| thread::Builder::new().spawn_scoped(scope, worker).ok();
        let workers: Vec<_> = (1..threads().min(items.len())).filter_map(start).collect();
        let mut results = worker();
        for other in workers {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
