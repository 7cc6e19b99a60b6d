//! Test cases of operators: inputs from seeds, and the comparison with the reference.
//!
//! Kernel tests, benches, the shader export and the mutation tests derive their cases from the
//! [`Operator`] that each operator's file declares.

mod case;
mod choices;
mod fill;
mod remembered;
mod run;

pub use case::{Case, Operator};
pub use choices::Choices;
pub use fill::Fill;
pub use run::{RecordedCase, TEST_STEP, check_case, check_case_briefly, forms};
