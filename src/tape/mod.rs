//! Record once, differentiate, plan memory, replay.
//!
//! A [`Tape`] is a flat list of kernel calls over tensor ids. Applying an operator appends its
//! forward calls, and [`Tape::backward`] appends the calls that compute the gradients. A
//! [`Program`] is the list compiled for a device. Recording, differentiating and planning need no
//! GPU, and the tape does not know which operators exist.
//!
//! ```
//! use degrain::gpu::Target;
//! use degrain::ops;
//! use degrain::tape::{BufferOffset, Shape, Tape};
//!
//! let mut t = Tape::new(Target::LAVAPIPE);
//! let x = t.named("x", Shape::f32([64, 28]));
//! let w = t.parameter(
//!     Shape::f32([10, 28]),
//!     BufferOffset::new("parameters", 0),
//!     BufferOffset::new("gradients", 0),
//! );
//! let b = t.named("bias", Shape::f32([10]));
//! let y = ops::linear(&mut t, x, w, b);
//! let y = ops::silu(&mut t, y);
//! let dy = t.named("dy", t.shape(y));
//! t.backward(y, dy);
//!
//! assert_eq!(t.nodes().len(), 2);
//! assert!(t.gradient(w).is_some());
//! assert!(t.gradient(b).is_none()); // not watched
//! print!("{}", t.summary()); // kernel calls, FLOPs, bytes; `t.listing()` shows every call
//! ```
//!
//! Recording and lowering are one step: a node's kernel calls are recorded when the operator is
//! applied. The boundary between them is `lower.rs`, the only place where a node becomes kernel
//! calls, and [`Tape::sections`], which maps calls to nodes. Code that fuses operators or chooses
//! kernels belongs there.
//!
//! Files below import only files above them in this list, with one exception: `record.rs` (the tape
//! stores operators) and `op.rs` (operators write to a tape) import each other.
//!
//! | file | contents |
//! |---|---|
//! | `shape`, `array`, `step`, `tensor`, `kernel`, `choice`, `row_sum`, [`accuracy`] | plain data |
//! | `op`, `record` | operators, nodes, the tape |
//! | `choose`, `constant`, `emit`, `lower`, `gradient` | how calls get onto the tape |
//! | `late_sums` | sums that are computed together at the end of backward |
//! | `memory_plan`, `program` | transient buffers, replay on a device |
//! | `measure` | which form of kernels is fastest on a device |
//! | [`inspect`] | listing, profile, comparison with the references |
//! | [`testing`] | test cases of operators |

pub mod accuracy;
mod array;
mod choice;
mod choose;
mod constant;
mod emit;
mod gradient;
pub mod inspect;
mod kernel;
mod late_sums;
mod lower;
mod measure;
mod memory_plan;
mod op;
mod program;
mod record;
mod row_sum;
mod shape;
mod step;
mod tensor;
pub mod testing;

pub use array::Array;
pub use choice::{Choice, KernelClass};
pub use kernel::{Dispatch, Kernel};
pub use measure::{FormTimes, record, time_forms};
pub use memory_plan::{Plan, PlanOptions};
pub use op::{Node, Op};
pub use program::Program;
pub use record::{BackwardSection, Call, EmitSums, Section, Tape, WrittenGradient};
pub use row_sum::{LateSum, RowSum};
pub use shape::{Dtype, Shape};
pub use step::{Step, stream};
pub use tensor::{BufferOffset, Tensor};
