//! The values that change between two runs of a program, generated from the shaders' prelude.

include!(concat!(env!("OUT_DIR"), "/step.rs"));
