//! The time of the sum of gradients over ranks, against their size, for 2 and 3 ranks of this
//! machine:
//!
//!     cargo bench --features mpi --bench ranks
//!
//! It starts itself with `mpirun`. To measure other machines, start it there with `mpirun` and the
//! argument `--rank`: it then measures the ranks that it gets.

#[path = "../tests/common/mpirun.rs"]
#[allow(dead_code)] // shared with the tests
mod mpirun;

use self::mpirun::mpirun;
use degrain::ranks::{AllReduce, Communicator, Mpi};
use std::process::ExitCode;
use std::time::Instant;

/// Numbers of f32 to add.
const SIZES: [usize; 6] = [1_000, 10_000, 100_000, 1_000_000, 4_000_000, 16_000_000];
/// Time for each size.
const SECONDS: f64 = 1.0;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--rank") {
        measure(&Mpi::connect().expect("MPI starts"));
        return ExitCode::SUCCESS;
    }
    for ranks in [2, 3] {
        let program = std::env::current_exe().expect("the path of this program");
        match mpirun(ranks, program).arg("--rank").status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                eprintln!("mpirun ended with {status}");
                return ExitCode::FAILURE;
            }
            Err(problem) => {
                eprintln!("mpirun: {problem}. tools/mpi.sh installs it");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Prints the median time of each size on rank 0, and the bytes that a rank sends in this time.
fn measure(ranks: &Mpi) {
    if ranks.is_first() {
        println!("{} ranks", ranks.size());
        println!("{:>14} {:>12} {:>16}", "bytes", "ms", "sent, GB/s");
    }
    for size in SIZES {
        let mut values = vec![1.0; size];
        let mut all_reduce = AllReduce::default();
        let mut once = || {
            let start = Instant::now();
            all_reduce.sum(ranks, &mut values);
            start.elapsed().as_secs_f64()
        };
        once();
        // All ranks must make equally many calls.
        let mut rounds = ((SECONDS / once()) as u64).clamp(5, 1000).to_le_bytes().to_vec();
        ranks.broadcast(&mut rounds);
        let rounds = u64::from_le_bytes(rounds.try_into().expect("eight bytes"));
        let mut times: Vec<f64> = (0..rounds).map(|_| once()).collect();
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        if ranks.is_first() {
            let bytes = 4 * size;
            let sent = 2.0 * (ranks.size() - 1) as f64 / ranks.size() as f64 * bytes as f64;
            println!("{bytes:>14} {:>12.3} {:>16.2}", 1e3 * median, 1e-9 * sent / median);
        }
    }
}
