//! Inspection of a tape: a listing of its calls, the times of its kernels, and their comparison
//! with the references.

mod barriers;
mod listing;
mod profile;
mod run_time;
mod verify;

pub use listing::Summary;
pub(crate) use listing::scaled;
pub use profile::{Peaks, Profile, ProfileRow, call_times};
pub use run_time::{RunTime, run_time};
pub use verify::{Details, GUARD, Mismatch, POISON, Verifier, tolerance};
