//! `mpirun` on this machine, and the processes that it starts. Tests, benches and xtask use it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The command that starts a program on ranks of this machine, which may be more than its cores,
/// also as root. The program's options follow.
pub fn mpirun(ranks: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", &ranks.to_string()]).arg(program);
    for (name, value) in [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        // Open MPI 4 and 5.
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
    ] {
        command.env(name, value);
    }
    command
}

/// The processes that a process started, on Linux.
pub fn children(process: u32) -> Vec<String> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    list.unwrap_or_default().split_whitespace().map(String::from).collect()
}

/// Whether a process has not ended, on Linux. One that has ended is a zombie until its parent asks
/// for it. The first thread of a killed process can be a zombie while other threads are still
/// ending; until then its files stay open, and their locks are kept.
pub fn is_running(process: &str) -> bool {
    let threads = std::fs::read_dir(Path::new("/proc").join(process).join("task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
    })
}
