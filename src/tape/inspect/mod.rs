//! What a tape will do, how long its kernels take, and whether they compute what the references
//! say.

mod listing;
mod profile;
mod verify;

pub use listing::Summary;
pub(crate) use listing::scaled;
pub use profile::{Peaks, Profile, ProfileRow, call_times};
pub use verify::{Mismatch, POISON, Verifier, tolerance};
