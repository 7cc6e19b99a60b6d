//! The mutation tester of the shaders (`make mutants`): changes one place of a shader at a time
//! and checks that a kernel test fails.
//!
//! A run takes hours, and a mutant may hang for as long as --seconds allows: use a software driver.

mod command;
mod equivalent;
mod mutate;
mod results;
mod run;
mod shaders;
#[cfg(test)]
mod tests;
mod tokens;
mod worker;

pub use command::main;
