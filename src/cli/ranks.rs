//! Programs that may be one of several ranks.

use super::program;
use crate::Result;
use crate::ranks::Communicator;
#[cfg(not(feature = "mpi"))]
use crate::ranks::Single;
use std::process::ExitCode;
use std::rc::Rc;

/// Runs a program that may be one of several ranks, which the feature `mpi` connects. Only rank 0
/// prints. If a rank fails, it prints its error with its number and ends all of them.
#[cfg(not(feature = "mpi"))]
pub fn main_on_ranks(run: impl FnOnce(Rc<dyn Communicator>) -> Result<()>) -> ExitCode {
    program::main(|| run(Rc::new(Single)))
}

/// Runs a program that may be one of several ranks, which MPI connects. Only rank 0 prints. If a
/// rank fails, it prints its error with its number and ends all of them.
#[cfg(feature = "mpi")]
pub fn main_on_ranks(run: impl FnOnce(Rc<dyn Communicator>) -> Result<()>) -> ExitCode {
    use crate::Error;
    use crate::ranks::Mpi;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    program::disable_device_select();
    let mpi = match Mpi::connect() {
        Ok(mpi) => Rc::new(mpi),
        Err(error) => return program::main(|| Err(error)),
    };
    if !mpi.is_one_of_several() {
        return program::main(|| run(mpi));
    }
    let errors = errors_of(mpi.rank());
    let ranks = mpi.clone();
    match catch_unwind(AssertUnwindSafe(move || run(ranks))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // All ranks stop together.
        Ok(Err(Error::Interrupted)) => ExitCode::from(program::STOPPED),
        Ok(Err(error)) => {
            if !mpi.is_first() {
                std::thread::sleep(COMMON_ERROR);
            }
            errors.print(&format!("error: rank {}: {error}", mpi.rank()));
            mpi.abort()
        }
        // The panic was printed. To unwind further would wait for the others.
        Err(_) => mpi.abort(),
    }
}

/// Time before another rank than the first prints its error. Most errors occur on all ranks: rank 0
/// prints the error and ends the others in this time.
#[cfg(feature = "mpi")]
const COMMON_ERROR: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a rank prints its errors.
#[cfg(feature = "mpi")]
struct Errors {
    /// The standard error output of a rank whose other output is discarded.
    #[cfg(unix)]
    kept: Option<std::fs::File>,
}

/// Discards the output of ranks other than the first, except errors and panics.
#[cfg(feature = "mpi")]
fn errors_of(rank: usize) -> Errors {
    #[cfg(unix)]
    {
        use rustix::fs::{Mode, OFlags, open};
        let silence = || -> std::io::Result<std::fs::File> {
            let nothing = open("/dev/null", OFlags::WRONLY, Mode::empty())?;
            let kept = std::fs::File::from(rustix::io::dup(std::io::stderr())?);
            rustix::stdio::dup2_stdout(&nothing)?;
            rustix::stdio::dup2_stderr(&nothing)?;
            Ok(kept)
        };
        // Without it the rank prints what rank 0 prints too.
        let kept = if rank > 0 { silence().ok() } else { None };
        if let Some(errors) = kept.as_ref().and_then(|kept| kept.try_clone().ok()) {
            std::panic::set_hook(Box::new(move |panic| {
                use std::io::Write;
                let _ = (&errors).write_all(format!("error: rank {rank}: {panic}\n").as_bytes());
            }));
        }
        Errors { kept }
    }
    #[cfg(not(unix))]
    {
        let _ = rank;
        Errors {}
    }
}

#[cfg(feature = "mpi")]
impl Errors {
    fn print(&self, message: &str) {
        use std::io::Write;
        // In one piece: several ranks may print at the same time.
        let line = format!("{message}\n");
        #[cfg(unix)]
        if let Some(mut kept) = self.kept.as_ref() {
            let _ = kept.write_all(line.as_bytes());
            return;
        }
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
