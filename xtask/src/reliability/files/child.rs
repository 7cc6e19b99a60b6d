//! The process that reads damaged files, case by case. It prints the number of each case before it
//! reads it, so that the parent process knows what ended it.

use super::damage::damage;
use super::readers::{READERS, Reader, World};
use crate::allocator;
use crate::reliability::Result;
use crate::reliability::runs::Random;
use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Memory that a reader may use beyond four times the size of its files.
const EXTRA: usize = 64 << 20;
/// The same for a reader of pictures, which decodes one large picture at a time, of up to 1 GiB by
/// its header.
const PICTURE: usize = (1 << 30) + EXTRA;
/// An allocation fails if a reader would use this much more than it may.
const ROOM: usize = 1 << 30;
/// Longest time that a reader may take for a case.
const LONGEST: Duration = Duration::from_secs(20);

/// Number of started cases, for the watchdog.
static STARTED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A case: a reader and a damaged file.
pub struct FileCase {
    pub reader: &'static Reader,
    pub file: &'static str,
    pub bytes: Vec<u8>,
}

impl FileCase {
    /// The case with this number. It depends on the seed and the number only.
    pub fn new(seeds: &Path, seed: u64, number: u64) -> Result<FileCase> {
        let mut random = Random::of_case(seed, number);
        let reader = &READERS[random.below(READERS.len())];
        let file = reader.files[random.below(reader.files.len())];
        let path = seeds.join(reader.seed).join(file);
        let whole = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(FileCase { reader, file, bytes: damage(file, &whole, &mut random) })
    }
}

/// Reads the cases from `first` to `end` in copies of the seeds below `work`.
pub fn run(seeds: &Path, work: &Path, seed: u64, cases: std::ops::Range<u64>) -> Result<()> {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        PANIC.with(|panic| *panic.borrow_mut() = text);
    }));
    std::thread::spawn(watch);
    let world = World::new().map_err(|e| e.to_string())?;
    for number in cases {
        let case = FileCase::new(seeds, seed, number)?;
        let folder = work.join(case.reader.seed);
        let size = copy(&seeds.join(case.reader.seed), &folder)?;
        let path = folder.join(case.file);
        fs::write(&path, &case.bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("campaign case {number}");
        STARTED.fetch_add(1, Ordering::Relaxed);
        let picture = [".png", ".jpg", ".jpeg", ".webp", ".bmp"].iter().any(|end| case.file.ends_with(end));
        let allowed = 4 * size.max(case.bytes.len()) + if picture { PICTURE } else { EXTRA };
        let before = allocator::live();
        allocator::start(allowed + ROOM);
        let outcome = catch_unwind(AssertUnwindSafe(|| (case.reader.read)(&world, &folder)));
        let peak = allocator::stop(before);
        if outcome.is_err() {
            let text = PANIC.with(|panic| panic.borrow().clone());
            println!("campaign problem {number} {}/{}: {text}", case.reader.seed, case.file);
        } else if peak > allowed {
            let kinds = if matches!(outcome, Ok(Ok(()))) { "read" } else { "refused" };
            let text = format!("{peak} bytes of memory, and {allowed} are allowed; {kinds}");
            println!("campaign problem {number} {}/{}: {text}", case.reader.seed, case.file);
        } else {
            println!("campaign {}", if matches!(outcome, Ok(Ok(()))) { "read" } else { "refused" });
        }
    }
    println!("campaign end");
    Ok(())
}

/// Ends the process if a case takes too long.
fn watch() {
    let mut last = 0;
    loop {
        std::thread::sleep(LONGEST);
        let now = STARTED.load(Ordering::Relaxed);
        if now == last && now > 0 {
            println!("campaign slow");
            std::process::abort();
        }
        last = now;
    }
}

/// Copies a folder over another and removes what is not in it. Returns the size of its files.
fn copy(from: &Path, to: &Path) -> Result<usize> {
    let text = |path: &Path| {
        let path: PathBuf = path.into();
        move |e: std::io::Error| format!("{}: {e}", path.display())
    };
    if to.exists() {
        fs::remove_dir_all(to).map_err(text(to))?;
    }
    fs::create_dir_all(to).map_err(text(to))?;
    let mut size = 0;
    for entry in fs::read_dir(from).map_err(text(from))? {
        let path = entry.map_err(text(from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            size += copy(&path, &target)?;
        } else {
            size += fs::copy(&path, &target).map_err(text(&path))? as usize;
        }
    }
    Ok(size)
}
