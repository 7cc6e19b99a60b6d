//! Record once, differentiate, plan memory, replay.
//!
//! A [`Tape`] is a flat list of kernel calls over `Copy` ids. Applying an operator appends its forward calls; [`Tape::backward`] appends the
//! calls of the gradients to the same list; a [`Program`] is that list compiled for a device. Recording, differentiating and planning need
//! no GPU. The tape does not know which operators there are.

mod array;
mod check;
mod emit;
mod gradient;
mod listing;
mod memory_plan;
mod op;
mod profile;
mod program;
mod record;
mod shape;
mod step;
mod testing;

pub use array::Array;
pub use check::{Checker, Mismatch, POISON, tolerance};
pub use emit::{Dispatch, Kernel};
pub use listing::Summary;
pub(crate) use listing::scaled;
pub use memory_plan::{Plan, PlanOptions};
pub use op::{Case, Draw, Fill, Node, Op, Operator};
pub use profile::{Peaks, Profile, Row, call_times};
pub use program::Program;
pub use record::{Call, Section, Tape, Tensor};
pub use shape::{Dtype, Shape};
pub use step::{Step, stream};
pub use testing::{STEP, Trial, check_case, words};
