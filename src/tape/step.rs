//! The values that change between two runs of a program, as the shaders' prelude declares them.

include!(concat!(env!("OUT_DIR"), "/step.rs"));
