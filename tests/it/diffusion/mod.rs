//! Schedules, samplers and configs against diffusers, and against closed forms for simple data.

mod classes;
mod configs;
mod dpm_solver;
mod gaussian_samples;
mod linear;
mod mixture;
mod ode;
mod outside;
mod plans;
mod processes;
mod recovery;
mod schedules;
mod sdedit;
mod starts;
mod training;

use std::path::PathBuf;

/// A JSON file of tests/goldens.
fn golden(name: &str) -> serde_json::Value {
    let path = goldens().join(name);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

/// The message of a result that must be a configuration error.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: degrain::Result<T>) -> String {
    match result {
        Err(degrain::Error::Config(message)) => message,
        other => panic!("a refused setting was expected, not {other:?}"),
    }
}

#[track_caller]
fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs(), "{found:e} is not {expected:e}");
}
