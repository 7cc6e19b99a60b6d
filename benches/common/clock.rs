//! System queries of the benches: the date, CPU times, the peak memory.

#![allow(dead_code)] // each bench uses a part of it

use std::time::{Duration, SystemTime};

/// The date in UTC (H. Hinnant's days_to_civil).
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400 + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year}-{month:02}-{day:02}")
}

/// CPU time of the calling thread so far.
pub fn thread_time() -> Duration {
    cpu_time(Of::Thread)
}

/// CPU time of all threads of the process so far.
pub fn process_time() -> Duration {
    cpu_time(Of::Process)
}

enum Of {
    Thread,
    Process,
}

#[cfg(unix)]
fn cpu_time(of: Of) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let clock = match of {
        Of::Thread => ClockId::ThreadCPUTime,
        Of::Process => ClockId::ProcessCPUTime,
    };
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// On other systems, the elapsed time.
#[cfg(not(unix))]
fn cpu_time(_: Of) -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// Peak memory of the process in bytes, if the system reports it (Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
